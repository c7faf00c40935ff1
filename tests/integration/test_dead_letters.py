"""Elements of a queue that are not messages: a worker sets them aside and goes on."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from pipeline.core.errors import ServiceUnavailable, Stopped
from pipeline.core.retry import CancelToken
from pipeline.core.settings import load
from pipeline.maintenance.audit import Difference, DifferenceKind
from support.redis_server import RedisServer
from workers.app import configuration
from workers.recovery.poison import DEATHS, Poison
from workers.recovery.repair import QueuedRepairs
from workers.redis.connection import connect
from workers.redis.dead_letters import TYPES, problem, set_aside_keys_of_wrong_type, set_aside_taken
from workers.redis.heartbeats import Heartbeats, WorkerInfo
from workers.redis.limits import FleetLimiter
from workers.redis.queues import (
    DEAD_LETTERS,
    DEAD_LETTERS_TOTAL,
    EPOCH,
    KEPT,
    UNACKED,
    UNACKED_INDEX,
    WORKING,
    RedisQueues,
)
from workers.redis.ticks import Ticks

LANE = "pagesight:normal"
SECONDS = 60.0


def _message(task: str = "pagesight.part", body: object = None, **changes: Any) -> str:
    """A message as Celery writes it, with changes."""
    fields = {"batch": "20261124T065448-612691", "chunk": "c" * 32 + ".0", "part": 0}
    encoded = base64.b64encode(json.dumps([[], fields, {}] if body is None else body).encode()).decode()
    envelope: dict[str, Any] = {
        "body": encoded,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": task, "id": "1", "eta": None, "timelimit": [None, None]},
        "properties": {
            "delivery_tag": "t",
            "delivery_info": {"exchange": "", "routing_key": "normal"},
            "body_encoding": "base64",
        },
    }
    for name, value in changes.items():
        envelope[name] = envelope[name] | value if isinstance(value, dict) else value
    return json.dumps(envelope)


WRONG: list[str | bytes] = [
    "",
    "garbage",
    b"\xff\xfe",
    "1",
    "null",
    "[]",
    "{}",
    "[" * 100_000,
    _message("pagesight.unknown"),
    _message("configured.unknown"),
    _message(body="%%%"),
    _message(body=[]),
    _message(body=[[], {"batch": "x"}, {}]),
    _message(body=[[], {}, {"chain": [{"task": "configured.mark"}]}]),
    _message(headers={"eta": "2026-01-01T00:00:00"}),
    _message(headers={"task": ["configured.mark"]}),
    _message(headers="text"),
    _message(properties={"delivery_info": None}),
    _message(properties={"delivery_tag": 5}),
    _message(properties={"body_encoding": "rot13"}),
    json.dumps({"body": "", "headers": {}, "properties": {}}),
]


def test_every_wrong_element_has_a_problem_and_a_message_has_none() -> None:
    tasks = {"pagesight.part", "configured.mark"}
    assert problem(_message(), "normal", tasks) is None
    assert [element for element in WRONG if problem(element, "normal", tasks) is None] == []


def test_a_worker_sets_them_aside_and_handles_the_message_behind_them(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    settings = load().model_copy(update={"redis_url": redis_server.url})
    client: Redis = connect(settings)
    mark = _message("configured.mark", body=[[], {}, {}])
    client.set("pagesight:backfill", "a lane of the wrong type")
    client.rpush(LANE, mark, *reversed(WRONG))
    environ = os.environ | {"PAGESIGHT_REDIS_URL": redis_server.url, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = ["-m", "celery", "-A", "support.configured_app", "worker", "--pool", "threads", "-c", "1"]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen([sys.executable, *words], cwd=tmp_path, env=environ, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + SECONDS
        while not client.exists("test:mark"):
            assert worker.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-5000:]
            time.sleep(0.05)
    finally:
        worker.kill()
        worker.wait(20)
    assert RedisQueues(client).dead_letters() == len(WRONG) + 1
    assert client.get(f"{DEAD_LETTERS}:backfill") == "a lane of the wrong type"
    assert int(client.llen(DEAD_LETTERS)) <= KEPT
    assert client.get(DEAD_LETTERS_TOTAL) == str(len(WRONG) + 1)


#: Entries of `unacked` that no worker wrote.
WRONG_TAKEN: list[str | bytes] = [
    "",
    b"\xff\xfe",
    "{}",
    "[1, 2]",
    "[" * 100_000,
    json.dumps([{}, "", "normal"]),
    json.dumps([json.loads(_message()), "", "elsewhere"]),
    json.dumps([json.loads(_message()), "", ["normal"]]),
    json.dumps([json.loads(_message()), "exchange", "normal"]),
    json.dumps([json.loads(_message("pagesight.unknown")), "", "normal"]),
]
RIGHT_TAKEN = json.dumps([json.loads(_message()), "", "normal"])
TASKS = {"pagesight.part"}


@pytest.fixture
def client(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Redis:
    monkeypatch.setenv("PAGESIGHT_REDIS_URL", redis_server.url)
    return connect(load())


def test_what_is_no_message_among_those_in_hand_is_set_aside_and_the_message_stays(client: Redis) -> None:
    for number, entry in enumerate([*WRONG_TAKEN, RIGHT_TAKEN]):
        client.hset(UNACKED, f"tag-{number}", entry)
    client.zadd(UNACKED_INDEX, {"tag-0": 1.0})
    queues = RedisQueues(client)
    assert not queues.is_idle()

    assert set_aside_taken(client) == len(WRONG_TAKEN)
    assert client.hvals(UNACKED) == [RIGHT_TAKEN]
    assert client.zrange(UNACKED_INDEX, 0, -1) == [f"tag-{len(WRONG_TAKEN)}"]  # the visibility timeout applies to it
    assert queues.dead_letters() == client.llen(DEAD_LETTERS) == len(WRONG_TAKEN)
    assert set_aside_taken(client) == 0


def test_a_channel_puts_back_the_message_and_nothing_else(client: Redis) -> None:
    app = Celery("channel")
    app.conf.update({**configuration(load()), "imports": [], "beat_schedule": {}})
    app.set_current()
    for number, entry in enumerate([*WRONG_TAKEN, RIGHT_TAKEN]):
        client.hset(UNACKED, f"tag-{number}", entry)
        client.zadd(UNACKED_INDEX, {f"tag-{number}": 1.0})
    with app.connection_for_write() as connection, connection.channel() as channel:
        app.amqp.queues["normal"](channel).declare()
        for number in range(len(WRONG_TAKEN) + 1):
            channel.qos.restore_by_tag(f"tag-{number}")
    app.close()

    (message,) = client.lrange(LANE, 0, -1)
    assert problem(message, "normal", TASKS) is None
    assert client.exists(UNACKED, UNACKED_INDEX) == 0
    assert RedisQueues(client).dead_letters() == len(WRONG_TAKEN)


NOTES = ["", b"\xff", "garbage", "[]", "1", '{"worker": 1, "tag": "t", "since": 1}', '{"worker": "w", "tag": "t"}']


@pytest.mark.parametrize("note", NOTES)
def test_a_note_that_is_none_is_no_death_and_hinders_nobody(client: Redis, note: str | bytes) -> None:
    poison = Poison(client, Heartbeats(client, "me", alive_seconds=5))
    client.hset(WORKING, "message", note)
    client.rpush(DEATHS + "message", note)
    assert poison.begin("message", "tag") == []
    poison.end("message")
    assert client.hgetall(WORKING) == {}

    client.hset(WORKING, "message", note)
    assert poison.restore_orphans(None) == 0
    assert client.hgetall(WORKING) == {}
    assert RedisQueues(client).dead_letters() == 1


def _take_over(client: Redis, key: str) -> None:
    """Have a key hold another type than ours."""
    client.delete(key)
    client.sadd(key, "text") if TYPES.get(key) != "set" else client.set(key, "text")


def _uses(client: Redis, wait_seconds: float = 5.0) -> list[Callable[[], object]]:
    """What workers and commands call, over all keys with a fixed name."""
    queues, ticks, repairs = RedisQueues(client), Ticks(client), QueuedRepairs(client)
    heartbeats = Heartbeats(client, "me", alive_seconds=5)
    limiter = FleetLimiter(client, load(), lease_seconds=0.2)
    return [
        queues.is_idle,
        queues.epoch,
        partial(queues.claim_archive, "a" * 32),
        partial(queues.set_aside, "normal", "", "cause"),
        queues.dead_letters,
        partial(heartbeats.beat, WorkerInfo("me", "here", 1, 0.0, "consuming", 1, 0)),
        partial(Poison(client, heartbeats).begin, "message", "tag"),
        ticks.begin,
        partial(ticks.end, "me", None),
        ticks.last,
        partial(repairs.add, [DIFFERENCE]),
        partial(repairs.missing, [DIFFERENCE]),
        limiter.renew,
        partial(_call, limiter, wait_seconds),
        partial(limiter.pause, 0.01),
    ]


def _call(limiter: FleetLimiter, wait_seconds: float) -> None:
    with limiter.slot(CancelToken().within(wait_seconds)):
        pass


DIFFERENCE = Difference(DifferenceKind.RECORD_MISSING, "page", "a", "why", "works")


@pytest.mark.parametrize("key", sorted(TYPES))
def test_a_key_of_another_type_is_renamed_once_and_nothing_ends_in_a_traceback(client: Redis, key: str) -> None:
    for use in _uses(client):
        use()
    assert [name for name, kind in TYPES.items() if client.type(name) not in ("none", kind)] == []
    letters = RedisQueues(client).dead_letters()

    _take_over(client, key)
    for use in _uses(client, 0.1):
        with suppress(ServiceUnavailable, Stopped):  # some replace the key and go on
            use()
    _take_over(client, key)
    set_aside_keys_of_wrong_type(client)
    set_aside_keys_of_wrong_type(client)

    kept = f"{DEAD_LETTERS}:{key.removeprefix('pagesight:')}"
    assert client.type(kept) == ("string" if TYPES[key] == "set" else "set")
    if key != DEAD_LETTERS_TOTAL:  # the count itself begins again
        assert RedisQueues(client).dead_letters() > letters
    for use in _uses(client):
        use()


def test_a_key_of_another_type_is_named_with_its_remedy(client: Redis) -> None:
    client.rpush(EPOCH, "text")
    with pytest.raises(ServiceUnavailable, match=EPOCH) as caught:
        RedisQueues(client).epoch()
    assert "set such a key aside" in caught.value.remedy


def test_every_fixed_key_has_a_type(client: Redis) -> None:
    for use in _uses(client):
        use()
    named = ("worker:", "calls:rates", "deaths:", "lease:", "tick_begun")
    fixed = {key for key in client.keys("pagesight:*") if not key.removeprefix("pagesight:").startswith(named)}
    assert fixed <= TYPES.keys()


def test_deaths_of_another_type_are_dropped(client: Redis) -> None:
    client.set(DEATHS + "message", "text")
    poison = Poison(client, Heartbeats(client, "me", alive_seconds=5))
    assert poison.begin("message", "tag") == []


def test_a_worker_goes_on_when_the_keys_of_its_deliveries_get_another_type(client: Redis, tmp_path: Path) -> None:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = ["-m", "celery", "-A", "support.configured_app", "worker", "--pool", "threads", "-c", "1"]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen([sys.executable, *words], cwd=tmp_path, env=environ, stdout=log, stderr=log)
    try:
        for key in (UNACKED, UNACKED_INDEX):
            client.delete("test:mark")
            client.delete(key)
            client.set(key, "text")
            client.rpush(LANE, _message("configured.mark", body=[[], {}, {}]))
            deadline = time.monotonic() + SECONDS
            while not client.exists("test:mark"):
                assert worker.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-5000:]
                time.sleep(0.05)
    finally:
        worker.kill()
        worker.wait(20)
    assert RedisQueues(client).dead_letters() == 2

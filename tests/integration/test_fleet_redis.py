"""What the fleet keeps in Redis besides its limits: lanes, who lives, who died with what in hand. On a real Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from pipeline.core.errors import ServiceRefused, ServiceUnavailable
from pipeline.core.retry import Waiting
from pipeline.core.settings import load
from pipeline.core.threads import repeating
from support.redis_server import RedisServer
from workers.app import configuration
from workers.recovery.poison import DEATHS, WORKING, Poison
from workers.redis.connection import connect
from workers.redis.heartbeats import Heartbeats, WorkerInfo, living_workers
from workers.redis.queues import LANES, RedisQueues

ROOT = Path(__file__).parents[2]
ALIVE_SECONDS = 2.0
#: Until what must come is given up. Much longer than anything takes, much shorter than the visibility timeout.
PATIENCE_SECONDS = 60.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def client(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """A client as the fleet has it."""
    monkeypatch.setenv("PAGESIGHT_REDIS_URL", redis_server.url)
    with connect(load()) as client:
        yield client


class Fleet:
    """Workers of `support.tiny_fleet`, and the broker as they see it."""

    def __init__(self, client: Redis, url: str, folder: Path) -> None:
        self.client = client
        self.app = Celery("tiny")
        settings = load().model_copy(update={"redis_url": url})
        self.app.conf.update({**configuration(settings), "imports": []})
        self.queues = RedisQueues(client)
        self._folder = folder
        self._environ = os.environ | {
            "PAGESIGHT_REDIS_URL": url,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "ALIVE_SECONDS": str(ALIVE_SECONDS),
        }
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_worker(self, threads: int = 3) -> subprocess.Popen[bytes]:
        words = ["-m", "celery", "-A", "support.tiny_fleet", "worker", "--pool", "threads", "-c", str(threads)]
        log = (self._folder / f"worker-{len(self.workers)}.log").open("wb")
        with log:
            worker = subprocess.Popen(
                [sys.executable, *words, "-n", f"{uuid.uuid4().hex}@here"],
                cwd=self._folder,
                env=self._environ,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    def publish(self, messages: list[str], lane: str = "normal") -> None:
        with self.app.producer_pool.acquire() as producer:
            for message in messages:
                self.app.send_task("tiny.hold", kwargs={"message": message}, queue=lane, producer=producer)

    def begun(self) -> list[tuple[str, str, int]]:
        """Message, worker and deaths known, of every beginning."""
        return [tuple(json.loads(text)) for text in self.client.lrange("test:begun", 0, -1)]

    def ended(self) -> list[str]:
        return sorted(map(str, self.client.lrange("test:ended", 0, -1)))

    def let_end(self) -> None:
        self.client.set("test:go", 1)

    @contextmanager
    def channel(self) -> Iterator[Any]:
        with self.app.connection_for_write() as connection, connection.channel() as channel:
            yield channel

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait(20)
        self.app.close()


@pytest.fixture
def fleet(client: Redis, redis_server: RedisServer, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(client, redis_server.url, tmp_path)
    yield fleet
    fleet.close()


def registered(client: Redis, name: str) -> Heartbeats:
    """A worker that has just told that it lives."""
    heartbeats = Heartbeats(client, name, alive_seconds=ALIVE_SECONDS)
    heartbeats.beat(info(name))
    return heartbeats


def info(name: str, started: float = 1.0) -> WorkerInfo:
    waiting = Waiting("jina-vlm", "it answers 503", 12.5)
    return WorkerInfo(name, "host", 7, started, "consuming", 4, 2, waiting, {"described": 3}, 9, 800)


def judging(*workers: Heartbeats) -> None:
    """Let the time pass in which nobody may be taken for dead; these workers go on telling that they live."""
    end = time.monotonic() + 1.2 * ALIVE_SECONDS
    while time.monotonic() < end:
        for heartbeats in workers:
            heartbeats.beat(info(heartbeats.worker_id))
        time.sleep(0.2)


# -- lanes


def test_lanes_see_what_is_published_and_what_is_with_a_worker(fleet: Fleet) -> None:
    assert fleet.queues.depths() == dict.fromkeys(LANES, 0)
    assert fleet.queues.is_empty()
    for place, lane in enumerate(LANES):
        fleet.publish([f"{lane}-{number}" for number in range(place + 1)], lane)
    assert fleet.queues.depths() == {"control": 1, "urgent": 2, "normal": 3, "backfill": 4}
    assert not fleet.queues.is_empty()

    fleet.start_worker(threads=3)
    until(lambda: len(fleet.begun()) == 3)
    assert {message for message, _, _ in fleet.begun()} == {"control-0", "urgent-0", "urgent-1"}
    assert fleet.queues.depths() == {"control": 0, "urgent": 0, "normal": 3, "backfill": 4}
    assert fleet.queues.unacked() == 3

    fleet.let_end()
    until(fleet.queues.is_empty)
    assert len(fleet.ended()) == 10


def test_every_key_in_redis_begins_with_our_prefix(fleet: Fleet) -> None:
    fleet.publish(["a"])
    fleet.start_worker()
    until(lambda: len(fleet.begun()) == 1)
    keys = {str(key) for key in fleet.client.scan_iter()}
    assert {key for key in keys if not key.startswith(("pagesight:", "test:"))} == set()


def test_an_epoch_ends_when_redis_is_restarted_empty(client: Redis, redis_server: RedisServer) -> None:
    epoch = RedisQueues(client).epoch()
    assert RedisQueues(client).epoch() == epoch
    redis_server.restart(empty=True)
    assert RedisQueues(client).epoch() not in {epoch, "None", ""}


def test_an_epoch_survives_a_restart_with_what_is_on_disk(redis_executable: Path, tmp_path: Path) -> None:
    server = RedisServer(redis_executable, tmp_path, appendonly=True)
    server.start()
    with Redis.from_url(server.url, decode_responses=True) as client:
        epoch = RedisQueues(client).epoch()
        until(lambda: bool(client.info("persistence")["aof_pending_bio_fsync"] == 0))
        server.stop()
        server.start()
        assert RedisQueues(client).epoch() == epoch
    server.stop()


class HourAheadRedis(Redis):
    """The clock of its host is an hour ahead."""

    def time(self, **_: Any) -> tuple[int, int]:
        return int(time.time()) + 3600, 0


def test_the_clock_is_compared_with_that_of_redis(client: Redis, redis_url: str) -> None:
    assert abs(RedisQueues(client).clock_offset_seconds()) < 2
    with HourAheadRedis.from_url(redis_url) as ahead:
        assert -3602 < RedisQueues(ahead).clock_offset_seconds() < -3598


# -- who lives


def test_workers_are_seen_while_they_tell_of_themselves(client: Redis) -> None:
    registered(client, "first")
    second = Heartbeats(client, "second", alive_seconds=ALIVE_SECONDS)
    second.beat(info("second", started=2.0))
    client.set("pagesight:worker:of-another-version", '{"name": "?"}')
    assert living_workers(client) == [info("first"), info("second", started=2.0)]
    second.leave()
    assert living_workers(client) == [info("first")]
    until(lambda: living_workers(client) == [])


# -- deaths


def test_only_a_worker_that_died_with_a_message_in_hand_is_a_death(client: Redis) -> None:
    other, mine = registered(client, "other"), registered(client, "mine")
    theirs, ours = Poison(client, other), Poison(client, mine)
    assert theirs.begin("range", "tag") == []
    assert ours.begin("range", "tag") == []  # a visibility timeout: the other lives
    theirs.end("range")  # it is not theirs any more
    assert client.hexists(WORKING, "range")
    ours.end("range")
    assert not client.hexists(WORKING, "range")

    theirs.begin("range", "tag")
    judging(mine)
    assert [death.worker for death in ours.begin("range", "tag")] == ["other"]
    assert [death.worker for death in ours.begin("range", "tag")] == ["other"]  # counted once
    assert client.ttl(DEATHS + "range") > 0

    third = Poison(client, registered(client, "third"))
    mine.leave()
    judging(registered(client, "third"))
    assert [death.worker for death in third.begin("range", "tag")] == ["other", "mine"]
    third.end("range")
    assert third.begin("range", "tag") == []


def test_a_message_that_only_waited_for_its_turn_has_caused_no_death(client: Redis) -> None:
    other, mine = registered(client, "other"), registered(client, "mine")
    theirs = Poison(client, other)
    theirs.begin("held", "one", waiting=True)
    theirs.begin("worked", "two", waiting=True)
    theirs.begin("worked", "two")
    judging(mine)
    assert Poison(client, mine).begin("held", "one") == []
    assert [death.worker for death in Poison(client, mine).begin("worked", "two")] == ["other"]


def test_nobody_is_buried_because_redis_stood_still(client: Redis, redis_server: RedisServer) -> None:
    workers = [registered(client, name) for name in ("first", "second")]
    judging(*workers)
    first, second = (Poison(client, worker) for worker in workers)
    for name in ("at once", "later"):
        first.begin(name, "tag")
    redis_server.freeze()
    time.sleep(2 * ALIVE_SECONDS)
    redis_server.thaw()
    assert second.begin("at once", "tag") == []
    workers[1].beat(info("second"))  # the first one has not come forward yet
    assert second.begin("later", "tag") == []


def test_one_who_begins_lives_before_it_has_told_of_itself(client: Redis) -> None:
    watching = registered(client, "watching")
    judging(watching)
    Poison(client, Heartbeats(client, "new", alive_seconds=ALIVE_SECONDS)).begin("range", "tag")
    assert Poison(client, watching).begin("range", "tag") == []


_FREEZES = """
import itertools
from pipeline.core.settings import load
from workers.recovery.poison import Poison
from workers.redis.connection import connect
from workers.redis.heartbeats import Heartbeats
from workers.watchdog import watched

with connect(load()) as client, watched(1.0):
    Poison(client, Heartbeats(client, "frozen", alive_seconds={alive})).begin("range", "tag")
    sum(itertools.repeat(0))  # never gives up the interpreter's lock, and looks for no signal
"""


def test_a_message_that_freezes_the_interpreter_is_a_death(client: Redis, redis_server: RedisServer) -> None:
    environ = {"PYTHONPATH": str(ROOT), "PAGESIGHT_REDIS_URL": redis_server.url, "PATH": os.defpath}
    command = [sys.executable, "-c", _FREEZES.format(alive=ALIVE_SECONDS)]
    frozen = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert frozen.returncode == -signal.SIGPROF, frozen.stderr
    watching = registered(client, "watching")
    judging(watching)
    assert [death.worker for death in Poison(client, watching).begin("range", "tag")] == ["frozen"]


# -- messages of the dead


@pytest.mark.slow
def test_what_a_killed_worker_had_in_hand_is_delivered_again_once_within_seconds(fleet: Fleet) -> None:
    messages = [f"message-{number}" for number in range(8)]
    fleet.publish(messages)
    victim = fleet.start_worker(threads=3)
    until(lambda: len(fleet.begun()) == 3)
    in_hand = {message for message, _, _ in fleet.begun()}
    fleet.start_worker(threads=3)
    fleet.start_worker(threads=3)
    until(lambda: len(fleet.begun()) == 8)

    victim.send_signal(signal.SIGKILL)
    until(lambda: len(fleet.begun()) == 9)  # one place was free
    fleet.let_end()
    until(fleet.queues.is_empty)
    until(lambda: len(fleet.ended()) >= 8)

    assert fleet.ended() == messages  # none lost, none doubled
    again = fleet.begun()[8:]
    assert {message for message, _, _ in again} == in_hand
    assert [deaths for _, _, deaths in fleet.begun()] == [0] * 8 + [1] * 3
    assert fleet.client.hgetall(WORKING) == {}


@pytest.mark.slow
def test_a_worker_that_is_stopped_counts_as_dead_and_does_no_harm_when_it_goes_on(fleet: Fleet) -> None:
    fleet.publish(["a", "b"])
    stopped = fleet.start_worker(threads=2)
    until(lambda: len(fleet.begun()) == 2)
    fleet.start_worker(threads=2)
    stopped.send_signal(signal.SIGSTOP)
    until(lambda: len(fleet.begun()) == 4)
    assert sorted(deaths for _, _, deaths in fleet.begun()) == [0, 0, 1, 1]

    stopped.send_signal(signal.SIGCONT)
    fleet.let_end()
    until(fleet.queues.is_empty)
    assert set(fleet.ended()) == {"a", "b"}
    assert stopped.poll() is None


@pytest.fixture
def orphaned(fleet: Fleet) -> Fleet:
    """Three messages in the hands of a worker that was killed, and nobody else there."""
    fleet.publish(["a", "b", "c"])
    victim = fleet.start_worker(threads=3)
    until(lambda: len(fleet.begun()) == 3)
    assert fleet.queues.depths()["normal"] == 0
    victim.kill()
    victim.wait(20)
    return fleet


@pytest.mark.slow
def test_several_who_restore_at_once_double_nothing(orphaned: Fleet) -> None:
    watching = registered(orphaned.client, "watching")
    judging(watching)

    def restore(_: int) -> int:
        with orphaned.channel() as channel:
            return Poison(orphaned.client, watching).restore_orphans(channel)

    # On a machine that is busy, the pool takes longer than the time after which a worker counts as silent.
    with repeating(lambda: watching.beat(info("watching")), 0.2), ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(restore, range(12))) == 3
    assert (orphaned.queues.depths()["normal"], orphaned.queues.unacked()) == (3, 0)
    assert len(orphaned.client.hgetall(WORKING)) == 3  # whoever begins has to find them


@pytest.mark.slow
def test_a_message_is_not_taken_from_one_who_got_it_since(orphaned: Fleet) -> None:
    watching = registered(orphaned.client, "watching")
    judging(watching)
    poison = Poison(orphaned.client, watching)
    with orphaned.channel() as taking, orphaned.channel() as channel:
        assert poison.restore_orphans(channel) == 3
        taken = [taking.basic_get("normal") for _ in range(3)]  # in hand, and not begun
        assert orphaned.queues.unacked() == 3
        registered(orphaned.client, "watching")
        assert poison.restore_orphans(channel) == 0
        for message in taken:
            taking.basic_ack(message.delivery_tag)
    assert orphaned.queues.is_empty()


@pytest.mark.slow
def test_neither_what_is_acknowledged_nor_what_a_living_worker_holds_is_handed_back(fleet: Fleet) -> None:
    fleet.publish(["a", "b"])
    fleet.start_worker(threads=2)
    until(lambda: len(fleet.begun()) == 2)
    watching = registered(fleet.client, "watching")
    judging(watching)
    poison = Poison(fleet.client, watching)
    with fleet.channel() as channel:
        assert poison.restore_orphans(channel) == 0

        dead = Heartbeats(fleet.client, "dead", alive_seconds=ALIVE_SECONDS)
        Poison(fleet.client, dead).begin("gone", "acknowledged-tag")
        fleet.client.delete("pagesight:worker:dead")
        assert poison.restore_orphans(channel) == 0
    assert [death.worker for death in poison.begin("gone", "new-tag")] == ["dead"]


def test_a_note_that_no_message_stands_behind_is_forgotten_after_a_day(fleet: Fleet) -> None:
    watching = registered(fleet.client, "watching")
    judging(watching)
    for name, age in (("old", 25 * 3600), ("young", 23 * 3600)):
        note = {"worker": "dead", "tag": "unknown", "since": int(time.time()) - age, "taken": "1.5"}
        fleet.client.hset(WORKING, name, json.dumps(note))
    with fleet.channel() as channel:
        assert Poison(fleet.client, watching).restore_orphans(channel) == 0
    assert set(fleet.client.hgetall(WORKING)) == {"young"}


# -- Redis itself


def test_a_redis_that_is_away_is_waited_for_and_one_that_refuses_is_not(
    client: Redis, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.config_set("requirepass", "secret")
    with connect(load()) as stranger, pytest.raises(ServiceRefused, match="let us in"):
        RedisQueues(stranger).depths()
    port = redis_server.port
    monkeypatch.setenv("PAGESIGHT_REDIS_URL", f"redis://:secret@127.0.0.1:{port}/0")
    with connect(load()) as known:
        assert RedisQueues(known).is_empty()
        redis_server.kill()
        for asked in (RedisQueues(known).depths, RedisQueues(known).epoch, lambda: living_workers(known)):
            with pytest.raises(ServiceUnavailable) as caught:
                asked()
            assert "secret" not in str(caught.value)
        redis_server.start()
        assert RedisQueues(known).is_empty()


def test_the_visibility_timeout_is_far_beyond_these_tests() -> None:
    assert configuration(load())["broker_transport_options"]["visibility_timeout"] > 5 * PATIENCE_SECONDS


def test_without_a_redis_it_is_said_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGESIGHT_HOME", str(tmp_path))
    monkeypatch.delenv("PAGESIGHT_REDIS_URL", raising=False)
    with pytest.raises(ServiceRefused) as caught:
        connect(load())
    assert "pagesight redis start" in caught.value.remedy


def test_a_redis_that_deletes_keys_when_it_is_full_is_seen(client: Redis) -> None:
    queues = RedisQueues(client)
    assert queues.eviction() is None
    client.config_set("maxmemory-policy", "allkeys-lru")
    assert queues.eviction() == "allkeys-lru"

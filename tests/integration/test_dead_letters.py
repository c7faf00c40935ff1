"""Elements of a queue that are not messages: a worker sets them aside and goes on."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from redis import Redis

from pipeline.core.settings import load
from support.redis_server import RedisServer
from workers.redis.connection import connect
from workers.redis.dead_letters import problem
from workers.redis.queues import DEAD_LETTERS, DEAD_LETTERS_TOTAL, KEPT, RedisQueues

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

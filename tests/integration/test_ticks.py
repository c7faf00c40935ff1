"""The last tick, and the clock of its beat, on a real Redis."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
from celery import Celery
from redis import Redis
from structlog.testing import capture_logs

from pipeline.core.settings import load
from support.redis_server import RedisServer
from workers.app import configuration
from workers.redis import queues
from workers.redis.connection import connect
from workers.redis.dead_letters import problem
from workers.redis.ticks import LAST, LastTick, Ticks
from workers.schedules.ticks import CLOCK_OFFSET, CLOCK_REMEDY, TASK, clock_offset


@pytest.fixture
def client(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Redis:
    monkeypatch.setenv("PAGESIGHT_REDIS_URL", redis_server.url)
    return connect(load())


def sent_tick(client: Redis) -> str:
    """A tick as a beat sends it."""
    app = Celery("beat")
    app.conf.update({**configuration(load()), "imports": []})
    options = app.conf.beat_schedule["tick"]["options"]
    app.send_task(app.conf.beat_schedule["tick"]["task"], **options)
    app.close()
    (element,) = client.lrange("pagesight:control", 0, -1)
    return str(element)


def test_of_ticks_that_come_together_one_is_carried_out(client: Redis) -> None:
    ticks = [Ticks(client) for _ in range(3)]
    assert [each.begin() for each in ticks] == [True, False, False]


def test_the_last_tick_is_told_with_its_age_by_the_clock_of_redis(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Ticks(client).last() is None
    monkeypatch.setattr(time, "time", lambda: 0.0)  # nobody's own clock is asked
    Ticks(client).end("worker", -400.0)
    last = Ticks(client).last()
    assert last is not None
    assert (last.worker, last.clock_offset_seconds) == ("worker", -400.0)
    assert 0 <= last.ago_seconds < 60
    assert not last.clock_is_right
    assert not last.is_overdue


@pytest.mark.parametrize("text", ["", "garbage", "[]", '{"at": "never", "worker": "w"}', b"\xff"])
def test_a_note_of_another_version_is_no_tick(client: Redis, text: str | bytes) -> None:
    client.set(LAST, text)
    assert Ticks(client).last() is None


def test_a_tick_is_overdue_after_three_minutes() -> None:
    assert not LastTick(179.0, "w", None).is_overdue
    assert LastTick(181.0, "w", None).is_overdue
    assert LastTick(181.0, "w", None).clock_is_right


def test_a_tick_of_a_clock_that_is_behind_does_not_expire_and_says_how_far_it_is_behind(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr(queues, "time", SimpleNamespace(time=lambda: now() - 400))
    with capture_logs() as logged:
        element = sent_tick(client)
    headers = json.loads(element)["headers"]
    assert headers["expires"] is None
    assert headers[CLOCK_OFFSET] == pytest.approx(-400, abs=30)
    assert problem(element, "control", {TASK}) is None
    assert [line["remedy"] for line in logged if line["log_level"] == "warning"] == [CLOCK_REMEDY]


def test_a_tick_of_a_right_clock_is_not_logged(client: Redis) -> None:
    with capture_logs() as logged:
        headers = json.loads(sent_tick(client))["headers"]
    assert headers[CLOCK_OFFSET] == pytest.approx(0, abs=15)
    assert logged == []


@pytest.mark.parametrize("header", [None, "400", [400], {}])
def test_a_header_of_another_kind_is_none(header: object) -> None:
    assert clock_offset(header) is None

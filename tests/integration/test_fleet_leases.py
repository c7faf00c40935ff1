"""Leases on answers over a fleet, on a real Redis and with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from pipeline.core.errors import ServiceUnavailable, Stopped
from pipeline.core.models import Answer
from pipeline.core.retry import CancelToken
from pipeline.core.settings import load
from pipeline.vision.reader import AnswerCache
from support.redis_server import RedisServer
from support.vision import AnswersInMemory, get_or_ask
from workers.redis.connection import connect
from workers.redis.leases import LEASE, RedisLeases

LEASE_SECONDS = 1.0
PATIENCE_SECONDS = 60.0

HOLDER = """
import sys, time
from pipeline.core.settings import load
from workers.redis.connection import connect
from workers.redis.leases import LEASE, RedisLeases
leases = RedisLeases(connect(load()), lease_seconds=float(sys.argv[1]))
with leases.take("key"):
    print("held", flush=True)
    while True:
        time.sleep(0.2)
        leases.renew()
"""


def make_leases(redis_server: RedisServer) -> RedisLeases:
    """What another process has: they share nothing but Redis."""
    settings = load().model_copy(update={"redis_url": redis_server.url})
    return RedisLeases(connect(settings), lease_seconds=LEASE_SECONDS)


def answer() -> Answer:
    return Answer(key="key", question="text", model="m", content="said", asked_at=datetime.now(UTC))


def test_a_key_is_held_by_one_at_a_time(redis_server: RedisServer) -> None:
    leases, others = make_leases(redis_server), make_leases(redis_server)
    lease = leases.take("key")
    assert lease is not None
    with lease:
        assert others.take("key") is None
        assert leases.take("key") is None
        other_key = others.take("another")
        assert other_key is not None
        with other_key:
            pass
    again = others.take("key")
    assert again is not None
    with again:
        pass


def test_a_lease_is_renewed_by_whichever_thread_and_ends_soon_after_its_holder(redis_server: RedisServer) -> None:
    command = [sys.executable, "-c", HOLDER, str(LEASE_SECONDS)]
    environment = os.environ | {"PAGESIGHT_REDIS_URL": redis_server.url}
    leases = make_leases(redis_server)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            end = time.monotonic() + 2.5 * LEASE_SECONDS
            while time.monotonic() < end:
                assert leases.take("key") is None
                time.sleep(0.05)
        finally:
            holder.kill()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (lease := leases.take("key")) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with lease:
        pass


def test_a_lease_that_was_lost_is_no_error_and_is_not_taken_from_its_next_holder(redis_server: RedisServer) -> None:
    leases, others = make_leases(redis_server), make_leases(redis_server)
    lost = leases.take("key")
    assert lost is not None
    with lost:
        redis_server.restart()
        next_one = others.take("key")
        assert next_one is not None
        leases.renew()
    with next_one:
        assert leases.take("key") is None


def test_a_lease_that_redis_has_forgotten_is_taken_again_by_its_holder(redis_server: RedisServer) -> None:
    leases, others = make_leases(redis_server), make_leases(redis_server)
    forgotten = leases.take("key")
    assert forgotten is not None
    with forgotten:
        redis_server.restart()
        leases.renew()
        assert others.take("key") is None
    leases.renew()  # what was given back is not taken again
    next_one = others.take("key")
    assert next_one is not None
    with next_one:
        pass


def test_a_lease_can_be_given_back_while_redis_is_away_but_not_taken(redis_server: RedisServer) -> None:
    leases = make_leases(redis_server)
    lease = leases.take("key")
    assert lease is not None
    with lease:
        redis_server.kill()
    with pytest.raises(ServiceUnavailable):
        leases.take("key")
    redis_server.start()
    leases.renew()  # what was given back is not renewed
    again = leases.take("key")
    assert again is not None
    with again:
        pass


def test_of_many_who_want_an_answer_one_asks(redis_server: RedisServer) -> None:
    store, asked = AnswersInMemory(), []
    machines = [make_leases(redis_server) for _ in range(4)]

    def ask() -> Answer:
        asked.append(1)
        time.sleep(0.2)  # the others come meanwhile
        return answer()

    def want(number: int) -> tuple[Answer, bool]:
        return get_or_ask(AnswerCache(store, machines[number % 4]), "key", ask, CancelToken())

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(want, range(50)))

    assert len(asked) == 1
    assert [cached for _, cached in found].count(False) == 1


def test_who_wants_an_answer_waits_for_a_redis_that_is_away(redis_server: RedisServer) -> None:
    cache, cancel = AnswerCache(AnswersInMemory(), make_leases(redis_server)), CancelToken()
    redis_server.kill()
    with ThreadPoolExecutor(1) as threads:
        wanted = threads.submit(get_or_ask, cache, "key", answer, cancel)
        while cancel.waiting is None:
            assert not wanted.done()
            time.sleep(0.001)
        waiting = cancel.waiting
        redis_server.start()
        assert wanted.result(PATIENCE_SECONDS)[1] is False
    assert waiting.service == "redis"


def test_the_wait_for_a_redis_that_is_away_can_be_stopped(redis_server: RedisServer) -> None:
    cache, cancel = AnswerCache(AnswersInMemory(), make_leases(redis_server)), CancelToken()
    redis_server.kill()
    threading.Timer(0.1, cancel.stop).start()
    with pytest.raises(Stopped, match="redis"):
        get_or_ask(cache, "key", answer, cancel)


class CountingRedis(Redis):
    """Counts its requests, and calls `meanwhile` after each."""

    requests = 0
    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.requests += 1
        answer = super().execute_command(*args, **options)
        self.meanwhile()
        return answer


def test_all_leases_of_a_process_are_renewed_by_one_request(redis_server: RedisServer) -> None:
    client = CountingRedis.from_url(redis_server.url, decode_responses=True)
    leases = RedisLeases(client, lease_seconds=LEASE_SECONDS)
    held = [leases.take(f"key-{number}") for number in range(50)]
    assert all(held)
    leases.renew()  # loads the script
    client.pexpire(f"{LEASE}key-7", 10_000_000)
    before = client.requests
    leases.renew()
    assert client.requests == before + 1
    assert 0 < client.pttl(f"{LEASE}key-7") <= 1000 * LEASE_SECONDS


def test_a_lease_that_is_given_back_during_a_renewal_stays_free(redis_server: RedisServer) -> None:
    client = CountingRedis.from_url(redis_server.url, decode_responses=True)
    leases = RedisLeases(client, lease_seconds=LEASE_SECONDS)
    kept, given_back = leases.take("kept"), leases.take("given back")
    assert kept is not None
    assert given_back is not None
    leases.renew()

    def give_back() -> None:
        client.meanwhile = lambda: None
        client.delete(LEASE + "given back")  # as by a `give_back` whose request came before the renewal's
        leases._held = {token: name for token, name in leases._held.items() if name != LEASE + "given back"}
        client.set(LEASE + "given back", given_back._token)

    client.meanwhile = give_back
    leases.renew()
    assert client.keys(LEASE + "*") == [LEASE + "kept"]

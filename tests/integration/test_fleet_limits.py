"""The limits of a fleet, on a real Redis and with real processes. A witness apart from Redis counts the calls."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from pipeline.core.errors import Stopped
from pipeline.core.retry import CancelToken
from pipeline.core.settings import load
from support.redis_server import RedisServer
from workers.redis.connection import connect
from workers.redis.limits import CALLS, FleetLimiter

#: A tenth of the real one, so that tests need not wait for long.
LEASE_SECONDS = 2.0
#: Nothing here takes so long; what does hangs.
PATIENCE_SECONDS = 60.0

#: Calls the witness again and again: a call lasts until the witness hangs up. Renews as a worker's housekeeping does.
CALLER = """
import contextlib, socket, sys, threading, time
from pipeline.core.errors import Stopped, ServiceUnavailable
from pipeline.core.retry import CancelToken
from pipeline.core.settings import load
from workers.redis.connection import connect
from workers.redis.limits import FleetLimiter

port, name, threads, lease_seconds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
limiter, cancel = FleetLimiter(connect(load()), load(), lease_seconds=lease_seconds), CancelToken()

def call_again_and_again():
    with contextlib.suppress(Stopped):
        while True:
            with limiter.slot(cancel), socket.create_connection(("127.0.0.1", port)) as call:
                call.sendall(name.encode() + b"\\n")
                call.recv(1)

for _ in range(threads):
    threading.Thread(target=call_again_and_again, daemon=True).start()
while True:
    time.sleep(lease_seconds / 5)
    with contextlib.suppress(ServiceUnavailable):
        limiter.renew()
"""


class Witness:
    """Counts the calls that are open, and hangs up on each after its time."""

    def __init__(self, call_seconds: float) -> None:
        self.call_seconds = call_seconds
        self.begun: list[str] = []
        self.open = self.most_open = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        # A thread in `accept` keeps a socket open that is only closed.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=(self._listener.accept()[0],), daemon=True).start()

    def _answer(self, call: socket.socket) -> None:
        with call, contextlib.suppress(ConnectionError):
            name = call.makefile().readline().strip()
            with self._lock:
                self.begun.append(name)
                self.open += 1
                self.most_open = max(self.most_open, self.open)
            try:
                call.settimeout(self.call_seconds)
                call.recv(1)  # returns early where the caller was killed
            except TimeoutError:
                pass
            finally:
                with self._lock:
                    self.open -= 1


@pytest.fixture
def witness() -> Iterator[Witness]:
    witness = Witness(0.03)
    yield witness
    witness.close()


StartCaller = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start_caller(redis_server: RedisServer, witness: Witness) -> Iterator[StartCaller]:
    """Starts processes that call the witness."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *, threads: int, in_flight: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", CALLER, str(witness.port), name, str(threads), str(LEASE_SECONDS)]
        settings = {
            "PAGESIGHT_REDIS_URL": redis_server.url,
            "PAGESIGHT_VLM_CONCURRENCY": str(in_flight),
            "PAGESIGHT_VLM_REQUESTS_PER_MINUTE": "0",
            "PAGESIGHT_VLM_TOKENS_PER_MINUTE": "0",
        }
        started.append(subprocess.Popen(command, env=os.environ | settings))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(60)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def make_limiter(redis_server: RedisServer, in_flight: int = 4, requests: int = 0, tokens: int = 0) -> FleetLimiter:
    """What another process has: limiters share nothing but Redis."""
    settings = load().model_copy(
        update={
            "redis_url": redis_server.url,
            "vlm_concurrency": in_flight,
            "vlm_requests_per_minute": requests,
            "vlm_tokens_per_minute": tokens,
        }
    )
    return FleetLimiter(connect(settings), settings, lease_seconds=LEASE_SECONDS)


def test_two_processes_use_the_limit_and_keep_it(start_caller: StartCaller, witness: Witness) -> None:
    for name in ("one", "other"):
        start_caller(name, threads=24, in_flight=4)

    until(lambda: min(witness.begun.count("one"), witness.begun.count("other")) >= 50)

    assert witness.most_open == 4


def test_processes_take_turns_however_many_threads_they_have(start_caller: StartCaller, witness: Witness) -> None:
    witness.call_seconds = 0.1  # so that a slow machine is back in the queue before its next turn
    start_caller("early", threads=24, in_flight=1)
    until(lambda: witness.begun.count("early") >= 10)
    start_caller("late", threads=1, in_flight=1)

    until(lambda: witness.begun.count("late") >= 20)

    since = witness.begun[witness.begun.index("late") :]
    assert since.count("late") > len(since) / 4  # by threads it would be one in 25
    assert witness.most_open == 1


def test_long_calls_keep_their_places_and_those_of_a_killed_process_come_free(
    start_caller: StartCaller, witness: Witness
) -> None:
    witness.call_seconds = PATIENCE_SECONDS
    holder = start_caller("holder", threads=3, in_flight=2)
    until(lambda: witness.open == 2)
    start_caller("heir", threads=3, in_flight=2)
    time.sleep(3 * LEASE_SECONDS)
    assert witness.begun == ["holder", "holder"]

    holder.kill()

    until(lambda: witness.begun.count("heir") == 2)
    assert witness.most_open == 2


def test_a_redis_that_forgets_everything_lets_no_more_calls_through(
    start_caller: StartCaller, witness: Witness, redis_server: RedisServer
) -> None:
    witness.call_seconds = 0.4
    for name in ("one", "other"):
        start_caller(name, threads=8, in_flight=4)
    until(lambda: len(witness.begun) >= 20)

    for _ in range(2):
        redis_server.restart()
        begun = len(witness.begun)
        until(lambda begun=begun: len(witness.begun) >= begun + 20)  # type: ignore[misc]

    assert witness.most_open == 4


def test_a_redis_that_stood_still_lets_no_more_calls_through(
    start_caller: StartCaller, witness: Witness, redis_server: RedisServer
) -> None:
    witness.call_seconds = PATIENCE_SECONDS
    for name in ("one", "other"):
        start_caller(name, threads=4, in_flight=2)
    until(lambda: witness.open == 2)

    redis_server.freeze()
    time.sleep(1.5 * LEASE_SECONDS)  # every lease has expired
    redis_server.thaw()
    time.sleep(1.5 * LEASE_SECONDS)

    assert len(witness.begun) == 2


def test_a_pause_is_made_by_everyone_and_told_to_people(redis_server: RedisServer) -> None:
    asked_to, other = make_limiter(redis_server), make_limiter(redis_server)
    cancel = CancelToken()
    asked_to.pause(60)
    asked_to.pause(0.001)  # a shorter one does not end it

    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(hold_a_place, other, cancel)
        until(lambda: cancel.waiting is not None)
        waiting = cancel.waiting
        cancel.stop()
        with pytest.raises(Stopped):
            call.result()

    assert waiting is not None
    assert (waiting.service, waiting.cause) == ("jina-vlm", "it asked for fewer requests")


def hold_a_place(limiter: FleetLimiter, cancel: CancelToken, ended: threading.Event | None = None) -> None:
    with limiter.slot(cancel):
        if ended is not None:
            assert ended.wait(PATIENCE_SECONDS)


def test_a_pause_ends(redis_server: RedisServer) -> None:
    began = time.monotonic()
    make_limiter(redis_server).pause(0.3)

    hold_a_place(make_limiter(redis_server), CancelToken())

    assert time.monotonic() - began >= 0.3


def test_who_is_urgent_goes_before_those_who_wait_longer(redis_server: RedisServer) -> None:
    holder, one, other = (make_limiter(redis_server, in_flight=1) for _ in range(3))
    ended = threading.Event()
    begun: list[str] = []
    cancel = CancelToken()
    urgent = cancel.within(PATIENCE_SECONDS, urgent=True)

    def call(limiter: FleetLimiter, cancel: CancelToken, name: str) -> None:
        with limiter.slot(cancel):
            begun.append(name)
            until(every_urgent_caller_is_queued)

    def every_urgent_caller_is_queued() -> bool:
        """Whether each process with urgent callers has its turn in Redis: until then nobody goes behind them."""
        waiting = connect_to(redis_server).zrange(CALLS + "turns", 0, -1)
        return sum(turn.endswith(":urgent") for turn in waiting) == one._queue.has_urgent + other._queue.has_urgent

    with ThreadPoolExecutor(16) as threads:
        holding = threads.submit(hold_a_place, holder, cancel, ended)
        until(lambda: places(redis_server) == 1)
        calls = [threads.submit(call, limiter, cancel, "normal") for limiter in (one, other) for _ in range(3)]
        until(lambda: turns(redis_server) == 2)
        calls += [threads.submit(call, limiter, urgent, "urgent") for limiter in (one, other) for _ in range(3)]
        until(lambda: turns(redis_server) == 4 and one._queue._urgent == other._queue._urgent == 3)
        ended.set()
        for each in [holding, *calls]:
            each.result()

    assert begun == ["urgent"] * 6 + ["normal"] * 6


def places(redis_server: RedisServer) -> int:
    return int(connect_to(redis_server).zcard(CALLS + "places"))


def turns(redis_server: RedisServer) -> int:
    return int(connect_to(redis_server).zcard(CALLS + "turns"))


def connect_to(redis_server: RedisServer):  # type: ignore[no-untyped-def]
    return connect(load().model_copy(update={"redis_url": redis_server.url}))


def test_the_requests_of_a_minute_are_counted_over_the_fleet(redis_server: RedisServer) -> None:
    one, other = make_limiter(redis_server, requests=5), make_limiter(redis_server, requests=5)
    cancel = CancelToken()
    for limiter in (one, other, one, other, one):
        hold_a_place(limiter, cancel)

    assert_waits_for(other, cancel, "the 5 requests of a minute are used up")
    assert places(redis_server) == 0


def test_the_tokens_of_a_minute_are_counted_over_the_fleet_also_beyond_the_limit(redis_server: RedisServer) -> None:
    one, other = make_limiter(redis_server, tokens=4000), make_limiter(redis_server, tokens=4000)
    cancel = CancelToken()
    hold_a_place(one, cancel)
    one.count_tokens(3999)
    hold_a_place(other, cancel)
    other.count_tokens(5000)

    assert_waits_for(one, cancel, "the 4,000 tokens of a minute are used up")


def assert_waits_for(limiter: FleetLimiter, cancel: CancelToken, cause: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(hold_a_place, limiter, cancel)
        until(lambda: cancel.waiting is not None and cancel.waiting.cause == cause)
        cancel.stop()
        with pytest.raises(Stopped):
            call.result()


def test_a_redis_that_is_away_is_waited_for_and_costs_no_call_under_way(redis_server: RedisServer) -> None:
    limiter = make_limiter(redis_server)
    cancel = CancelToken()
    with ThreadPoolExecutor(1) as threads:
        with limiter.slot(cancel):
            redis_server.kill()
            limiter.count_tokens(100)
            limiter.pause(0.001)
        call = threads.submit(hold_a_place, limiter, cancel)
        until(lambda: cancel.waiting is not None and cancel.waiting.service == "redis")
        redis_server.start()
        call.result(PATIENCE_SECONDS)


def test_a_place_is_free_again_after_a_call_that_failed(redis_server: RedisServer) -> None:
    limiter = make_limiter(redis_server, in_flight=1)

    with pytest.raises(ZeroDivisionError), limiter.slot(CancelToken()):
        raise ZeroDivisionError

    hold_a_place(make_limiter(redis_server, in_flight=1), CancelToken())


class RedisThatIsSlowToRenew(Redis):
    """Holds scripts back while a test wants it to."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.is_slow = False
        self.holds_back, self.goes_on = threading.Event(), threading.Event()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.is_slow and args[0] == "EVALSHA":
            self.holds_back.set()
            assert self.goes_on.wait(PATIENCE_SECONDS)
        return super().execute_command(*args, **options)


def test_renewing_does_not_take_a_place_again_that_was_given_back(redis_server: RedisServer) -> None:
    client = RedisThatIsSlowToRenew.from_url(redis_server.url, decode_responses=True)
    settings = load().model_copy(update={"vlm_requests_per_minute": 0, "vlm_tokens_per_minute": 0})
    limiter = FleetLimiter(client, settings, lease_seconds=LEASE_SECONDS)
    with ThreadPoolExecutor(1) as threads:
        with limiter.slot(CancelToken()):
            client.is_slow = True
            renewing = threads.submit(limiter.renew)
            assert client.holds_back.wait(PATIENCE_SECONDS)
        client.goes_on.set()
        renewing.result()

    assert places(redis_server) == 0

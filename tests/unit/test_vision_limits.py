from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import Stopped
from pipeline.retry import Patience
from pipeline.vision.limits import LocalLimiter


def test_no_more_calls_are_in_flight_than_there_are_places() -> None:
    limiter = LocalLimiter(3)
    lock = threading.Lock()
    in_flight: list[int] = []
    peaks: list[int] = []

    def call(number: int) -> None:
        with limiter.slot(Patience()):
            with lock:
                in_flight.append(number)
                peaks.append(len(in_flight))
            time.sleep(0.005)
            with lock:
                in_flight.remove(number)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(call, range(60)))

    assert max(peaks) == 3


def test_a_place_is_free_again_after_a_call_that_failed() -> None:
    limiter = LocalLimiter(1)

    with pytest.raises(ZeroDivisionError), limiter.slot(Patience()):
        raise ZeroDivisionError

    with limiter.slot(Patience()):
        pass


def test_a_pause_holds_everyone_back_and_is_told_to_people() -> None:
    patience = Patience()
    limiter = LocalLimiter(4)
    limiter.pause(60)
    begun = threading.Event()

    def call() -> None:
        with limiter.slot(patience):
            begun.set()

    callers = [threading.Thread(target=call_until_stopped, args=(call,)) for _ in range(3)]
    for caller in callers:
        caller.start()
    while patience.waiting is None:
        time.sleep(0.001)
    waiting = patience.waiting
    patience.stop()
    for caller in callers:
        caller.join()

    assert (waiting.service, waiting.cause) == ("jina-vlm", "it asked for fewer requests")
    assert not begun.is_set()


def call_until_stopped(call: object) -> None:
    with pytest.raises(Stopped):
        call()  # type: ignore[operator]


def test_a_pause_ends_and_a_shorter_one_does_not_end_it() -> None:
    limiter = LocalLimiter(1)
    began = time.monotonic()
    limiter.pause(0.2)
    limiter.pause(0.001)

    with limiter.slot(Patience()):
        waited = time.monotonic() - began

    assert waited >= 0.2


def test_who_waits_for_a_place_hears_of_the_stop() -> None:
    patience = Patience()
    limiter = LocalLimiter(1)
    outcome: list[type[Exception]] = []

    def call() -> None:
        try:
            with limiter.slot(patience):
                pass
        except Stopped as stopped:
            outcome.append(type(stopped))

    with limiter.slot(patience):
        caller = threading.Thread(target=call)
        caller.start()
        patience.stop()
        caller.join()

    assert outcome == [Stopped]


def test_no_call_starts_once_the_run_was_stopped() -> None:
    patience = Patience()
    patience.stop()

    with pytest.raises(Stopped), LocalLimiter(1).slot(patience):
        pytest.fail("a call began")

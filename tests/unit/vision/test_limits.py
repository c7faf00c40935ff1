from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.core.errors import Stopped
from pipeline.core.retry import CancelToken
from pipeline.vision.endpoint.limits import LocalLimiter


def test_no_more_calls_are_in_flight_than_there_are_places() -> None:
    limiter = LocalLimiter(3)
    lock = threading.Lock()
    in_flight: list[int] = []
    peaks: list[int] = []

    def call(number: int) -> None:
        with limiter.slot(CancelToken()):
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

    with pytest.raises(ZeroDivisionError), limiter.slot(CancelToken()):
        raise ZeroDivisionError

    with limiter.slot(CancelToken()):
        pass


def test_a_pause_holds_everyone_back_and_is_told_to_people() -> None:
    cancel = CancelToken()
    limiter = LocalLimiter(4)
    limiter.pause(60)
    begun = threading.Event()

    def call() -> None:
        with limiter.slot(cancel):
            begun.set()

    callers = [threading.Thread(target=call_until_stopped, args=(call,)) for _ in range(3)]
    for caller in callers:
        caller.start()
    while cancel.waiting is None:
        time.sleep(0.001)
    waiting = cancel.waiting
    cancel.stop()
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

    with limiter.slot(CancelToken()):
        waited = time.monotonic() - began

    assert waited >= 0.2


def test_who_waits_for_a_place_hears_of_the_stop() -> None:
    cancel = CancelToken()
    limiter = LocalLimiter(1)
    outcome: list[type[Exception]] = []

    def call() -> None:
        try:
            with limiter.slot(cancel):
                pass
        except Stopped as stopped:
            outcome.append(type(stopped))

    with limiter.slot(cancel):
        caller = threading.Thread(target=call)
        caller.start()
        cancel.stop()
        caller.join()

    assert outcome == [Stopped]


def test_no_call_starts_once_the_run_was_stopped() -> None:
    cancel = CancelToken()
    cancel.stop()

    with pytest.raises(Stopped), LocalLimiter(1).slot(cancel):
        pytest.fail("a call began")


def test_who_is_urgent_goes_before_those_who_wait_longer() -> None:
    limiter, cancel = LocalLimiter(1), CancelToken()
    urgent = cancel.within(60, urgent=True)
    begun: list[str] = []

    def call(cancel: CancelToken, name: str) -> None:
        with limiter.slot(cancel):
            begun.append(name)

    with ThreadPoolExecutor(8) as threads:
        with limiter.slot(cancel):
            calls = [threads.submit(call, cancel, "normal") for _ in range(4)]
            calls += [threads.submit(call, urgent, "urgent") for _ in range(4)]
            time.sleep(1.0)  # all of them are in the queue by now, on a busy machine too
        for each in calls:
            each.result()

    assert begun == ["urgent"] * 4 + ["normal"] * 4


def test_no_place_is_kept_for_the_urgent() -> None:
    limiter, cancel = LocalLimiter(2), CancelToken()

    with limiter.slot(cancel), limiter.slot(cancel):
        pass


@pytest.mark.parametrize(
    ("limiter", "tokens", "cause"),
    [
        (LocalLimiter(9, requests_per_minute=1), 0, "the 1 requests of a minute are used up"),
        (LocalLimiter(9, tokens_per_minute=2000), 2000, "the 2,000 tokens of a minute are used up"),
        # A call that costs more than is left is counted in full.
        (LocalLimiter(9, tokens_per_minute=2000), 9000, "the 2,000 tokens of a minute are used up"),
    ],
)
def test_a_minute_that_is_used_up_holds_calls_back_and_is_told_to_people(
    limiter: LocalLimiter, tokens: int, cause: str
) -> None:
    cancel = CancelToken()
    with limiter.slot(cancel):
        limiter.count_tokens(tokens)

    def call() -> None:
        with limiter.slot(cancel):
            pytest.fail("a call began")

    caller = threading.Thread(target=call_until_stopped, args=(call,))
    caller.start()
    while cancel.waiting is None:
        time.sleep(0.001)
    waiting = cancel.waiting
    cancel.stop()
    caller.join()

    assert (waiting.service, waiting.cause) == ("jina-vlm", cause)


def test_what_a_minute_allows_begins_at_once_and_without_a_limit_so_does_everything() -> None:
    for limiter, calls in ((LocalLimiter(1, 30, 30_000), 30), (LocalLimiter(1), 600)):
        for _ in range(calls):
            with limiter.slot(CancelToken()):
                limiter.count_tokens(999)

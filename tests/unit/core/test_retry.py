import contextlib
import threading
import time

import pytest

from pipeline.core.errors import ServiceUnavailable, Stopped
from pipeline.core.retry import MODEL_WAITS_SECONDS, CancelToken, Waiting, retry_until_available, wait_seconds


def away(**details: object) -> ServiceUnavailable:
    return ServiceUnavailable("jina-vlm", "away", **details)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attempt", "jitter", "seconds"),
    [
        (1, 1.0, 15),  # the whole first wait
        (1, 0.0, 7.5),  # jitter never goes below half
        (2, 1.0, 30),
        (3, 1.0, 60),
        (9, 1.0, 60),  # the last one repeats
    ],
)
def test_waits_grow_to_the_last_one(attempt: int, jitter: float, seconds: float) -> None:
    assert wait_seconds(away(), attempt, MODEL_WAITS_SECONDS, jitter) == seconds


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_what_the_service_asks_for_is_the_least_that_is_waited(jitter: float) -> None:
    assert wait_seconds(away(retry_after_seconds=20), 1, MODEL_WAITS_SECONDS, jitter) >= 20


@pytest.mark.parametrize(
    ("suspect", "others", "attempts"),
    [
        (True, True, 3),  # this page times out, others are answered: given up
        (True, False, 5),  # nobody is answered: the service is away
        (False, True, 5),  # a 503 is never the page's fault
    ],
)
def test_a_request_is_given_up_only_while_others_are_answered(suspect: bool, others: bool, attempts: int) -> None:
    made = 0

    def call() -> None:
        nonlocal made
        made += 1
        if made < 5:
            raise away(suspect_request=suspect)

    with contextlib.suppress(ServiceUnavailable):
        retry_until_available(call, CancelToken(), (0.001,), others_answered=lambda: others)
    assert made == attempts


def test_persist_goes_on_until_the_service_is_back() -> None:
    cancel = CancelToken()
    outcomes = iter([away(), away(), None])
    seen = []

    def call() -> str:
        seen.append(cancel.waiting)
        if (error := next(outcomes)) is not None:
            raise error
        return "answer"

    assert retry_until_available(call, cancel, (0.01,)) == "answer"
    assert len(seen) == 3
    assert cancel.waiting is None


def test_others_see_what_is_waited_for_and_a_stop_ends_the_wait() -> None:
    cancel = CancelToken()
    ended = []

    def wait() -> None:
        try:
            cancel.wait(60, Waiting("elasticsearch", "connection refused", 1.0))
        except Stopped as error:
            ended.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    while cancel.waiting is None:
        time.sleep(0.001)
    assert cancel.waiting.cause == "connection refused"
    cancel.stop()
    thread.join(10)

    assert ended == ["stopped while waiting for elasticsearch: connection refused"]


def test_a_part_has_ended_when_the_whole_has() -> None:
    whole = CancelToken()
    part, part_of_part = whole.within(60), whole.within(60).within(60)
    assert not part.stopped

    whole.stop()

    assert part.stopped
    assert part_of_part.stopped


def test_a_part_may_end_alone() -> None:
    whole = CancelToken()
    part = whole.within(60)

    part.stop()

    assert (part.stopped, whole.stopped) == (True, False)


def test_a_part_ends_after_its_seconds_in_the_middle_of_a_wait() -> None:
    whole = CancelToken()
    part = whole.within(0.05)

    with pytest.raises(Stopped):
        part.wait(60, Waiting("elasticsearch", "connection refused", 1.0))

    assert not whole.stopped


def test_a_part_ends_once_it_is_given_up_and_stays_so() -> None:
    answers = iter([False, True])
    part = CancelToken().within(60, cancelled=lambda: next(answers))

    assert [part.stopped for _ in range(4)] == [False, True, True, True]


def test_a_part_says_whether_it_is_urgent_and_the_whole_is_not() -> None:
    whole = CancelToken()

    assert whole.within(60, urgent=True).urgent
    assert not whole.within(60).urgent
    assert not whole.urgent


def test_the_whole_sees_what_its_parts_wait_for() -> None:
    whole = CancelToken()
    parts = [whole.within(60) for _ in range(2)]
    waits = [Waiting("jina-vlm", "HTTP 503", 2.0), Waiting("redis", "connection refused", 1.0)]

    def wait(part: CancelToken, waiting: Waiting) -> None:
        with pytest.raises(Stopped):
            part.wait(60, waiting)

    threads = [threading.Thread(target=wait, args=pair) for pair in zip(parts, waits, strict=True)]
    for thread in threads:
        thread.start()
    while whole.waiting != waits[1]:  # the longest of the two
        time.sleep(0.001)
    parts[1].stop()
    while whole.waiting != waits[0]:
        time.sleep(0.001)
    whole.stop()
    for thread in threads:
        thread.join(10)

    assert whole.waiting is None


def test_a_deadline_is_later_until_a_first_step_is_complete() -> None:
    part = CancelToken().within(0.0, first_seconds=60.0)
    assert not part.stopped
    part.made_progress()
    assert part.stopped


def test_a_part_without_progress_ends_in_the_end() -> None:
    assert CancelToken().within(0.0, first_seconds=0.0).stopped


def test_progress_does_not_put_a_deadline_off() -> None:
    part = CancelToken().within(60.0, first_seconds=0.0)
    part.made_progress()
    assert not part.stopped


def test_a_lingering_token_outlives_the_other_for_its_time() -> None:
    whole = CancelToken()
    brief, long = whole.lingering(0.0), whole.lingering(60.0)
    assert (brief.stopped, long.stopped) == (False, False)
    whole.stop()
    assert (brief.stopped, long.stopped) == (True, False)

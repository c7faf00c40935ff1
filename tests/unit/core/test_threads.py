from __future__ import annotations

import threading
import time

from pipeline.core.threads import PrioritySemaphore, repeating

#: Nothing here takes so long; a test that waits for it hangs.
LONG_SECONDS = 20.0


def test_no_more_places_are_given_than_there_are() -> None:
    permits = PrioritySemaphore(2)
    assert permits.acquire(0)
    assert permits.acquire(0)
    assert not permits.acquire(0)
    permits.release()
    assert permits.acquire(0)


def test_a_place_that_comes_free_goes_to_the_urgent_first_and_then_to_those_who_waited() -> None:
    permits = PrioritySemaphore(1)
    assert permits.acquire(0)
    order: list[str] = []

    def want(name: str, *, urgent: bool) -> None:
        assert permits.acquire(LONG_SECONDS, urgent=urgent)
        order.append(name)

    first = threading.Thread(target=want, args=("normal",), kwargs={"urgent": False})
    second = threading.Thread(target=want, args=("urgent",), kwargs={"urgent": True})
    for thread in (first, second):
        thread.start()
        time.sleep(0.1)
    permits.release()
    second.join(LONG_SECONDS)
    assert order == ["urgent"]
    permits.release()
    first.join(LONG_SECONDS)
    assert order == ["urgent", "normal"]


def test_an_urgent_one_that_gave_up_stands_in_nobodys_way() -> None:
    permits = PrioritySemaphore(0)
    assert not permits.acquire(0, urgent=True)
    permits.release()
    assert permits.acquire(0)


def test_a_heartbeat_goes_on_while_its_block_runs() -> None:
    beats = threading.Semaphore(0)
    with repeating(beats.release, 0.01):
        for _ in range(3):
            assert beats.acquire(timeout=LONG_SECONDS)

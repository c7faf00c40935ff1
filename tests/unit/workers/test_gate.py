"""The gate of a process: together, or alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from pipeline.core.errors import Stopped
from pipeline.core.retry import CancelToken
from workers.gate import Gate


class Room:
    """What is behind the gate: it notes who was in with whom."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.seen: list[tuple[str, ...]] = []
        self._lock = threading.Lock()

    @contextmanager
    def visit(self, name: str) -> Iterator[None]:
        with self._lock:
            self.inside.append(name)
            self.seen.append(tuple(self.inside))
        try:
            yield
        finally:
            with self._lock:
                self.inside.remove(name)


def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_normal_ranges_are_in_together_and_a_suspect_is_alone() -> None:
    gate, room, cancel = Gate(), Room(), CancelToken()
    together = threading.Barrier(4)

    def work(number: int) -> None:
        for turn in range(6):
            suspect = (number + turn) % 5 == 0
            with (gate.alone if suspect else gate.shared)(cancel), room.visit("suspect" if suspect else "normal"):
                time.sleep(0.005)

    def meet() -> None:
        with gate.shared(cancel), room.visit("normal"):
            together.wait(20)

    with ThreadPoolExecutor(4) as pool:
        for meeting in [pool.submit(meet) for _ in range(4)]:
            meeting.result()
        list(pool.map(work, range(4)))
    assert ("normal",) * 4 in room.seen
    alone = [names for names in room.seen if "suspect" in names]
    assert alone
    assert set(alone) == {("suspect",)}


def test_a_suspect_comes_in_although_others_keep_coming() -> None:
    gate, cancel = Gate(), CancelToken()
    came = threading.Event()

    def keep_coming() -> None:
        while not came.is_set():
            with gate.shared(cancel):
                time.sleep(0.02)

    def suspect() -> None:
        with gate.alone(cancel.within(20)):
            came.set()

    with ThreadPoolExecutor(5) as pool:
        others = [pool.submit(keep_coming) for _ in range(4)]
        try:
            pool.submit(suspect).result()
        finally:
            came.set()
        for other in others:
            other.result()


@pytest.mark.parametrize("entrance", ["shared", "alone"])
def test_who_runs_out_of_patience_before_the_gate_stops_and_leaves_it_open(entrance: str) -> None:
    gate, whole = Gate(), CancelToken()
    cancel = whole.within(60)

    def wait() -> None:
        with getattr(gate, entrance)(cancel):
            pytest.fail("somebody else was in")

    with ThreadPoolExecutor(1) as pool, gate.alone(CancelToken()):
        waiting = pool.submit(wait)
        until(lambda: whole.waiting is not None)
        assert whole.waiting.service == "gate"
        cancel.stop()
        with pytest.raises(Stopped):
            waiting.result(20)
    with gate.shared(CancelToken()), gate.shared(CancelToken()):
        pass
    with gate.alone(CancelToken()):
        pass


def test_a_suspect_that_fails_leaves_the_gate_open() -> None:
    gate = Gate()
    with pytest.raises(ZeroDivisionError), gate.alone(CancelToken()):
        1 / 0  # noqa: B018
    with pytest.raises(ZeroDivisionError), gate.shared(CancelToken()):
        1 / 0  # noqa: B018
    with gate.alone(CancelToken()):
        pass

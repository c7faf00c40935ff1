"""Tools for threads: a pool that keeps context variables, a semaphore with priorities, a heartbeat."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ContextThreads(ThreadPoolExecutor):
    """Runs each call with the context variables of the thread that submitted it.

    Log lines about a page then name its task, although another thread processes the page.
    """

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in one of the threads, with a copy of the current context."""
        context = copy_context()
        return super().submit(lambda: context.run(call, *args, **kwargs))


class PrioritySemaphore:
    """A semaphore that gives a released permit to urgent callers first."""

    def __init__(self, permits: int) -> None:
        self._free = permits
        self._urgent = 0
        self._changed = threading.Condition()

    def acquire(self, seconds: float, *, urgent: bool = False) -> bool:
        """Take a permit, waiting at most `seconds`; return whether one was free."""
        with self._changed:
            self._urgent += urgent
            try:
                acquired = self._changed.wait_for(lambda: self._free > 0 and (urgent or not self._urgent), seconds)
                self._free -= acquired
            finally:
                self._urgent -= urgent
                self._changed.notify_all()
        return acquired

    def release(self) -> None:
        """Return a permit."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()


@contextmanager
def repeating(call: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call every `seconds`, in a thread of its own, until the block ends. The call must not raise."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            call()

    thread = threading.Thread(target=repeat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(seconds)

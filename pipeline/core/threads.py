"""What threads share: a pool whose threads know what they work for, places that urgent ones get first, a heartbeat."""

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
    """Runs each call in a copy of the context variables of whoever submitted it.

    So log lines of a page name its task, though another thread works it.
    """

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in one of the threads."""
        context = copy_context()
        return super().submit(lambda: context.run(call, *args, **kwargs))


class PrioritySemaphore:
    """So many places. One that comes free goes to an urgent caller first."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._urgent = 0
        self._changed = threading.Condition()

    def take(self, seconds: float, *, urgent: bool = False) -> bool:
        """Take a place, waiting for so long at the most; return whether there was one."""
        with self._changed:
            self._urgent += urgent
            try:
                taken = self._changed.wait_for(lambda: self._free > 0 and (urgent or not self._urgent), seconds)
                self._free -= taken
            finally:
                self._urgent -= urgent
                self._changed.notify_all()
        return taken

    def give_back(self) -> None:
        """Give a place back."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()


@contextmanager
def repeating(call: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call every so many seconds, in a thread of its own, for as long as the block runs. The call may raise nothing."""
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

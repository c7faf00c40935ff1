"""The gate of a process: most ranges go in together, a suspect one only alone.

What kills its process takes everybody in it along. So one that may be poison is worked while no other is in hand, and
the next death names it and no innocent one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.core.retry import CancelToken, Waiting

SERVICE = "gate"
#: How often one who waits looks whether it may go in.
POLL_SECONDS = 0.05


class Gate:
    """Shared by the threads of a process. Nobody goes in any more once somebody waits to be alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._alone = False
        self._want_alone = 0

    @contextmanager
    def shared(self, cancel: CancelToken) -> Iterator[None]:
        """Be in with others.

        Raises:
            Stopped: the patience ended while a suspect was in, or waited.
        """
        _until(self._enter_shared, cancel, "a suspect is to be worked alone in this process")
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1

    @contextmanager
    def alone(self, cancel: CancelToken) -> Iterator[None]:
        """Be in alone.

        Raises:
            Stopped: the patience ended while others were in.
        """
        with self._lock:
            self._want_alone += 1
        try:
            _until(self._enter_alone, cancel, "a suspect waits until it is alone in this process")
        finally:
            with self._lock:
                self._want_alone -= 1
        try:
            yield
        finally:
            with self._lock:
                self._alone = False

    def _enter_shared(self) -> bool:
        with self._lock:
            may = not self._alone and not self._want_alone
            self._inside += may
        return may

    def _enter_alone(self) -> bool:
        with self._lock:
            may = not self._alone and not self._inside
            self._alone = self._alone or may
        return may


def _until(enter: Callable[[], bool], cancel: CancelToken, cause: str) -> None:
    waiting = Waiting(SERVICE, cause, time.time())
    while not enter():
        cancel.wait(POLL_SECONDS, waiting)

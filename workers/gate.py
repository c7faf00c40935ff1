"""The gate of a process: a shared-exclusive lock. Most messages pass it together, a suspect one passes it alone.

A poison message takes the process down, with every message in it. So a suspect message is handled while no other one
is, and the next death names the guilty message and no innocent one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.core.retry import CancelToken, Waiting

SERVICE = "gate"
#: How often a waiting thread tries again.
POLL_SECONDS = 0.05


class Gate:
    """Shared by the threads of a process. While a thread waits for exclusive passage, no other thread enters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._alone = False
        self._want_alone = 0

    @contextmanager
    def shared(self, cancel: CancelToken) -> Iterator[None]:
        """Pass together with others.

        Raises:
            Stopped: the token ended while a suspect message was inside, or waited.
        """
        _until(self._enter_shared, cancel, "a suspect message is handled alone in this process")
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1

    @contextmanager
    def alone(self, cancel: CancelToken) -> Iterator[None]:
        """Pass alone.

        Raises:
            Stopped: the token ended while others were inside.
        """
        with self._lock:
            self._want_alone += 1
        try:
            _until(self._enter_alone, cancel, "a suspect message waits until it is alone in this process")
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
            admitted = not self._alone and not self._want_alone
            self._inside += admitted
        return admitted

    def _enter_alone(self) -> bool:
        with self._lock:
            admitted = not self._alone and not self._inside
            self._alone = self._alone or admitted
        return admitted


def _until(enter: Callable[[], bool], cancel: CancelToken, cause: str) -> None:
    waiting = Waiting(SERVICE, cause, time.time())
    while not enter():
        cancel.wait(POLL_SECONDS, waiting)

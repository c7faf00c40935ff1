"""How many calls may be in flight, and the pause that everyone makes when the service asks for one."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from pipeline.errors import Stopped
from pipeline.retry import Patience, Waiting
from pipeline.vision.http_errors import SERVICE

#: How often a caller that waits for its turn looks whether the run was stopped.
STOP_POLL_SECONDS = 0.2
#: A pause ends for each caller within this share of it, so that they do not come back all at once.
PAUSE_SPREAD = 0.1


class Limiter(Protocol):
    """Bounds the calls of all callers together; shared by them."""

    def slot(self) -> AbstractContextManager[None]:
        """Hold a place for one call: wait for one to be free, and for a pause to be over.

        Raises:
            Stopped: the run was asked to stop; no call starts after that.
        """
        ...

    def pause(self, seconds: float) -> None:
        """Let nobody begin a call for so long. A longer pause that is under way stays."""
        ...


class LocalLimiter:
    """The limiter of a process that works alone."""

    def __init__(self, in_flight: int, patience: Patience) -> None:
        self._places = threading.BoundedSemaphore(in_flight)
        self._patience = patience
        self._lock = threading.Lock()
        self._paused_until = 0.0
        self._paused_since = 0.0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a place for one call: wait for one to be free, and for a pause to be over.

        Raises:
            Stopped: the run was asked to stop; no call starts after that.
        """
        self._refuse_if_stopped()
        while not self._places.acquire(timeout=STOP_POLL_SECONDS):
            self._refuse_if_stopped()
        try:
            self._sit_out_pause()
            self._refuse_if_stopped()
            yield
        finally:
            self._places.release()

    def pause(self, seconds: float) -> None:
        """Let nobody begin a call for so long. A longer pause that is under way stays."""
        now = time.monotonic()
        with self._lock:
            if self._paused_until <= now:
                self._paused_since = time.time()
            self._paused_until = max(self._paused_until, now + seconds)

    def _sit_out_pause(self) -> None:
        while (left := self._paused_until - time.monotonic()) > 0:
            waiting = Waiting(SERVICE, "it asked for fewer requests", self._paused_since)
            self._patience.wait(left * (1 + PAUSE_SPREAD * random.random()), waiting)

    def _refuse_if_stopped(self) -> None:
        if self._patience.stopped:
            raise Stopped(f"stopped before {SERVICE} was asked")

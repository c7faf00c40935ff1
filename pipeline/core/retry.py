"""The one place where it is decided whether something is tried again, and when.

Clients do not retry by themselves. They raise `ServiceUnavailable`, and whoever called them goes through `persist`.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.core.errors import ServiceUnavailable, Stopped

T = TypeVar("T")

#: Seconds before the next attempt after the 1st, 2nd, … failure; the last one repeats. A cold jina-vlm needs 30 to
#: 60 s.
MODEL_WAITS_SECONDS = (15.0, 30.0, 60.0)
#: Elasticsearch restarts within seconds and takes probes cheaply.
ELASTICSEARCH_WAITS_SECONDS = (1.0, 2.0, 5.0, 10.0)
#: A request that fails this often while the service answers others is itself to blame.
SUSPECT_ATTEMPTS = 3
#: How often one who waits looks whether its patience has ended.
STOP_POLL_SECONDS = 0.2
#: Runs in which a page with a transient failure is tried again.
TRANSIENT_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a run waits for, for people to see."""

    service: str
    cause: str
    since: float
    """Unix time of the first failure in a row."""


def wait_seconds(error: ServiceUnavailable, attempt: int, waits: tuple[float, ...], jitter: float) -> float:
    """Seconds to wait after the `attempt`-th failure in a row (1-based).

    `jitter`, 0 to 1, spreads callers over the upper half of the wait, so that they do not come back all at once. What
    the service asked for in `Retry-After` is the least that is waited.
    """
    planned = waits[min(attempt, len(waits)) - 1] * (0.5 + jitter / 2)
    if error.retry_after_seconds is None:
        return planned
    return error.retry_after_seconds + min(planned, 1.0) * jitter


def is_suspect(error: ServiceUnavailable, suspect_failures: int) -> bool:
    """Whether the request rather than its service may be at fault, having failed so often in a way that it could cause.

    A service that is away fails everyone. A request that times out again and again while others are answered is
    poison, and only that may end as a failed page: so the caller has to look whether others are.
    """
    return error.suspect_request and suspect_failures >= SUSPECT_ATTEMPTS


class CancelToken:
    """How long callers may wait, and who hears of it. One for a process, shared by its threads.

    A signal handler calls `stop()`: every wait then ends with `Stopped`. `within` gives a part of the work less
    patience than the whole has: it stops with the whole, or alone.
    """

    def __init__(self) -> None:
        self.urgent = False
        """Whether its callers go before others where there is a queue."""
        self._stop = threading.Event()
        self._parent: CancelToken | None = None
        self._deadline = math.inf
        self._given_up: Callable[[], bool] = lambda: False
        self._waits: dict[int, Waiting] = {}
        self._lock = threading.Lock()

    def within(
        self, seconds: float, *, urgent: bool = False, given_up: Callable[[], bool] = lambda: False
    ) -> CancelToken:
        """Return a patience that ends with this one, after so many seconds, or once `given_up` says so.

        Its waits are seen here too.
        """
        part = CancelToken()
        part.urgent = urgent
        part._parent = self
        part._deadline = time.monotonic() + seconds
        part._given_up = given_up
        part._waits, part._lock = self._waits, self._lock
        return part

    def stop(self) -> None:
        """End every wait, now and to come."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """True once it has ended; nothing new may be begun."""
        if self._stop.is_set():
            return True
        if (
            time.monotonic() >= self._deadline
            or (self._parent is not None and self._parent.stopped)
            or self._given_up()
        ):
            self._stop.set()
        return self._stop.is_set()

    @property
    def waiting(self) -> Waiting | None:
        """The longest of the waits under way, or None."""
        with self._lock:
            return min(self._waits.values(), key=lambda wait: wait.since, default=None)

    def wait(self, seconds: float, waiting: Waiting) -> None:
        """Sleep.

        Raises:
            Stopped: the patience has ended.
        """
        thread = threading.get_ident()
        end = time.monotonic() + seconds
        with self._lock:
            self._waits[thread] = waiting
        try:
            while (left := end - time.monotonic()) > 0 and not self.stopped:
                self._stop.wait(min(left, STOP_POLL_SECONDS))
            if self.stopped:
                raise Stopped(f"stopped while waiting for {waiting.service}: {waiting.cause}")
        finally:
            with self._lock:
                del self._waits[thread]


def retry_until_available(
    call: Callable[[], T],
    cancel: CancelToken,
    waits: tuple[float, ...],
    *,
    others_answered: Callable[[], bool] = lambda: False,
) -> T:
    """Return what `call` returns, waiting for as long as its service is away.

    `others_answered` is asked where the request itself is suspect.

    Raises:
        ServiceUnavailable: the request itself is at fault.
        Stopped: the run was asked to stop meanwhile.
    """
    since = time.time()
    attempt = suspect_failures = 0
    while True:
        try:
            return call()
        except ServiceUnavailable as error:
            attempt += 1
            suspect_failures += error.suspect_request
            if is_suspect(error, suspect_failures) and others_answered():
                raise
            seconds = wait_seconds(error, attempt, waits, random.random())
            cancel.wait(seconds, Waiting(error.service, str(error), since))

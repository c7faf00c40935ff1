"""Decides whether a failed call is retried, and when. No other module does.

Clients do not retry by themselves. They raise `ServiceUnavailable`, and their callers use `retry_until_available`.
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

#: Seconds before the next attempt, after the 1st, 2nd, … failure; the last value repeats. A cold jina-vlm needs 30 to
#: 60 s.
MODEL_WAITS_SECONDS = (15.0, 30.0, 60.0)
#: The same for Elasticsearch, which restarts within seconds. Probes cost it little.
ELASTICSEARCH_WAITS_SECONDS = (1.0, 2.0, 5.0, 10.0)
#: Failures after which a request is suspect, if the service answers other requests.
SUSPECT_ATTEMPTS = 3
#: Seconds between two checks of a cancel token while a caller waits.
STOP_POLL_SECONDS = 0.2
#: Runs that retry a page with a transient failure.
TRANSIENT_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Waiting:
    """A wait for a service, as commands and logs show it."""

    service: str
    cause: str
    since: float
    """Unix time of the first failure in a row."""


def wait_seconds(error: ServiceUnavailable, attempt: int, waits: tuple[float, ...], jitter: float) -> float:
    """Return the seconds to wait after the `attempt`-th failure in a row (1-based).

    `jitter`, 0 to 1, spreads callers over the upper half of the wait, so that they do not all return at once. The wait
    is never shorter than the service's `Retry-After`.
    """
    planned = waits[min(attempt, len(waits)) - 1] * (0.5 + jitter / 2)
    if error.retry_after_seconds is None:
        return planned
    return error.retry_after_seconds + min(planned, 1.0) * jitter


def is_suspect(error: ServiceUnavailable, suspect_failures: int) -> bool:
    """Whether the request may be at fault rather than its service.

    It is suspect after `SUSPECT_ATTEMPTS` failures of a kind that a request can cause. An unavailable service fails all
    requests alike, so the caller must also check that other requests are answered: only then may the page fail.
    """
    return error.suspect_request and suspect_failures >= SUSPECT_ATTEMPTS


class CancelToken:
    """Cancels work: by a signal, at a deadline, or on a condition. A process has one, which its threads share.

    A signal handler calls `stop()`: every wait then raises `Stopped`. `within` returns a token with a deadline for a
    part of the work. That token is cancelled with its parent, or alone.
    """

    def __init__(self) -> None:
        self.urgent = False
        """Whether its callers are served first in queues."""
        self._stop = threading.Event()
        self._parent: CancelToken | None = None
        self._deadline = self._first_deadline = math.inf
        self._cancelled: Callable[[], bool] = lambda: False
        self._waits: dict[int, Waiting] = {}
        self._lock = threading.Lock()

    def within(
        self,
        seconds: float,
        *,
        first_seconds: float = 0.0,
        urgent: bool = False,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> CancelToken:
        """Return a token that is cancelled with this one, after `seconds`, or once `cancelled` returns true.

        Until `made_progress` is called, the deadline is later by `first_seconds`. So work that is cut off by deadlines
        and continued later makes progress each time, also where `seconds` are too few for its first step.

        `waiting` of this token includes the waits of the returned one.
        """
        part = CancelToken()
        part.urgent = urgent
        part._parent = self
        part._deadline = time.monotonic() + seconds
        part._first_deadline = part._deadline + first_seconds
        part._cancelled = cancelled
        part._waits, part._lock = self._waits, self._lock
        return part

    def lingering(self, seconds: float) -> CancelToken:
        """Return a token that is cancelled this many seconds after it first finds this one cancelled.

        It is for results that exist already, and whose service may answer with a later attempt.
        """
        seen: list[float] = []

        def is_over() -> bool:
            if not self.stopped:
                return False
            seen.append(time.monotonic())
            return seen[-1] - seen[0] >= seconds

        part = CancelToken()
        part.urgent, part._cancelled = self.urgent, is_over
        part._waits, part._lock = self._waits, self._lock
        return part

    def stop(self) -> None:
        """Cancel: every present and future wait raises `Stopped`."""
        self._stop.set()

    def made_progress(self) -> None:
        """Report that a step of the work is complete and kept: the deadline is no longer a later one."""
        self._first_deadline = self._deadline

    @property
    def stopped(self) -> bool:
        """Whether the token is cancelled or past its deadline. Callers then begin nothing new."""
        if self._stop.is_set():
            return True
        if (
            time.monotonic() >= self._first_deadline
            or (self._parent is not None and self._parent.stopped)
            or self._cancelled()
        ):
            self._stop.set()
        return self._stop.is_set()

    @property
    def waiting(self) -> Waiting | None:
        """The longest wait in progress, None without one."""
        with self._lock:
            return min(self._waits.values(), key=lambda wait: wait.since, default=None)

    def wait(self, seconds: float, waiting: Waiting) -> None:
        """Sleep for some seconds, and show `waiting` meanwhile.

        Raises:
            Stopped: the token was cancelled, or its deadline passed.
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
    """Return the result of `call`; while its service is unavailable, wait and call again.

    `others_answered` returns whether the service answers other requests. It is called for a suspect request.

    Raises:
        ServiceUnavailable: the request itself is at fault.
        Stopped: the token was cancelled, or its deadline passed.
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

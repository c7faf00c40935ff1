"""Limits on model calls: concurrency, requests and tokens per minute, and the shared pause after a 429.

A limiter counts for this process (`LocalLimiter`) or for the whole fleet (`workers.redis.limits`). In front of either,
the threads of a process wait in a `CallQueue`. Only its first urgent caller and its first other caller ask the limiter.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from pipeline.core.errors import Stopped
from pipeline.core.retry import STOP_POLL_SECONDS, CancelToken, Waiting
from pipeline.vision.endpoint.http_errors import SERVICE

#: Maximum random extension of a pause, as a share of it. It differs by caller, so that not all return at once.
PAUSE_SPREAD = 0.1
#: Interval at which the first caller checks the rates of the last minute again.
RATE_POLL_SECONDS = 0.1
#: Number of calls that may begin without a limit.
UNLIMITED = sys.maxsize


class Limiter(Protocol):
    """Bounds the calls of all callers together. All callers share it."""

    def slot(self, cancel: CancelToken) -> AbstractContextManager[None]:
        """Wait until a call may begin, and hold its slot for the block. Urgent callers go before others.

        Raises:
            Stopped: the token was cancelled; no call starts after that.
        """
        ...

    def pause(self, seconds: float) -> None:
        """Begin no call for this time. A longer pause under way stays."""
        ...

    def count_tokens(self, tokens: int) -> None:
        """Count the tokens, sent plus received, of a call that has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Backoff:
    """The time that the first caller waits before it asks again, and the cause."""

    seconds: float
    cause: str = ""
    """Shown to people. Empty while all slots are in use, which is normal."""
    service: str = SERVICE


class MinuteRates:
    """Requests and tokens of the last minute, in a storage of the library `limits`.

    The sliding counter weights the count of the previous minute by the part of it within the last 60 s. It allows one
    burst and then an even flow; fixed windows allow two bursts at their border. In Redis the sliding counter takes the
    time from the expiry of keys; the library's exact window takes it from each caller's clock.

    Args:
        requests: calls that may begin per minute; 0 for no limit.
        tokens: tokens of calls per minute; 0 for no limit. A call's tokens are known only when it ends, so calls in
            flight can exceed the limit.
    """

    def __init__(self, storage: MemoryStorage | RedisStorage, requests: int, tokens: int) -> None:
        self._storage = storage
        self._counter = SlidingWindowCounterRateLimiter(storage)
        self._requests = RateLimitItemPerMinute(requests) if requests else None
        self._tokens = RateLimitItemPerMinute(tokens) if tokens else None

    def room(self) -> tuple[int, str]:
        """Return the number of calls that may begin now, and the cause to report if the caller gets none of them."""
        if self._tokens is not None and not self._left(self._tokens, "tokens"):
            return 0, f"the {self._tokens.amount:,} tokens of a minute are used up"
        if self._requests is None:
            return UNLIMITED, ""
        return self._left(self._requests, "requests"), f"the {self._requests.amount:,} requests of a minute are used up"

    def begin(self) -> bool:
        """Count a call that is about to begin. Return False if other callers have used up the limit."""
        return self._requests is None or self._counter.hit(self._requests, SERVICE, "requests")

    def count_tokens(self, tokens: int) -> None:
        """Count the tokens of a call, even beyond the limit, where the library's `hit` does not count."""
        if self._tokens is not None and tokens > 0:
            key = self._tokens.key_for(SERVICE, "tokens")
            self._storage.acquire_sliding_window_entry(key, UNLIMITED, self._tokens.get_expiry(), tokens)

    def _left(self, item: RateLimitItemPerMinute, unit: str) -> int:
        return self._counter.get_window_stats(item, SERVICE, unit).remaining


class CallQueue:
    """The waiting threads of a process. Only the first urgent one and the first other one ask the limiter.

    More than a hundred threads that all poll would keep Redis busy.
    """

    def __init__(self) -> None:
        self._fronts = {urgent: threading.Lock() for urgent in (True, False)}
        self._urgent = 0
        self._changed = threading.Condition()
        self._changes = 0

    @contextmanager
    def first(self, cancel: CancelToken) -> Iterator[None]:
        """Wait until the caller is the first in the queue, and keep it there for the block.

        Raises:
            Stopped: the token was cancelled.
        """
        urgent = cancel.urgent
        with self._counted(urgent):
            refuse_if_stopped(cancel)
            while not self._fronts[urgent].acquire(timeout=STOP_POLL_SECONDS):
                refuse_if_stopped(cancel)
            try:
                yield
            finally:
                self._fronts[urgent].release()

    @contextmanager
    def _counted(self, urgent: bool) -> Iterator[None]:
        with self._changed:
            self._urgent += urgent
        try:
            yield
        finally:
            with self._changed:
                self._urgent -= urgent
                self._changes += 1
                self._changed.notify_all()

    @property
    def has_urgent(self) -> bool:
        """Whether urgent callers are in the queue."""
        return self._urgent > 0

    @property
    def changes(self) -> int:
        """A counter that grows with each event that may end the wait of a first caller."""
        return self._changes

    def wake(self) -> None:
        """Let the first callers ask again, because a call of this process has ended."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def wait(self, seconds: float, changes: int) -> None:
        """Wait until the counter differs from `changes`, for at most this time or `STOP_POLL_SECONDS`."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != changes, min(seconds, STOP_POLL_SECONDS))


class Pause:
    """The latest pause that the service requested and that this process knows of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._since = 0.0

    @property
    def left_seconds(self) -> float:
        """Seconds to its end; 0 or less without a pause."""
        return self._until - time.monotonic()

    def begin(self, seconds: float) -> None:
        """Pause for this time. A longer pause under way stays."""
        now = time.monotonic()
        with self._lock:
            if self._until <= now:
                self._since = time.time()
            self._until = max(self._until, now + seconds)

    def sit_out(self, cancel: CancelToken) -> None:
        """Wait for its end, plus a random extension.

        Raises:
            Stopped: the token was cancelled.
        """
        while (left := self.left_seconds) > 0:
            waiting = Waiting(SERVICE, "it asked for fewer requests", self._since)
            cancel.wait(left * (1 + PAUSE_SPREAD * random.random()), waiting)


class QueueingLimiter(ABC):
    """Base class of all limiters: the queue and the pause in front of the counting."""

    def __init__(self) -> None:
        self._queue = CallQueue()
        self._pause = Pause()

    @contextmanager
    def slot(self, cancel: CancelToken) -> Iterator[None]:
        """Wait until a call may begin, and hold its slot for the block. Urgent callers go before others.

        Raises:
            Stopped: the token was cancelled; no call starts after that.
        """
        slot = self._wait_for_slot(cancel)
        try:
            refuse_if_stopped(cancel)
            yield
        finally:
            self._leave(slot)
            self._queue.wake()

    def pause(self, seconds: float) -> None:
        """Begin no call for this time. A longer pause under way stays."""
        self._pause.begin(seconds)

    def _wait_for_slot(self, cancel: CancelToken) -> str:
        while True:
            self._pause.sit_out(cancel)
            with self._queue.first(cancel):
                slot = self._poll(cancel)
            if slot is not None:
                return slot

    def _poll(self, cancel: CancelToken) -> str | None:
        """Ask until there is a slot. Return None if a pause begins: each caller waits for its end outside the queue."""
        since = time.time()
        while self._pause.left_seconds <= 0:
            refuse_if_stopped(cancel)
            changes = self._queue.changes
            answer = self._enter(cancel, time.time() - since)
            if isinstance(answer, str):
                return answer
            if answer.cause:
                cancel.wait(answer.seconds, Waiting(answer.service, answer.cause, since))
            else:
                self._queue.wait(answer.seconds, changes)
        return None

    @abstractmethod
    def _enter(self, cancel: CancelToken, waited_seconds: float) -> str | Backoff:
        """Take a slot and return its name, or return when to ask again. Called by the first caller of the queue."""

    @abstractmethod
    def _leave(self, slot: str) -> None:
        """Release a slot."""


class LocalLimiter(QueueingLimiter):
    """The limiter of a single process. A rate of 0 means no limit."""

    def __init__(self, in_flight: int, requests_per_minute: int = 0, tokens_per_minute: int = 0) -> None:
        super().__init__()
        self._free = in_flight
        self._rates = MinuteRates(MemoryStorage(), requests_per_minute, tokens_per_minute)
        self._lock = threading.Lock()

    def count_tokens(self, tokens: int) -> None:
        """Count the tokens of a call that has ended."""
        with self._lock:
            self._rates.count_tokens(tokens)

    def _enter(self, cancel: CancelToken, waited_seconds: float) -> str | Backoff:
        with self._lock:
            room, cause = self._rates.room()
            if not room:
                return Backoff(RATE_POLL_SECONDS, cause)
            if not self._free or (self._queue.has_urgent and not cancel.urgent):
                return Backoff(STOP_POLL_SECONDS)
            if not self._rates.begin():
                return Backoff(RATE_POLL_SECONDS, cause)
            self._free -= 1
            return ""

    def _leave(self, slot: str) -> None:
        with self._lock:
            self._free += 1


def refuse_if_stopped(cancel: CancelToken) -> None:
    """Raise `Stopped` if the token was cancelled, since no call may begin after that."""
    if cancel.stopped:
        raise Stopped(f"stopped before {SERVICE} was asked")

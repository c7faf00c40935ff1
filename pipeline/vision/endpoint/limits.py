"""How many calls may be in flight, how many may begin and what they may cost in a minute, and the pause that everyone
makes when the service asks for one.

Counting is the limiter's own: in this process (`LocalLimiter`) or for the whole fleet (`workers.redis.limits`). What
stands in front of it is the same: threads that want to call stand in a `Line`, and only the first of them asks.
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

#: A pause ends for each caller within this share of it, so that they do not come back all at once.
PAUSE_SPREAD = 0.1
#: How often the first in line looks whether the minute's requests or tokens allow another call.
RATE_POLL_SECONDS = 0.1
#: More calls than ever begin at once: what is allowed where there is no limit.
UNLIMITED = sys.maxsize


class Limiter(Protocol):
    """Bounds the calls of all callers together; shared by them."""

    def slot(self, cancel: CancelToken) -> AbstractContextManager[None]:
        """Hold a place for one call: wait until it may begin. Urgent callers go before others.

        Raises:
            Stopped: the patience has ended; no call starts after that.
        """
        ...

    def pause(self, seconds: float) -> None:
        """Let nobody begin a call for so long. A longer pause that is under way stays."""
        ...

    def spent(self, tokens: int) -> None:
        """Count what a call has cost, once that is known."""
        ...


@dataclass(frozen=True, slots=True)
class Backoff:
    """Why the first in line may not begin a call now."""

    seconds: float
    """When to ask again."""
    cause: str = ""
    """For people to see. Empty where only a place is wanted: that is how it should be."""
    service: str = SERVICE


class MinuteRates:
    """Requests and tokens of the last minute, in a storage of the library `limits`.

    Its sliding counter weighs the minute before by what of it is still within the last 60 s. It lets a burst through
    once and then an even flow, where fixed windows let two bursts through at their border; and in Redis it takes the
    time from the keys' expiry there, where the library's exact window takes it from each caller's own clock.

    Args:
        requests: calls that may begin in a minute; 0 for any number.
        tokens: what calls may cost in a minute; 0 for any number. As a call's tokens are known when it has ended,
            those in flight at that moment go beyond it.
    """

    def __init__(self, storage: MemoryStorage | RedisStorage, requests: int, tokens: int) -> None:
        self._storage = storage
        self._counter = SlidingWindowCounterRateLimiter(storage)
        self._requests = RateLimitItemPerMinute(requests) if requests else None
        self._tokens = RateLimitItemPerMinute(tokens) if tokens else None

    def room(self) -> tuple[int, str]:
        """Return how many calls may begin now, and where none may, which limit says so."""
        if self._tokens is not None and not self._left(self._tokens, "tokens"):
            return 0, f"the {self._tokens.amount:,} tokens of a minute are used up"
        if self._requests is None:
            return UNLIMITED, ""
        return self._left(self._requests, "requests"), f"the {self._requests.amount:,} requests of a minute are used up"

    def begin(self) -> bool:
        """Count a call that is to begin; False where another one was faster."""
        return self._requests is None or self._counter.hit(self._requests, SERVICE, "requests")

    def spent(self, tokens: int) -> None:
        """Count what a call has cost, also beyond the limit: a `hit` would not."""
        if self._tokens is not None and tokens > 0:
            key = self._tokens.key_for(SERVICE, "tokens")
            self._storage.acquire_sliding_window_entry(key, UNLIMITED, self._tokens.get_expiry(), tokens)

    def _left(self, item: RateLimitItemPerMinute, what: str) -> int:
        return self._counter.get_window_stats(item, SERVICE, what).remaining


class CallQueue:
    """The threads of a process that want to call: the first urgent one and the first other one ask, the rest stand.

    If over a hundred threads asked Redis again and again, it would do nothing else.
    """

    def __init__(self) -> None:
        self._fronts = {urgent: threading.Lock() for urgent in (True, False)}
        self._urgent = 0
        self._changed = threading.Condition()
        self._changes = 0

    @contextmanager
    def first(self, cancel: CancelToken) -> Iterator[None]:
        """Stand in line until one is the first, and be that for the block.

        Raises:
            Stopped: the patience has ended.
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
        """Whether there are urgent ones in line."""
        return self._urgent > 0

    @property
    def changes(self) -> int:
        """A number that grows with each change of what the first ones wait for."""
        return self._changes

    def wake(self) -> None:
        """Let the first ones ask again: a call of this process has ended."""
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def wait(self, seconds: float, changes: int) -> None:
        """Wait for so long, or until more has changed than the caller has seen."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != changes, min(seconds, STOP_POLL_SECONDS))


class Pause:
    """The pause, as far as this process knows of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._since = 0.0

    @property
    def left_seconds(self) -> float:
        """How long it still takes; 0 or less when there is none."""
        return self._until - time.monotonic()

    def begin(self, seconds: float) -> None:
        """Pause for so long. A longer pause that is under way stays."""
        now = time.monotonic()
        with self._lock:
            if self._until <= now:
                self._since = time.time()
            self._until = max(self._until, now + seconds)

    def sit_out(self, cancel: CancelToken) -> None:
        """Wait for its end, and a little longer, each caller as chance will have it.

        Raises:
            Stopped: the patience has ended.
        """
        while (left := self.left_seconds) > 0:
            waiting = Waiting(SERVICE, "it asked for fewer requests", self._since)
            cancel.wait(left * (1 + PAUSE_SPREAD * random.random()), waiting)


class QueueingLimiter(ABC):
    """What every limiter does in front of its counting."""

    def __init__(self) -> None:
        self._line = CallQueue()
        self._pause = Pause()

    @contextmanager
    def slot(self, cancel: CancelToken) -> Iterator[None]:
        """Hold a place for one call: wait until it may begin. Urgent callers go before others.

        Raises:
            Stopped: the patience has ended; no call starts after that.
        """
        place = self._wait_for_place(cancel)
        try:
            refuse_if_stopped(cancel)
            yield
        finally:
            self._leave(place)
            self._line.wake()

    def pause(self, seconds: float) -> None:
        """Let nobody begin a call for so long. A longer pause that is under way stays."""
        self._pause.begin(seconds)

    def _wait_for_place(self, cancel: CancelToken) -> str:
        while True:
            self._pause.sit_out(cancel)
            with self._line.first(cancel):
                place = self._ask(cancel)
            if place is not None:
                return place

    def _ask(self, cancel: CancelToken) -> str | None:
        """Ask until there is a place; None where a pause has begun, which everyone sits out by himself."""
        since = time.time()
        while self._pause.left_seconds <= 0:
            refuse_if_stopped(cancel)
            changes = self._line.changes
            answer = self._enter(cancel, time.time() - since)
            if isinstance(answer, str):
                return answer
            if answer.cause:
                cancel.wait(answer.seconds, Waiting(answer.service, answer.cause, since))
            else:
                self._line.wait(answer.seconds, changes)
        return None

    @abstractmethod
    def _enter(self, cancel: CancelToken, waited_seconds: float) -> str | Backoff:
        """Take a place where there is one for this caller now, and return its name. Called by the first in line."""

    @abstractmethod
    def _leave(self, place: str) -> None:
        """Give a place back."""


class LocalLimiter(QueueingLimiter):
    """The limiter of a process that works alone. A rate of 0 is no limit."""

    def __init__(self, in_flight: int, requests_per_minute: int = 0, tokens_per_minute: int = 0) -> None:
        super().__init__()
        self._free = in_flight
        self._rates = MinuteRates(MemoryStorage(), requests_per_minute, tokens_per_minute)
        self._lock = threading.Lock()

    def spent(self, tokens: int) -> None:
        """Count what a call has cost, once that is known."""
        with self._lock:
            self._rates.spent(tokens)

    def _enter(self, cancel: CancelToken, waited_seconds: float) -> str | Backoff:
        with self._lock:
            room, cause = self._rates.room()
            if not room:
                return Backoff(RATE_POLL_SECONDS, cause)
            if not self._free or (self._line.has_urgent and not cancel.urgent):
                return Backoff(STOP_POLL_SECONDS)
            if not self._rates.begin():
                return Backoff(RATE_POLL_SECONDS, cause)
            self._free -= 1
            return ""

    def _leave(self, place: str) -> None:
        with self._lock:
            self._free += 1


def refuse_if_stopped(cancel: CancelToken) -> None:
    """Raise `Stopped` where no call may begin any more."""
    if cancel.stopped:
        raise Stopped(f"stopped before {SERVICE} was asked")

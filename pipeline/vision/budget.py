"""The token budget of a run: a call begins only if its longest possible answer still fits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.core.errors import Stopped
from pipeline.core.retry import CancelToken, Waiting

#: Interval at which a caller that waits for the reservations of others looks again.
POLL_SECONDS = 0.05


@dataclass(slots=True)
class Reservation:
    """Tokens that one call reserves, and the tokens that it has used, once they are known."""

    held: int
    spent: int = 0


class Budget:
    """The tokens of one run, as the endpoint reports them. Its threads share it.

    The cost of a call is known only at its end. So each call reserves its upper bound first and releases the rest
    afterwards; near the end of the budget, calls run one after another. The tokens of a failed call are not counted,
    because the endpoint does not report them.

    Args:
        tokens: sent plus received; None for no limit.
        used_up: called with a message when a call is refused.
        draw: called with the number of missing tokens; returns how many were added to the budget.
    """

    def __init__(
        self,
        tokens: int | None = None,
        used_up: Callable[[str], None] = lambda _words: None,
        draw: Callable[[int], int] = lambda _lacking: 0,
    ) -> None:
        self.spent = 0
        self._tokens = tokens
        self._used_up = used_up
        self._draw = draw
        self._held = 0
        self._lock = threading.Lock()

    @contextmanager
    def reserve(self, most: int, cancel: CancelToken) -> Iterator[Reservation]:
        """Reserve the upper bound of a call's tokens for the block.

        Raises:
            Stopped: the bound does not fit, or the token was cancelled while other calls held what it needs.
        """
        waiting = Waiting("budget", "calls in flight may need what is left of it", time.time())
        may_draw = True
        while not self._take(most, may_draw):
            may_draw = False
            cancel.wait(POLL_SECONDS, waiting)
        reservation = Reservation(most)
        try:
            yield reservation
        finally:
            with self._lock:
                self._held -= reservation.held
                self.spent += reservation.spent

    def give_back(self) -> int:
        """Remove the tokens that are neither spent nor reserved from the budget, and return their number."""
        with self._lock:
            if self._tokens is None:
                return 0
            rest = self._tokens - self.spent - self._held
            self._tokens -= rest
            return rest

    def _take(self, most: int, may_draw: bool) -> bool:
        """Reserve tokens; return False if they may fit after other calls release theirs."""
        with self._lock:
            lacking = 0 if self._tokens is None else self.spent + self._held + most - self._tokens
            if self._tokens is not None and lacking > 0 and may_draw:
                self._tokens += self._draw(lacking)
            if self._tokens is None or self.spent + self._held + most <= self._tokens:
                self._held += most
                return True
            if self.spent + most <= self._tokens:
                return False
        message = f"the budget of {self._tokens:,} tokens has no room for another call"
        self._used_up(message)
        raise Stopped(message)

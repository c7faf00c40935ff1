"""How many tokens a run may cost: a call begins only where the longest answer that it can have still fits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.core.errors import Stopped
from pipeline.core.retry import CancelToken, Waiting

#: How often one who waits for what others hold back looks again.
POLL_SECONDS = 0.05


@dataclass(slots=True)
class Share:
    """What one call holds back of a budget, and what it has cost once that is known."""

    held: int
    spent: int = 0


class Budget:
    """The tokens of one run, counted as the endpoint reports them. Its threads share it.

    What a call will cost is known when it has ended. So each holds back the most that it can cost, and gives back the
    rest; near the end calls follow one another. What an endpoint charges for a call that failed is not counted: it does
    not tell.

    Args:
        tokens: sent and received; None for any number.
        used_up: called where a call was refused, and told why.
        draw: asked for as many tokens as are lacking; returns how many there are more from now on.
    """

    def __init__(
        self,
        tokens: int | None = None,
        used_up: Callable[[str], None] = lambda _words: None,
        draw: Callable[[int], int] = lambda _lacking: 0,
    ) -> None:
        self.spent = 0
        self._tokens = tokens
        self._tell = used_up
        self._draw = draw
        self._held = 0
        self._lock = threading.Lock()

    @contextmanager
    def share(self, most: int, cancel: CancelToken) -> Iterator[Share]:
        """Hold back what a call can cost at most, for as long as it goes on.

        Raises:
            Stopped: it does not fit any more, or the patience has ended while others held back what it needs.
        """
        waiting = Waiting("budget", "calls in flight may need what is left of it", time.time())
        may_draw = True
        while not self._take(most, may_draw):
            may_draw = False
            cancel.wait(POLL_SECONDS, waiting)
        share = Share(most)
        try:
            yield share
        finally:
            with self._lock:
                self._held -= share.held
                self.spent += share.spent

    def give_back(self) -> int:
        """Return what is neither spent nor held back, which is no longer there then."""
        with self._lock:
            if self._tokens is None:
                return 0
            rest = self._tokens - self.spent - self._held
            self._tokens -= rest
            return rest

    def _take(self, most: int, may_draw: bool) -> bool:
        """Hold back so much; False where it might fit once others have given back."""
        with self._lock:
            lacking = 0 if self._tokens is None else self.spent + self._held + most - self._tokens
            if self._tokens is not None and lacking > 0 and may_draw:
                self._tokens += self._draw(lacking)
            if self._tokens is None or self.spent + self._held + most <= self._tokens:
                self._held += most
                return True
            if self.spent + most <= self._tokens:
                return False
        words = f"the budget of {self._tokens:,} tokens has no room for another call"
        self._tell(words)
        raise Stopped(words)

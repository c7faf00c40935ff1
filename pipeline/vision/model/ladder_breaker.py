"""A circuit breaker for the ladder: it stops further attempts where they do not help, page after page.

    closed: every page climbs ── 5 climbs in a row fail ──▶ open: only each 10th page climbs
       ▲                                                      │
       └───────────── an answer passes its checks ────────────┘

A page whose climb is left out is asked once, and marked `not_climbed`. Each question has a breaker of its own, because
a model that cannot read a text may still describe a page. The state is that of one process. A fleet shares none: each
worker finds out within five pages, and a state in Redis would let one worker's bad pages stop all others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipeline.core.errors import Stopped
from pipeline.core.retry import STOP_POLL_SECONDS, CancelToken

log = logging.getLogger(__name__)

#: Climbs in a row without a trusted answer that open the breaker.
FAILED_CLIMBS = 5
#: While it is open, each page of this number climbs, to find out whether climbing helps again.
CLIMB_EVERY = 10


@dataclass(slots=True)
class Climb:
    """One page's further attempts."""

    is_allowed: bool
    passed: bool = False
    """Set by the caller if an attempt ended with a trusted answer."""
    faults: tuple[str, ...] = ()
    """Set by the caller: what the last answer failed by."""


@dataclass(slots=True)
class _State:
    failed: int = 0
    """Failed climbs since the last answer that passed."""
    under_way: int = 0
    is_proven: bool = False
    """Whether the last outcome was an answer that passed."""
    skipped: int = 0
    """Pages that met the open breaker since it opened."""

    @property
    def is_open(self) -> bool:
        return self.failed >= FAILED_CLIMBS


@dataclass(slots=True)
class LadderBreaker:
    """The breakers of all questions of a process. Its threads share them."""

    not_climbed: int = 0
    """Questions that were asked once, because further attempts did not help other pages."""
    stopped: dict[str, str] = field(default_factory=dict)
    """Questions whose breaker is open, and the faults of the last climb."""
    _states: dict[str, _State] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def passed(self, question: str) -> None:
        """Note a first answer that passed its checks."""
        with self._changed:
            self._close(question, self._state(question))

    @contextmanager
    def climb(self, question: str, cancel: CancelToken) -> Iterator[Climb]:
        """Decide whether a page climbs, for the block, and note the outcome at its end.

        Until climbing has helped once, at most `FAILED_CLIMBS` pages climb at the same time, and others wait for them:
        otherwise all pages in flight would climb before the first one has failed.

        Raises:
            Stopped: the token was cancelled while the page waited.
        """
        climb = Climb(self._begin(question, cancel))
        try:
            yield climb
        except BaseException:
            if climb.is_allowed:
                self._end(question)
            raise
        if climb.is_allowed:
            self._end(question, climb)

    def _begin(self, question: str, cancel: CancelToken) -> bool:
        with self._changed:
            state = self._state(question)
            while not state.is_open and not state.is_proven and state.failed + state.under_way >= FAILED_CLIMBS:
                if cancel.stopped:
                    raise Stopped("stopped while other pages were asked again")
                self._changed.wait(STOP_POLL_SECONDS)
            if state.is_open:
                state.skipped += 1
                if state.skipped % CLIMB_EVERY:
                    self.not_climbed += 1
                    return False
            state.under_way += 1
            return True

    def _end(self, question: str, climb: Climb | None = None) -> None:
        """Note the end of a climb; `climb` is None if an error ended it."""
        with self._changed:
            state = self._state(question)
            state.under_way -= 1
            if climb is not None and climb.passed:
                self._close(question, state)
            elif climb is not None:
                self._note_failed(question, state, climb.faults)
            self._changed.notify_all()

    def _note_failed(self, question: str, state: _State, faults: Sequence[str]) -> None:
        was_open = state.is_open
        state.failed += 1
        state.is_proven = False
        if state.is_open:
            self.stopped[question] = ", ".join(faults)
        if state.is_open and not was_open:
            state.skipped = 0
            log.warning(
                "the model's answers fail their checks page after page: most pages are asked once, and marked "
                "(question %s: %s)",
                question,
                self.stopped[question],
            )

    def _close(self, question: str, state: _State) -> None:
        if state.is_open:
            log.warning("the model's answers pass their checks again: pages are asked again (question %s)", question)
        state.failed, state.is_proven = 0, True
        self.stopped.pop(question, None)
        self._changed.notify_all()

    def _state(self, question: str) -> _State:
        return self._states.setdefault(question, _State())

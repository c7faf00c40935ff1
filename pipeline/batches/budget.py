"""What a queued batch may spend: each process that works on it draws from its budget, and gives back what is left.

    budget ──draw──▶ purse of a process ──share──▶ a call, the pages of a range

What is drawn lies in the archive, and counts as spent until it is given back. So no budget is ever passed, whichever
process dies and whatever Redis forgets; a process that is killed has spent what it had drawn.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from pipeline.archive import Archive
from pipeline.core.errors import RevisionTaken, SettingsError
from pipeline.core.models import Allowance, Batch, BudgetReservation, PageStatus
from pipeline.vision.budget import Budget

#: A process draws this part of what is left, or what it needs if that is more: some hundreds of times in all.
PART_DRAWN = 64

Kind = Literal["tokens", "pages"]


@dataclass(slots=True)
class PageShare:
    """Pages that a range may work, and how many it has. Its threads share it."""

    room: int
    worked: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, _status: PageStatus) -> None:
        """Count a page that has ended."""
        with self._lock:
            self.worked += 1


class BatchBudget:
    """What one process may spend of one batch's budget. Its threads share it.

    Where the budget has no room for what is asked for, the batch is paused, with the cause; what is at work then ends
    as far as the budget goes.
    """

    def __init__(self, archive: Archive, batch: Batch) -> None:
        self._archive = archive
        self._batch = batch
        self._pages = 0
        self._lock = threading.Lock()
        no_tokens = None if batch.budget.tokens is None else 0
        self.budget = Budget(no_tokens, lambda _words: self._pause("tokens"), self._draw_tokens)
        """What calls may cost."""

    @contextmanager
    def pages(self, wanted: int) -> Iterator[PageShare]:
        """Take so many pages, or as many as there are; those that did not end go back."""
        if self._batch.budget.pages is None:
            yield PageShare(wanted)
            return
        share = PageShare(self._take_pages(wanted))
        try:
            yield share
        finally:
            with self._lock:
                self._pages += share.room - share.worked

    def close(self) -> None:
        """Give back what is left, once nothing of the batch is at work in this process."""
        tokens = self.budget.give_back()
        with self._lock:
            pages, self._pages = self._pages, 0
        if tokens or pages:
            self._archive.reservations[self._batch.id].append(
                lambda newest: _more(newest, tokens=-tokens, pages=-pages)
            )

    def _take_pages(self, wanted: int) -> int:
        with self._lock:
            if self._pages < wanted:
                self._pages += self._draw("pages", wanted - self._pages, at_least=1)
            taken = min(wanted, self._pages)
            self._pages -= taken
        if not taken:
            self._pause("pages")
        return taken

    def _draw_tokens(self, lacking: int) -> int:
        return self._draw("tokens", lacking, at_least=lacking)

    def _draw(self, kind: Kind, wanted: int, *, at_least: int) -> int:
        """Draw so much or more of what is left, or all of it; nothing where there is less than `at_least`."""
        batch = self._archive.batches[self._batch.id].newest() or self._batch
        limit = getattr(batch.budget, kind)
        drawn = 0

        def successor(newest: BudgetReservation | None) -> BudgetReservation | None:
            nonlocal drawn
            left = limit - (getattr(newest, kind) if newest else 0)
            drawn = min(left, max(wanted, left // PART_DRAWN)) if left >= at_least else 0
            return _more(newest, **{kind: drawn}) if drawn or newest is None else None

        self._archive.reservations[batch.id].append(successor)
        if drawn < wanted:
            self._batch = batch  # as it was when its budget had no room
        return drawn

    def _pause(self, kind: Kind) -> None:
        """Archive that the batch rests. Where somebody changed it meanwhile, whoever goes on will see."""
        batch = self._batch
        if batch.state != "working":
            return
        cause = f"the budget of {getattr(batch.budget, kind):,} {kind} is used up"
        changed = {"revision": batch.revision + 1, "state": "paused", "cause": cause}
        with suppress(RevisionTaken):
            self._archive.batches[batch.id].create(batch.model_copy(update=changed))


def is_out_of_budget(batch: Batch) -> bool:
    """Whether a queued batch rests since its budget is used up."""
    return batch.state == "paused" and batch.cause is not None


def raised_budget(batch: Batch, raised: Allowance) -> Allowance:
    """Return a batch's budget with what is named of another one in its place.

    Raises:
        SettingsError: the batch has no such budget, or a larger one, or rests since its own is used up.
    """
    for kind, number in raised.model_dump(exclude_none=True).items():
        now = getattr(batch.budget, kind)
        if now is None:
            raise SettingsError(
                f"batch {batch.id} has no budget of {kind}",
                remedy="A budget is given with `pagesight enqueue`, and can only be raised later.",
            )
        if number < now:
            raise SettingsError(
                f"the budget of batch {batch.id} is {now:,} {kind} already",
                remedy="Name a larger one: it is counted from the batch's beginning on.",
            )
    budget = batch.budget.model_copy(update=raised.model_dump(exclude_none=True))
    if is_out_of_budget(batch) and budget == batch.budget:
        raise SettingsError(f"batch {batch.id} cannot go on: {batch.cause}", remedy=remedy(batch))
    return budget


def remedy(batch: Batch) -> str:
    """Return what has a batch go on that rests since its budget is used up."""
    return f"Raise it: `pagesight resume {batch.id}` with a larger `--budget-tokens` or `--max-pages`."


def _more(newest: BudgetReservation | None, *, tokens: int = 0, pages: int = 0) -> BudgetReservation:
    before = newest or BudgetReservation(revision=0)
    return BudgetReservation(revision=before.revision + 1, tokens=before.tokens + tokens, pages=before.pages + pages)

"""The budget of a queued batch: each process reserves a part of it, and returns what it did not use.

    budget ──reserve──▶ reservation of a process ──share──▶ a model call, the pages of a work unit

Reservations are archived, and count as spent until they are returned. So the budget is never exceeded when a process
dies or Redis loses its memory; a killed process has spent its reservation.
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

#: A process reserves this fraction of the remaining budget, or what it needs if that is more: several hundred
#: reservations per batch.
RESERVED_FRACTION = 64

Kind = Literal["tokens", "pages"]


@dataclass(slots=True)
class PageShare:
    """The pages that a work unit may process, and how many have ended. Its threads share it."""

    room: int
    ended: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, _status: PageStatus) -> None:
        """Count a page that has ended."""
        with self._lock:
            self.ended += 1


class BatchBudget:
    """The budget of one batch in one process. Its threads share it.

    When the budget has no room for a request, the batch is paused, with the cause. Pages in flight then end as far as
    the reservation allows.
    """

    def __init__(self, archive: Archive, batch: Batch) -> None:
        self._archive = archive
        self._batch = batch
        self._pages = 0
        self._lock = threading.Lock()
        no_tokens = None if batch.budget.tokens is None else 0
        self.tokens = Budget(no_tokens, lambda _words: self._pause("tokens"), self._reserve_tokens)
        """Bounds the tokens of the model's calls."""

    @contextmanager
    def pages(self, wanted: int) -> Iterator[PageShare]:
        """Share out up to `wanted` pages; pages that have not ended are returned afterwards."""
        if self._batch.budget.pages is None:
            yield PageShare(wanted)
            return
        share = PageShare(self._take_pages(wanted))
        try:
            yield share
        finally:
            with self._lock:
                self._pages += share.room - share.ended

    def close(self) -> None:
        """Return what is left, once this process has nothing of the batch in flight."""
        tokens = self.tokens.give_back()
        with self._lock:
            pages, self._pages = self._pages, 0
        if tokens or pages:
            self._append(tokens=-tokens, pages=-pages)

    def _append(self, *, tokens: int, pages: int) -> None:
        self._archive.reservations[self._batch.id].append(lambda newest: _changed(newest, tokens=tokens, pages=pages))

    def _take_pages(self, wanted: int) -> int:
        with self._lock:
            if self._pages < wanted:
                self._pages += self._reserve("pages", wanted - self._pages, at_least=1)
            taken = min(wanted, self._pages)
            self._pages -= taken
        if not taken:
            self._pause("pages")
        return taken

    def _reserve_tokens(self, lacking: int) -> int:
        return self._reserve("tokens", lacking, at_least=lacking)

    def _reserve(self, kind: Kind, wanted: int, *, at_least: int) -> int:
        """Reserve `wanted` or more of the remaining budget, or all of it; nothing where less than `at_least` remains.

        Return the amount reserved.
        """
        batch = self._archive.batches[self._batch.id].newest() or self._batch
        limit = getattr(batch.budget, kind)
        reserved = 0

        def successor(newest: BudgetReservation | None) -> BudgetReservation | None:
            nonlocal reserved
            left = limit - (getattr(newest, kind) if newest else 0)
            reserved = min(left, max(wanted, left // RESERVED_FRACTION)) if left >= at_least else 0
            return _changed(newest, **{kind: reserved}) if reserved or newest is None else None

        self._archive.reservations[batch.id].append(successor)
        if reserved < wanted:
            self._batch = batch  # the revision of the batch whose budget had no room: `_pause` succeeds only this one
        return reserved

    def _pause(self, kind: Kind) -> None:
        """Archive that the batch is paused. If it was changed meanwhile, the change stays."""
        batch = self._batch
        if batch.state != "working":
            return
        cause = f"the budget of {getattr(batch.budget, kind):,} {kind} is used up"
        changed = {"revision": batch.revision + 1, "state": "paused", "cause": cause}
        with suppress(RevisionTaken):
            self._archive.batches[batch.id].create(batch.model_copy(update=changed))


def is_out_of_budget(batch: Batch) -> bool:
    """Whether a queued batch is paused because its budget is used up."""
    return batch.state == "paused" and batch.cause is not None


def raised_budget(batch: Batch, raised: Allowance) -> Allowance:
    """Return a batch's budget with the numbers of another one where that names any.

    Raises:
        SettingsError: the batch has no such budget, has a larger one, or is paused because its own is used up.
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
    """Return the command that resumes a batch whose budget is used up."""
    return f"Raise it: `pagesight resume {batch.id}` with a larger `--budget-tokens` or `--max-pages`."


def _changed(newest: BudgetReservation | None, *, tokens: int = 0, pages: int = 0) -> BudgetReservation:
    before = newest or BudgetReservation(revision=0)
    return BudgetReservation(revision=before.revision + 1, tokens=before.tokens + tokens, pages=before.pages + pages)

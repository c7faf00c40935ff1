"""What schedules do: the same as the commands of these names, by the same functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from pipeline.archive import Archive
from pipeline.core.errors import PagesightError, SettingsError
from pipeline.core.models import Batch, BatchEntry, Lane
from pipeline.core.objects import OBJECT_WAITS_SECONDS
from pipeline.core.retry import CancelToken, retry_until_available
from pipeline.core.schedules import Prune, Redescribe, Reindex, Repair, Retry, Schedule, Sync
from pipeline.maintenance.audit import Batches
from pipeline.maintenance.folder_sync import FolderComparison, compare, require_few, require_folder, take_away
from pipeline.maintenance.stale_pages import SHOWN, Stale, find_stale, tokens_of_page
from pipeline.maintenance.staleness import StaleDocument, first_pages
from pipeline.projection.projector import Projector
from pipeline.projection.rebuild import prune, reindex
from pipeline.services import open_current_recipe, own_folders
from pipeline.sources import display_path, root_url, walk
from workers.client import EnqueueRequest, Fleet
from workers.recovery.repair import repair
from workers.recovery.retry import Selection, enqueue_any, retry
from workers.schedules.run_leases import REPORT_SECONDS, RunContext, RunLease

log = structlog.get_logger()


def act(schedule: Schedule, means: RunContext, claim: RunLease) -> None:
    """Do what a schedule is for, counting on its claim.

    Raises:
        PagesightError: it could not be done, or not all of it.
    """
    _ACTIONS[type(schedule)](schedule, _Work(means, claim))


@dataclass(frozen=True, slots=True)
class _Work:
    """What an action works with."""

    means: RunContext
    claim: RunLease

    @property
    def archive(self) -> Archive:
        return self.means.archive

    @property
    def cancel(self) -> CancelToken:
        return self.claim.cancel

    @property
    def projector(self) -> Projector:
        return replace(self.means.projector, cancel=self.cancel)

    @property
    def fleet(self) -> Fleet:
        return Fleet(self.means.settings, self.archive, self.cancel)

    def count(self, **counts: int) -> None:
        """Count what was found and done."""
        self.claim.counts.update(counts)

    def chosen(self, entry: BatchEntry) -> None:
        """Count what is enqueued."""
        self.count(sources=1, pages=len(entry.pages or ()))

    def order(self, collection: str, lane: Lane) -> EnqueueRequest:
        return EnqueueRequest(collection, None, self.means.settings.language, lane)

    def begun(self, batches: Iterable[Batch]) -> None:
        """Count batches, and have them seen."""
        for batch in batches:
            self.count(batches=1)
            try:
                replace(self.projector, cancel=CancelToken().within(REPORT_SECONDS)).batch(batch)
            except PagesightError as error:
                log.warning("the record of a batch could not be written", batch=batch.id, cause=str(error))


def _sync(schedule: Sync, work: _Work) -> None:
    """Each folder by itself: one that is not mounted keeps none of the others from being looked at."""
    batches = Batches(work.archive)
    refused: list[SettingsError] = []
    for folder in schedule.folders:
        try:
            _sync_folder(folder, schedule, work, batches)
        except SettingsError as error:
            refused.append(error)
    if refused:
        raise SettingsError("; ".join(map(str, refused)), remedy=refused[0].remedy)


def _sync_folder(folder: str, schedule: Sync, work: _Work, batches: Batches) -> None:
    means, collection = work.means, schedule.collection
    url = retry_until_available(lambda: root_url(folder), work.cancel, OBJECT_WAITS_SECONDS)
    found = walk([url], own_folders(means.settings), work.cancel)
    comparison = compare(work.archive, means.files, collection, url, found)
    work.count(**_kinds(comparison))
    require_folder(comparison, url)
    if schedule.delete:
        require_few(comparison)
    taken = take_away(comparison, work.projector, delete=schedule.delete)
    work.count(deleted=taken.documents)
    # What an earlier run has enqueued, and no worker has come to yet, is new to the archive still.
    entries = (entry for entry in comparison.entries if not batches.is_queued(collection, entry.url))
    order, shown = work.order(collection, Lane.NORMAL), display_path(url)
    batch = enqueue_any(work.fleet, order, entries, shown, again=False, chosen=work.chosen)
    work.begun([batch] if batch else [])


def _kinds(comparison: FolderComparison) -> dict[str, int]:
    return {
        "new": len(comparison.new),
        "changed": len(comparison.changed),
        "moved": len(comparison.moved),
        "vanished": len(comparison.vanished),
    }


def _retry(schedule: Retry, work: _Work) -> None:
    """Have pages tried again that failed for a reason which may have passed."""
    selection = Selection(schedule.collection, error=schedule.error)
    index, settings = work.means.projector.index, work.means.settings
    work.begun(
        retry(
            work.fleet,
            work.archive,
            index,
            selection,
            settings,
            again=False,
            lane=Lane.BACKFILL,
            chosen=work.chosen,
        )
    )


def _repair(schedule: Repair, work: _Work) -> None:
    """Compare archive and index, and mend what differs."""
    comparison = repair(
        work.archive,
        work.projector,
        work.fleet,
        dry_run=False,
        cancel=work.cancel,
        collections=schedule.collections or None,
    )
    work.count(differences=comparison.differences, batches=len(comparison.batches), messages=comparison.published)


def _redescribe(schedule: Redescribe, work: _Work) -> None:
    """Enqueue stale pages for as many tokens as are left of the day's budget."""
    left = schedule.budget_tokens - tokens_today(work.archive, schedule.name, schedule.timezone, datetime.now(UTC))
    batches = Batches(work.archive)
    for collection in work.archive.collections.names():
        stale = _stale(collection, schedule, work, batches)
        left -= _enqueue_stale(stale, left, work)


def _stale(collection: str, schedule: Redescribe, work: _Work, batches: Batches) -> Stale:
    """Return what is stale in a collection and in no queue yet."""

    def wanted(document: StaleDocument) -> bool:
        return not batches.is_queued(collection, document.url)

    current = open_current_recipe(work.means.settings, work.archive, collection)
    return find_stale(work.archive, collection, current, schedule.conditions, work.cancel, wanted)


def _enqueue_stale(stale: Stale, left: int, work: _Work) -> int:
    """Enqueue stale pages of a collection; return the tokens that they may cost.

    These are archived first: who dies in between has spent them, and no day costs more than it may.
    """
    tokens = tokens_of_page(work.archive, stale)
    entries = tuple(first_pages(stale.documents, max(0, left) // tokens if tokens else None))
    spent = tokens * sum(len(entry.pages or ()) for entry in entries)
    work.count(stale=stale.tally.stale, tokens=spent)
    work.claim.note()
    order = work.order(stale.collection, Lane.BACKFILL)
    batch = enqueue_any(work.fleet, order, iter(entries), SHOWN, again=True, chosen=work.chosen)
    work.begun([batch] if batch else [])
    return spent


def tokens_today(archive: Archive, schedule: str, zone: ZoneInfo, now: datetime) -> int:
    """Return the tokens for which a schedule has had pages enqueued since the last midnight of a zone."""
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    today = takewhile(lambda run: run.started_at >= midnight.astimezone(UTC), archive.runs.latest_of(schedule))
    return sum(run.counts.get("tokens", 0) for run in today)


def _reindex(schedule: Reindex, work: _Work) -> None:
    done = reindex(work.projector, schedule.collections or None, _nobody_looks, schedule.keep)
    work.count(pages=done.pages, written=done.written, refused=len(done.refused), pruned=len(done.pruned))


def _nobody_looks(_step: str, _pages: int) -> None:
    pass


def _prune(schedule: Prune, work: _Work) -> None:
    work.count(pruned=len(prune(work.projector, schedule.keep)))


_ACTIONS: Mapping[type[Schedule], Callable[[Any, _Work], None]] = {
    Sync: _sync,
    Retry: _retry,
    Repair: _repair,
    Redescribe: _redescribe,
    Reindex: _reindex,
    Prune: _prune,
}

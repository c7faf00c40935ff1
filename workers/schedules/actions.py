"""The actions of schedules. Each action calls the same functions as the command with its name."""

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
from pipeline.core.models import Batch, BatchEntry, FilePatterns, Lane
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
from pipeline.sources import PathFilter, display_path, root_url, walk
from workers.client import EnqueueRequest, Fleet
from workers.recovery.repair import repair
from workers.recovery.retry import Selection, enqueue_any, retry
from workers.schedules.run_leases import REPORT_SECONDS, RunContext, RunLease

log = structlog.get_logger()


def act(schedule: Schedule, context: RunContext, lease: RunLease) -> None:
    """Execute the action of a schedule, and add its counts to the lease.

    Raises:
        PagesightError: the action, or a part of it, failed.
    """
    _ACTIONS[type(schedule)](schedule, _RunningAction(context, lease))


@dataclass(frozen=True, slots=True)
class _RunningAction:
    """Services, limits and counts of one execution."""

    context: RunContext
    lease: RunLease

    @property
    def archive(self) -> Archive:
        return self.context.archive

    @property
    def cancel(self) -> CancelToken:
        return self.lease.cancel

    @property
    def projector(self) -> Projector:
        return replace(self.context.projector, cancel=self.cancel)

    @property
    def fleet(self) -> Fleet:
        return Fleet(self.context.settings, self.archive, self.cancel)

    def count(self, **counts: int) -> None:
        """Add to the counts of the run."""
        self.lease.counts.update(counts)

    def count_entry(self, entry: BatchEntry) -> None:
        """Count a source that is enqueued, and its pages."""
        self.count(sources=1, pages=len(entry.pages or ()))

    def request(self, collection: str, lane: Lane) -> EnqueueRequest:
        return EnqueueRequest(collection, None, self.context.settings.language, lane)

    def record_batches(self, batches: Iterable[Batch]) -> None:
        """Count batches, and write their records. A record that cannot be written is only logged."""
        for batch in batches:
            self.count(batches=1)
            try:
                replace(self.projector, cancel=CancelToken().within(REPORT_SECONDS)).batch(batch)
            except PagesightError as error:
                log.warning("the record of a batch could not be written", batch=batch.id, cause=str(error))


def _sync(schedule: Sync, action: _RunningAction) -> None:
    """Synchronise each folder. A folder that is not mounted does not stop the others."""
    batches = Batches(action.archive)
    refused: list[SettingsError] = []
    for folder in schedule.folders:
        try:
            _sync_folder(folder, schedule, action, batches)
        except SettingsError as error:
            refused.append(error)
    if refused:
        raise SettingsError("; ".join(map(str, refused)), remedy=refused[0].remedy)


def _sync_folder(folder: str, schedule: Sync, action: _RunningAction, batches: Batches) -> None:
    context, collection = action.context, schedule.collection
    url = retry_until_available(lambda: root_url(folder), action.cancel, OBJECT_WAITS_SECONDS)
    patterns = FilePatterns(roots=(url,), include=schedule.include, exclude=schedule.exclude)
    found = walk([url], own_folders(context.settings), action.cancel, choose=PathFilter(patterns).listing)
    comparison = compare(action.archive, context.files, collection, url, found, unattended=True, patterns=patterns)
    action.count(**_counts(comparison))
    require_folder(comparison, url)
    if schedule.delete:
        require_few(comparison)
    removed = take_away(comparison, action.projector, delete=schedule.delete)
    action.count(deleted=removed.documents)
    # Files that an earlier run has enqueued and no worker has handled are not in the archive yet.
    entries = (entry for entry in comparison.entries if not batches.is_queued(collection, entry.url))
    request, shown = replace(action.request(collection, Lane.NORMAL), patterns=patterns), display_path(url)
    batch = enqueue_any(action.fleet, request, entries, shown, again=False, on_entry=action.count_entry)
    action.record_batches([batch] if batch else [])


def _counts(comparison: FolderComparison) -> dict[str, int]:
    return {
        "new": len(comparison.new),
        "changed": len(comparison.changed),
        "moved": len(comparison.moved),
        "vanished": len(comparison.vanished),
    }


def _retry(schedule: Retry, action: _RunningAction) -> None:
    """Enqueue the pages and files that failed for a transient reason."""
    selection = Selection(schedule.collection, error=schedule.error)
    index, settings = action.context.projector.index, action.context.settings
    action.record_batches(
        retry(
            action.fleet,
            action.archive,
            index,
            selection,
            settings,
            again=False,
            lane=Lane.BACKFILL,
            on_entry=action.count_entry,
        )
    )


def _repair(schedule: Repair, action: _RunningAction) -> None:
    """Compare archive and index, and enqueue the repair of each difference."""
    comparison = repair(
        action.archive,
        action.projector,
        action.fleet,
        dry_run=False,
        cancel=action.cancel,
        collections=schedule.collections or None,
    )
    action.count(differences=comparison.differences, batches=len(comparison.batches), messages=comparison.published)


def _redescribe(schedule: Redescribe, action: _RunningAction) -> None:
    """Enqueue stale pages, as far as the rest of the day's budget of tokens allows."""
    left = schedule.budget_tokens - tokens_today(action.archive, schedule.name, schedule.timezone, datetime.now(UTC))
    batches = Batches(action.archive)
    for collection in action.archive.collections.names():
        stale = _stale(collection, schedule, action, batches)
        left -= _enqueue_stale(stale, left, action)


def _stale(collection: str, schedule: Redescribe, action: _RunningAction, batches: Batches) -> Stale:
    """Return the stale pages of a collection that are in no queue yet."""

    def wanted(document: StaleDocument) -> bool:
        return not batches.is_queued(collection, document.url)

    current = open_current_recipe(action.context.settings, action.archive, collection)
    return find_stale(action.archive, collection, current, schedule.conditions, action.cancel, wanted)


def _enqueue_stale(stale: Stale, left: int, action: _RunningAction) -> int:
    """Enqueue stale pages of a collection; return the estimate of their tokens.

    The tokens are archived first. If the process dies after that, they count as spent, so no day exceeds its budget.
    """
    tokens = tokens_of_page(action.archive, stale)
    entries = tuple(first_pages(stale.documents, max(0, left) // tokens if tokens else None))
    spent = tokens * sum(len(entry.pages or ()) for entry in entries)
    action.count(stale=stale.tally.stale, tokens=spent)
    action.lease.note()
    request = action.request(stale.collection, Lane.BACKFILL)
    batch = enqueue_any(action.fleet, request, iter(entries), SHOWN, again=True, on_entry=action.count_entry)
    action.record_batches([batch] if batch else [])
    return spent


def tokens_today(archive: Archive, schedule: str, zone: ZoneInfo, now: datetime) -> int:
    """Return the tokens that a schedule has spent on enqueued pages since midnight in a time zone."""
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    today = takewhile(lambda run: run.started_at >= midnight.astimezone(UTC), archive.runs.latest_of(schedule))
    return sum(run.counts.get("tokens", 0) for run in today)


def _reindex(schedule: Reindex, action: _RunningAction) -> None:
    done = reindex(action.projector, schedule.collections or None, _no_progress, schedule.keep)
    action.count(pages=done.pages, written=done.written, refused=len(done.refused), pruned=len(done.pruned))


def _no_progress(_step: str, _pages: int) -> None:
    pass


def _prune(schedule: Prune, action: _RunningAction) -> None:
    action.count(pruned=len(prune(action.projector, schedule.keep)))


_ACTIONS: Mapping[type[Schedule], Callable[[Any, _RunningAction], None]] = {
    Sync: _sync,
    Retry: _retry,
    Repair: _repair,
    Redescribe: _redescribe,
    Reindex: _reindex,
    Prune: _prune,
}

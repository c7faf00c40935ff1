"""One batch in this process, from its beginning to its end: the work of `pagesight index`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.batches.lifecycle import begin_batch, close_killed, hold_batch
from pipeline.batches.local_runner import RunTally, run_batch
from pipeline.core.errors import PagesightError, ServiceRefused, Stopped
from pipeline.core.leases import FileLeases
from pipeline.core.models import Batch, BatchEntry, DocumentStatus, FilePatterns, PageStatus
from pipeline.pages.page_services import PageServices
from pipeline.pages.recipe import request_of
from pipeline.sources import display_path
from pipeline.vision.profile import Profile


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """A person's request to index files in this process."""

    roots: tuple[str, ...]
    """URLs of files, folders and buckets."""
    excluded: tuple[str, ...]
    """URLs of folders that are never walked: the archive's own."""
    collection: str
    language: str | None
    """The language requested; None for the collection's own."""
    default_language: str
    profile: Profile | None = None
    """The profile named; None for the collection's own."""
    entries: tuple[BatchEntry, ...] = ()
    """Further sources, or some of their pages."""
    shown: tuple[str, ...] = ()
    """Names of these entries, for people."""
    patterns: FilePatterns | None = None
    """Which files below the roots are looked at; None for all."""
    again: bool = False
    """Whether failures of earlier batches are tried again whatever their reason."""
    downgrade: bool = False
    """Whether pages that a model described may be read without one."""
    max_pages: int | None = None
    """How many pages may be processed; any number when None."""


def index_batch(
    order: IndexRequest,
    services: PageServices,
    leases: FileLeases,
    units_at_once: int,
    tally: RunTally,
    tick: Callable[[], None],
) -> tuple[Batch, PagesightError | None]:
    """Process a batch; return it as it ended, and the error that halted it. `tick` is called a few times a second."""
    for killed in close_killed(services.archive, leases):
        services.projector.batch(killed)
    sources = [*map(display_path, order.roots), *order.shown]
    batch = begin_batch(
        services.archive,
        order.collection,
        order.language,
        order.default_language,
        sources,
        profile=order.profile,
        patterns=order.patterns,
        again=order.again,
        downgrade=order.downgrade,
    )
    services = services.for_message(batch, services.cancel)
    services.projector.batch(batch)
    with hold_batch(leases, batch):
        halted = _run(order, batch, services, units_at_once, tally, tick)
        ended = _ended_batch(batch, services, tally, halted)
        services.archive.batches[ended.id].create(ended)
    refused = _project(ended, services)
    return ended, halted or refused


def _run(
    order: IndexRequest,
    batch: Batch,
    services: PageServices,
    units_at_once: int,
    tally: RunTally,
    tick: Callable[[], None],
) -> PagesightError | None:
    """Run a batch; return the error that halted it."""
    request = request_of(batch, services.recipe(batch.language))
    try:
        run_batch(
            order.roots,
            order.excluded,
            request,
            services,
            units_at_once,
            tally,
            tick,
            entries=order.entries,
            max_pages=order.max_pages,
        )
    except PagesightError as error:
        return error
    return None


def _project(batch: Batch, services: PageServices) -> PagesightError | None:
    """Write the record of an ended batch and refresh the indices; return the error if Elasticsearch refuses."""
    try:
        services.projector.batch(batch)
        services.projector.refresh()
    except Stopped:
        return None  # an interrupted run does not wait for Elasticsearch: the record is in the archive
    except ServiceRefused as error:
        return error
    return None


def _ended_batch(batch: Batch, services: PageServices, tally: RunTally, halted: PagesightError | None) -> Batch:
    now = datetime.now(UTC)
    return batch.model_copy(
        update={
            "revision": batch.revision + 1,
            "state": "halted" if halted else _state(services, tally),
            "cause": str(halted) if halted else tally.used_up or None,
            "ended_at": now,
            "documents": _counts(tally.documents),
            "pages": _counts(tally.pages),
            "passed_over": tally.passed_over,
            "descriptions_kept": tally.descriptions_kept,
            "model_calls": services.reader.usage.calls,
            "cached_answers": tally.cached_answers,
            "not_climbed": services.reader.usage.not_climbed,
            "tokens": services.reader.usage.tokens,
            "seconds": round((now - batch.started_at).total_seconds(), 3),
        }
    )


def _state(services: PageServices, tally: RunTally) -> str:
    if tally.used_up:
        return "exhausted"
    return "interrupted" if services.cancel.stopped else "done"


def _counts(counter: Counter[PageStatus] | Counter[DocumentStatus]) -> dict[str, int]:
    return {status.value: count for status, count in counter.items() if count}

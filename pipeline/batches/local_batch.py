"""One batch in this process, from its beginning to its end: what `pagesight index` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.batches.lifecycle import begin_batch, close_killed, hold_batch
from pipeline.batches.local_runner import RunTally, run_batch
from pipeline.core.errors import PagesightError, ServiceRefused, Stopped
from pipeline.core.leases import FileLeases
from pipeline.core.models import Batch, BatchEntry, DocumentStatus, PageStatus
from pipeline.pages.process import PageServices
from pipeline.pages.recipe import Request
from pipeline.sources import display_path
from pipeline.vision.profile import Profile


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """What a person asked to be indexed."""

    roots: tuple[str, ...]
    """URLs of files, folders and buckets."""
    excluded: tuple[str, ...]
    """URLs of folders that are never walked: the archive's own."""
    collection: str
    language: str | None
    """The language asked for; the collection's own when None."""
    default_language: str
    profile: Profile | None = None
    """The profile named; the collection's own when None."""
    entries: tuple[BatchEntry, ...] = ()
    """Sources that are worked besides what lies below the roots, or some of their pages."""
    shown: tuple[str, ...] = ()
    """What these are, for people."""
    again: bool = False
    """Whether failures of earlier batches are tried again whatever their reason."""
    max_pages: int | None = None
    """How many pages may be worked; any number when None."""


def index_batch(
    order: IndexRequest,
    tools: PageServices,
    leases: FileLeases,
    units_at_once: int,
    tally: RunTally,
    tick: Callable[[], None],
) -> tuple[Batch, PagesightError | None]:
    """Work a batch; return it as it ended, and what halted it. `tick` is called a few times a second."""
    for killed in close_killed(tools.archive, leases):
        tools.projector.batch(killed)
    sources = [*map(display_path, order.roots), *order.shown]
    batch = begin_batch(
        tools.archive, order.collection, order.language, order.default_language, sources, profile=order.profile
    )
    tools = tools.of_batch(batch)
    tools.projector.batch(batch)
    request = Request(batch.collection, batch.id, batch.deletions_seen, tools.recipe(batch.language), order.again)
    halted: PagesightError | None = None
    with hold_batch(leases, batch):
        try:
            run_batch(
                order.roots,
                order.excluded,
                request,
                tools,
                units_at_once,
                tally,
                tick,
                entries=order.entries,
                max_pages=order.max_pages,
            )
        except PagesightError as error:
            halted = error
        ended = _end(batch, tools, tally, halted)
        tools.archive.batches[ended.id].create(ended)
    refused = _project(ended, tools)
    return ended, halted or refused


def _project(batch: Batch, tools: PageServices) -> PagesightError | None:
    """Write the record of a batch that ended, and let searches see everything; return what refuses it."""
    try:
        tools.projector.batch(batch)
        tools.projector.refresh()
    except Stopped:
        return None  # the archive has it; who interrupts a run does not wait for a cluster
    except ServiceRefused as error:
        return error
    return None


def _end(batch: Batch, tools: PageServices, tally: RunTally, halted: PagesightError | None) -> Batch:
    now = datetime.now(UTC)
    state = "halted" if halted else _state(tools, tally)
    return batch.model_copy(
        update={
            "revision": batch.revision + 1,
            "state": state,
            "cause": str(halted) if halted else tally.used_up or None,
            "ended_at": now,
            "documents": _counts(tally.documents),
            "pages": _counts(tally.pages),
            "model_calls": tools.reader.usage.calls,
            "cached_answers": tally.cached_answers,
            "tokens": tools.reader.usage.tokens,
            "seconds": round((now - batch.started_at).total_seconds(), 3),
        }
    )


def _state(tools: PageServices, tally: RunTally) -> str:
    if tally.used_up:
        return "exhausted"
    return "interrupted" if tools.cancel.stopped else "done"


def _counts(counter: Counter[PageStatus] | Counter[DocumentStatus]) -> dict[str, int]:
    return {status.value: count for status, count in counter.items() if count}

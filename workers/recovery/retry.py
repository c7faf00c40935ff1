"""Trying again what failed: exactly those pages and files, in a batch of their own for each collection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING

from pipeline.archive import Archive, source_id
from pipeline.core.models import Batch, BatchEntry, Lane
from pipeline.core.retry import TRANSIENT_ATTEMPTS
from pipeline.core.settings import Settings
from pipeline.maintenance.audit import Batches
from pipeline.maintenance.staleness import is_there
from pipeline.search import FailedPage
from workers.client import EnqueueRequest, Fleet

if TYPE_CHECKING:
    from pipeline.search.index import Index


@dataclass(frozen=True, slots=True)
class Selection:
    """Which failures are meant. What is None does not matter."""

    collection: str | None = None
    batch: str | None = None
    error: str | None = None
    """An `OutcomeError.code`."""
    document: str | None = None
    """The beginning of an id, or a part of a name or path."""
    page_number: int | None = None

    def failures(self, index: Index, collection: str) -> Iterator[FailedPage]:
        """Yield those of one collection."""
        return index.queries.failures(
            collection=collection,
            batch=self.batch,
            error=self.error,
            document=self.document,
            page_number=self.page_number,
        )


def retry(
    fleet: Fleet,
    archive: Archive,
    index: Index,
    selection: Selection,
    settings: Settings,
    again: bool = True,
    *,
    lane: Lane = Lane.NORMAL,
    chosen: Callable[[BatchEntry], None] = lambda _entry: None,
) -> list[Batch]:
    """Enqueue what failed and is selected; return the batches, one for each collection that has any.

    Args:
        fleet: where it is enqueued.
        archive: tells where documents lie.
        index: tells what failed, as of its last refresh.
        selection: which failures.
        settings: the language of collections that have none.
        again: whatever the reason; otherwise only what failed for one that may have passed, has not been tried five
            times, and is in no batch that has not ended.
        lane: the lane of the batches.
        chosen: hears of each file that is enqueued, with its pages where only some failed.

    Raises:
        ServiceUnavailable: Redis or Elasticsearch is away.
        ServiceRefused: Elasticsearch refuses.
    """
    batches = []
    for collection in [selection.collection] if selection.collection else archive.collections.names():
        entries = _entries(archive, index, selection, collection, again)
        order = EnqueueRequest(collection, None, settings.language, lane)
        batch = enqueue_any(fleet, order, entries, _shown(selection), again=again, chosen=chosen)
        if batch is not None:
            batches.append(batch)
    return batches


def enqueue_any(
    fleet: Fleet,
    order: EnqueueRequest,
    entries: Iterator[BatchEntry],
    shown: str,
    *,
    again: bool,
    chosen: Callable[[BatchEntry], None],
) -> Batch | None:
    """Enqueue sources, or some of their pages, in a batch of their own; return None where there are none.

    Args:
        fleet: where they are enqueued.
        order: the batch.
        entries: the sources.
        shown: what they are, for people.
        again: whether what failed is tried whatever the reason.
        chosen: hears of each source.

    Raises:
        ServiceUnavailable: Redis is away; no batch was begun.
    """
    first = next(entries, None)
    if first is None:
        return None
    told = (_told(entry, chosen) for entry in chain([first], entries))
    return fleet.enqueue_sources(order, told, (shown,), again=again)


def _told(entry: BatchEntry, chosen: Callable[[BatchEntry], None]) -> BatchEntry:
    chosen(entry)
    return entry


def _shown(selection: Selection) -> str:
    words = [
        selection.batch,
        selection.error,
        selection.document,
        selection.page_number and f"page {selection.page_number}",
    ]
    return " ".join(["failures", *(str(word) for word in words if word)])


def _entries(
    archive: Archive, index: Index, selection: Selection, collection: str, again: bool
) -> Iterator[BatchEntry]:
    """Yield the files that failed, then those of which pages did."""
    batches = None if again else Batches(archive)
    failures = (failed for failed in selection.failures(index, collection) if again or _may_have_passed(failed))
    for (url, document), failed in groupby(failures, key=lambda failed: (failed.url, failed.document_id)):
        numbers = tuple(page.page_number for page in failed if page.page_number is not None)
        place = url or _place(archive, index, collection, str(document))
        if place is not None and not (batches and _is_claimed(archive, batches, collection, place)):
            yield BatchEntry(url=place, pages=numbers or None)


def _may_have_passed(failed: FailedPage) -> bool:
    return failed.transient and failed.attempts < TRANSIENT_ATTEMPTS


def _place(archive: Archive, index: Index, collection: str, document: str) -> str | None:
    """Return where a document lies: of several places one that this machine sees; None where nobody knows one."""
    urls = [
        url
        for url in index.queries.document_urls(document, collection=collection)
        if _is_at(archive, collection, document, url)
    ]
    return next(filter(is_there, urls), next(iter(urls), None))


def _is_at(archive: Archive, collection: str, document: str, url: str) -> bool:
    source = archive.sources(collection)[source_id(url)].newest()
    return source is not None and source.document is not None and source.document.id == document


def _is_claimed(archive: Archive, batches: Batches, collection: str, url: str) -> bool:
    source = archive.sources(collection)[source_id(url)].newest()
    return source is not None and batches.is_claimed(source)

"""Retry of failed pages and files: exactly these, in a batch of their own for each collection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import TYPE_CHECKING

from pipeline.archive import Archive, source_id
from pipeline.core.errors import ListDamaged
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
    """A filter of failures. A field that is None matches all."""

    collection: str | None = None
    batch: str | None = None
    error: str | None = None
    """An `OutcomeError.code`."""
    document: str | None = None
    """Beginning of an id, or part of a name or path."""
    page_number: int | None = None

    def failures(self, index: Index, collection: str) -> Iterator[FailedPage]:
        """Yield the selected failures of one collection."""
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
    on_entry: Callable[[BatchEntry], None] = lambda _entry: None,
) -> list[Batch]:
    """Enqueue the selected failures; return the batches, one for each collection that has any.

    Args:
        fleet: takes the batches.
        archive: has the paths of documents.
        index: has the failures, as of its last refresh.
        selection: the failures to retry.
        settings: has the language for collections without one.
        again: retry whatever the reason. Otherwise retry only transient failures with fewer than five attempts that are
            in no unfinished batch.
        lane: the lane of the batches.
        on_entry: called with each file that is enqueued; it has pages where only some of them failed.

    Raises:
        ServiceUnavailable: Redis or Elasticsearch is away.
        ServiceRefused: Elasticsearch refuses.
    """
    batches = []
    for collection in [selection.collection] if selection.collection else archive.collections.names():
        entries = _entries(archive, index, selection, collection, again)
        request = EnqueueRequest(collection, None, settings.language, lane)
        batch = enqueue_any(fleet, request, entries, _shown(selection), again=again, on_entry=on_entry)
        if batch is not None:
            batches.append(batch)
        folders = list(_folders(archive, index, selection, collection, again))
        if folders:
            batches.append(fleet.enqueue(request, folders, (_shown(selection),)))
            for url in folders:
                on_entry(BatchEntry(url=url))
    return batches


def enqueue_any(
    fleet: Fleet,
    request: EnqueueRequest,
    entries: Iterator[BatchEntry],
    shown: str,
    *,
    again: bool,
    on_entry: Callable[[BatchEntry], None],
) -> Batch | None:
    """Enqueue sources, or some of their pages, in a batch of their own; return None without any.

    Args:
        fleet: takes the batch.
        request: collection, language and lane of the batch.
        entries: the sources.
        shown: their description for people.
        again: whether failures are tried again whatever their reason.
        on_entry: called with each source.

    Raises:
        ServiceUnavailable: Redis is away; no batch was begun.
    """
    first = next(entries, None)
    if first is None:
        return None
    reported = _reporting(chain([first], entries), on_entry)
    return fleet.enqueue_sources(request, reported, (shown,), again=again)


def _reporting(entries: Iterable[BatchEntry], on_entry: Callable[[BatchEntry], None]) -> Iterator[BatchEntry]:
    for entry in entries:
        on_entry(entry)
        yield entry


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
    """Yield the failed files, then the files with failed pages."""
    batches = None if again else Batches(archive)
    failures = (failed for failed in selection.failures(index, collection) if again or _is_transient(failed))
    failures = (failed for failed in failures if failed.type != ListDamaged.code)
    for (url, document), failed in groupby(failures, key=lambda failed: (failed.url, failed.document_id)):
        numbers = tuple(page.page_number for page in failed if page.page_number is not None)
        path = url or _document_url(archive, index, collection, str(document))
        if path is not None and not (batches and _is_claimed(archive, batches, collection, path)):
            yield BatchEntry(url=path, pages=numbers or None)


def _folders(archive: Archive, index: Index, selection: Selection, collection: str, again: bool) -> Iterator[str]:
    """Yield the folders that have to be listed again, because lists of their files were damaged."""
    if selection.error not in (None, ListDamaged.code):
        return
    batches = None if again else Batches(archive)
    for failed in replace(selection, error=ListDamaged.code).failures(index, collection):
        if failed.url and (
            batches is None or (_is_transient(failed) and not batches.is_queued(collection, failed.url))
        ):
            yield failed.url


def _is_transient(failed: FailedPage) -> bool:
    return failed.transient and failed.attempts < TRANSIENT_ATTEMPTS


def _document_url(archive: Archive, index: Index, collection: str, document: str) -> str | None:
    """Return the URL of a document's file, or None. Of several files one that this machine can reach comes first."""
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

"""How queued batches end: nobody counts along, the end of each part is derived from what the archive holds.

    part: each of its sources is terminal ──▶ chunk: each of its parts has ended ──▶ batch: walk and chunks complete

A source is terminal when it has an error, or a document whose newest readings cover its pages and are in the index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pipeline.archive import Archive, BatchJournal, source_id
from pipeline.batches.messages import PART_SOURCES, parts_of
from pipeline.core.models import BatchEntry, DocumentStatus, Outcome, PageStatus, PendingDocument
from pipeline.pages.plan import plan
from pipeline.pages.recipe import Request
from pipeline.pages.revisions import is_overtaken
from pipeline.projection.records import document_status
from pipeline.projection.verify import Verification

DELETED = "deleted"


def is_quiet(records: BatchJournal, chunk: str, part: int, request: Request, archive: Archive) -> bool:
    """Whether a part may have ended, as far as names tell: registered, and each due page was read or deleted."""
    begun = _begun(records, chunk, part)
    if begun is None:
        return False
    entries = _entries(records, chunk, part)
    return all(_is_read(document, entries[document.entry], request, archive) for document in begun)


def complete_part(
    chunk: str, part: int, request: Request, verification: Verification, *, registered: bool = False
) -> Outcome | None:
    """Archive how a part ended, and its chunk where that has ended with it; return None where it has not.

    `registered` is true for a caller who has registered all of its sources himself; otherwise the archive must say so.

    Raises:
        ServiceRefused: Elasticsearch refuses.
        Stopped: the patience has ended while it was away.
    """
    archive = verification.projector.archive
    records = archive.journal(request.batch)
    if not registered and _begun(records, chunk, part) is None:
        return None
    documents: Counter[str] = Counter()
    pages: Counter[str] = Counter()
    for entry in _entries(records, chunk, part):
        ended = _end_of(entry, request, verification)
        if ended is None:
            return None
        documents[ended[0]] += 1
        pages += ended[1]
    verification.flush()
    outcome = records.close_part(chunk, part, Outcome(documents=dict(documents), pages=dict(pages)))
    close_chunk(records, chunk)
    return outcome


def close_chunk(records: BatchJournal, chunk: str) -> Outcome | None:
    """Archive how a chunk ended; return None where one of its parts has not."""
    archived = records.chunk(chunk)
    assert archived is not None
    numbers = parts_of(len(archived.entries))
    if len(records.ended_parts(chunk)) < len(numbers):
        return None
    return records.closed.add(chunk, total(filter(None, (records.part(chunk, part) for part in numbers))))


def total(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the sum of several outcomes."""
    documents: Counter[str] = Counter()
    pages: Counter[str] = Counter()
    for outcome in outcomes:
        documents.update(outcome.documents)
        pages.update(outcome.pages)
    return Outcome(documents=dict(documents), pages=dict(pages))


def _entries(records: BatchJournal, chunk: str, part: int) -> tuple[BatchEntry, ...]:
    archived = records.chunk(chunk)
    assert archived is not None
    return archived.entries[part * PART_SOURCES : (part + 1) * PART_SOURCES]


def _begun(records: BatchJournal, chunk: str, part: int) -> list[PendingDocument] | None:
    """Return the documents of a part that are worked in messages of their own; None where it is not all registered."""
    begun = records.begun(chunk, part)
    if begun is not None:
        return list(begun.documents)
    entries = records.begun_entries(chunk, part)
    if len(entries) < len(_entries(records, chunk, part)):
        return None
    return [document for entry in entries.values() for document in entry.documents]


def _is_read(begun: PendingDocument, entry: BatchEntry, request: Request, archive: Archive) -> bool:
    source = archive.sources(request.collection)[source_id(entry.url)].newest()
    if source is None or source.document is None or source.document.id != begun.document:
        return True  # another document lies there by now, and has its own messages
    newest = archive.readings(request.collection, begun.document).newest_revisions()
    if all(newest.get(page, 0) > begun.known.get(page, 0) for page in begun.due):
        return True
    return is_overtaken(archive, request.collection, begun.document, request.deletions_seen)


def _end_of(entry: BatchEntry, request: Request, verification: Verification) -> tuple[str, Counter[str]] | None:
    """Return how a source ended, and its pages; None where it has not."""
    archive = verification.projector.archive
    source = archive.sources(request.collection)[source_id(entry.url)].newest()
    if source is None:
        return None
    verification.source(source)
    if source.document is None:
        return (DocumentStatus.FAILED if source.error else DELETED), Counter()
    planned = plan(source.document, request, archive, entry.pages)
    if planned.due:
        return None
    verification.pages(planned.settled)
    statuses: Counter[PageStatus] = Counter(reading.status for reading in planned.settled)
    pages = Counter({status.value: count for status, count in statuses.items()})
    if planned.deleted:
        pages[DELETED] += len(planned.deleted)
        return DELETED, pages
    if len(planned.settled) == source.document.pages:
        verification.document(list(planned.settled))
    elif entry.pages is not None:  # the rest of the document was not looked at, and its record is about all of it
        verification.projector.documents(request.collection, [source.document.id])
    return document_status(statuses, len(planned.settled)).value, pages

"""The completion of queued batches. No process counts: each part's end is derived from the archive.

    part: each of its sources has ended ──▶ chunk: each of its parts has ended ──▶ batch: walk and chunks have ended

A source has ended when it has an error, or a document whose newest readings cover its pages and are in the index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pipeline.archive import Archive, BatchJournal, source_id
from pipeline.batches.messages import PART_SOURCES, parts_of
from pipeline.core.errors import ListDamaged
from pipeline.core.models import Batch, BatchEntry, DocumentStatus, Outcome, PageStatus, PendingDocument
from pipeline.pages.plan import plan_source
from pipeline.pages.recipe import Request
from pipeline.pages.registration import fail_folder
from pipeline.pages.revisions import is_overtaken
from pipeline.projection.projector import Projector
from pipeline.projection.records import document_status
from pipeline.projection.verify import Verification

DELETED = "deleted"


def is_quiet(records: BatchJournal, chunk: str, part: int, request: Request, archive: Archive) -> bool:
    """Whether a part may have ended: it is registered, and each due page was read or deleted. Only names are read."""
    begun = _begun(records, chunk, part)
    entries = _entries(records, chunk, part)
    if begun is None or not entries:
        return False
    return all(_is_read(document, entries[document.entry], request, archive) for document in begun)


def complete_part(
    chunk: str, part: int, request: Request, verification: Verification, *, registered: bool = False
) -> Outcome | None:
    """Archive the outcome of a part, and of its chunk if it was the last part; return None if the part has not ended.

    `registered` is true for a caller that has registered all sources of the part; otherwise the archive has to say so.

    Raises:
        ServiceRefused: Elasticsearch refuses.
        Stopped: the cancel token ended while Elasticsearch was away.
    """
    archive = verification.projector.archive
    records = archive.journal(request.batch)
    if not registered and _begun(records, chunk, part) is None:
        return None
    outcomes: list[Outcome] = []
    for entry in _entries(records, chunk, part):
        ended = _source_outcome(entry, request, verification)
        if ended is None:
            return None
        outcomes.append(ended)
    verification.flush()
    outcome = records.close_part(chunk, part, total(outcomes))
    complete_chunk(records, chunk)
    return outcome


def complete_chunk(records: BatchJournal, chunk: str) -> Outcome | None:
    """Archive the outcome of a chunk; return None if one of its parts has not ended."""
    sources = records.chunk_size(chunk)
    if not sources or len(records.ended_parts(chunk)) < len(parts_of(sources)):
        return None
    return records.closed.add(chunk, total_of_parts(records, chunk))


def end_damaged_part(records: BatchJournal, chunk: str, part: int) -> None:
    """Archive that the sources of a part failed, because the chunk that lists them is damaged."""
    sources = min(PART_SOURCES, records.chunk_size(chunk) - part * PART_SOURCES)
    if sources > 0:
        records.close_part(chunk, part, Outcome(documents={DocumentStatus.FAILED: sources}, pages={}))
        complete_chunk(records, chunk)


def fail_damaged_list(chunk: str, batch: Batch, projector: Projector) -> None:
    """Archive the failure that stands for the files of a damaged chunk: a source with the URL of their folder.

    Files within containers have the first folder that the batch names. A batch that names its files itself gets no
    failure: what began it finds them again (failures, stale pages, differences of a folder).
    """
    archive = projector.archive
    records = archive.journal(batch.id)
    folder = records.folders.get(chunk.rpartition(".")[0])
    url = folder.url if folder is not None else next(iter(batch.roots), "")
    if not url:
        return
    error = ListDamaged(
        f"the list of {records.chunk_size(chunk)} of its files, {records.chunk_name(chunk)}, is damaged"
    )
    projector.sources([fail_folder(archive, url, batch, error)])


def total_of_parts(records: BatchJournal, chunk: str) -> Outcome:
    """Return the sum of a chunk's ended parts. A part with a damaged outcome is left out."""
    return total(filter(None, (records.part(chunk, part) for part in records.ended_parts(chunk))))


def total(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the sum of several outcomes."""
    documents: Counter[str] = Counter()
    pages: Counter[str] = Counter()
    kept = 0
    for outcome in outcomes:
        documents.update(outcome.documents)
        pages.update(outcome.pages)
        kept += outcome.descriptions_kept
    return Outcome(documents=dict(documents), pages=dict(pages), descriptions_kept=kept)


def _entries(records: BatchJournal, chunk: str, part: int) -> tuple[BatchEntry, ...]:
    archived = records.chunk(chunk)
    return archived.entries[part * PART_SOURCES : (part + 1) * PART_SOURCES] if archived is not None else ()


def _begun(records: BatchJournal, chunk: str, part: int) -> list[PendingDocument] | None:
    """Return the documents of a part that have messages of their own; None if the part is not fully registered."""
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
        return True  # another document is at this path now, and has messages of its own
    if source.error is not None:
        return True  # it ended early
    newest = archive.readings(request.collection, begun.document).newest_revisions()
    if all(newest.get(page, 0) > begun.known.get(page, 0) for page in begun.due):
        return True
    return is_overtaken(archive, request.collection, begun.document, request.deletions_seen)


def _source_outcome(entry: BatchEntry, request: Request, verification: Verification) -> Outcome | None:
    """Return the outcome of one source; None if the source has not ended."""
    archive = verification.projector.archive
    source = archive.sources(request.collection)[source_id(entry.url)].newest()
    if source is None:
        return None
    verification.source(source)
    if source.document is None:
        return Outcome(documents={DocumentStatus.FAILED if source.error else DELETED: 1}, pages={})
    planned = plan_source(source, request, archive, entry.pages)
    if planned.due:
        return None
    verification.pages(planned.settled)
    statuses: Counter[PageStatus] = Counter(reading.status for reading in planned.settled)
    statuses += Counter({PageStatus.FAILED: len(planned.withheld)})
    pages = {status.value: count for status, count in statuses.items()}
    kept = planned.descriptions_kept
    if planned.deleted:
        return Outcome(documents={DELETED: 1}, pages=pages | {DELETED: len(planned.deleted)}, descriptions_kept=kept)
    if len(planned.settled) == source.document.pages:
        verification.document(list(planned.settled))
    elif entry.pages is not None:  # the record covers the whole document, and these pages are a part
        verification.projector.documents(request.collection, [source.document.id])
    status = document_status(statuses, statuses.total())
    return Outcome(documents={status: 1}, pages=pages, descriptions_kept=kept)

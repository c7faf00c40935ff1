"""Deletion: the request first, then a tombstone per page, then the records, then, for a purge, the archived content.

If the process is killed in between, running the same command again finishes: each step continues the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from datetime import UTC, datetime

from pipeline.archive import Archive
from pipeline.core.iterables import batched
from pipeline.core.models import Deletion, Reading, Source, Tombstone
from pipeline.pages.revisions import bury, forget_source, is_overtaken
from pipeline.projection.projector import Projector

#: Pages whose tombstones are archived together, before their records are removed.
CHUNK = 500


def request_deletion(archive: Archive, collection: str, document: str | None, purge: bool) -> Deletion:
    """Archive the request to delete a document, or with None a whole collection. From here on it takes effect."""

    def next_deletion(newest: Deletion | None) -> Deletion:
        return Deletion(
            collection=collection,
            revision=newest.revision + 1 if newest else 1,
            document_id=document,
            purge=purge,
            requested_at=datetime.now(UTC),
        )

    return archive.deletions[collection].append(next_deletion)


def carry_out(deletion: Deletion, projector: Projector) -> int:
    """Bury the pages of a deletion, remove their records, and purge their content if requested; return their number.

    Raises:
        ServiceRefused: Elasticsearch or the archive refuses.
        Stopped: the run was asked to stop while Elasticsearch was away.
    """
    archive = projector.archive
    documents = [deletion.document_id] if deletion.document_id else archive.documents(deletion.collection)
    kept = projector.kept()  # deleted pages leave the generations that are kept for a rollback, too
    pages = 0
    for document in documents:
        for chunk in batched(_buried(archive, deletion, document), CHUNK):
            projector.pages(chunk)
            for former in kept:
                former.put_pages([reading for reading in chunk if isinstance(reading, Tombstone)])
            pages += len(chunk)
        projector.documents(deletion.collection, [document])
        for former in kept:
            former.remove_document(deletion.collection, document)
        if deletion.purge:
            _purge(archive, deletion.collection, document)
    if deletion.document_id is None:
        for sources in batched(_forgotten(archive, deletion, set(documents)), CHUNK):
            for generation in (projector, *kept):
                generation.sources(sources)
    return pages


def purge_late_page(
    archive: Archive, collection: str, document: str, deletions_seen: int, pixels_sha256: str | None
) -> None:
    """Purge the content that a page's writer archived after the document was purged.

    The purge has ended, so the writer has to do it. `pixels_sha256` is the page's hash, where it was rendered.
    """
    deletions = archive.deletions[collection].after(deletions_seen)
    if any(deletion.purge and deletion.document_id in (None, document) for deletion in deletions):
        _purge(archive, collection, document, pixels_sha256)


def _forgotten(archive: Archive, deletion: Deletion, purged: Set[str]) -> Iterator[Source]:
    """Forget every source of a collection, and yield it.

    Documents without a read page have no tombstone; a purge removes their content here.
    """
    for identifier in archive.sources(deletion.collection).names():
        source = archive.sources(deletion.collection)[identifier].newest()
        if source is not None:
            yield forget_source(archive, source)
            if deletion.purge and source.document is not None and source.document.id not in purged:
                _purge(archive, deletion.collection, source.document.id)


def _buried(archive: Archive, deletion: Deletion, document: str) -> Iterator[Reading | Tombstone]:
    for reading in archive.readings(deletion.collection, document).newest():
        buried = bury(archive, deletion.collection, document, reading.page_number, reading, deletion)
        if buried is not None:
            yield buried


def _purge(archive: Archive, collection: str, document: str, pixels_sha256: str | None = None) -> None:
    """Remove a document's readings below their tombstones, and its images and answers unless a collection shows it."""
    readings = list(archive.readings(collection, document).newest())
    tombstones = {reading.page_number: reading.revision for reading in readings if isinstance(reading, Tombstone)}
    archive.readings(collection, document).purge(tombstones)
    if not any(_is_live(archive, name, document) for name in archive.collections.names()):
        archive.purge_content(document, pixels_sha256)


def _is_live(archive: Archive, collection: str, document: str) -> bool:
    """Whether a collection has a page of a document that stays. A page that a deletion overtook will be buried."""
    return any(
        isinstance(reading, Reading) and not is_overtaken(archive, collection, document, reading.deletions_seen)
        for reading in archive.readings(collection, document).newest()
    )

"""Deleting: the request first, then a tombstone for each page, then the records, then, if asked, what was archived.

Killed anywhere in between, the same command run again finishes the work: each step finds what the one before left.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from datetime import UTC, datetime

from pipeline.archive import Archive
from pipeline.core.iterables import batched
from pipeline.core.models import Deletion, Reading, Source, Tombstone
from pipeline.pages.revisions import bury, forget_source, is_overtaken
from pipeline.projection.projector import Projector

#: Pages whose tombstones are archived before their records go, and so on.
CHUNK = 500


def request_deletion(archive: Archive, collection: str, document: str | None, purge: bool) -> Deletion:
    """Archive that a document, or with None a whole collection, is to go. From here on it will."""

    def next_deletion(newest: Deletion | None) -> Deletion:
        return Deletion(
            collection=collection,
            revision=newest.revision + 1 if newest else 1,
            document_id=document,
            purge=purge,
            requested_at=datetime.now(UTC),
        )

    return archive.append_deletion(collection, next_deletion)


def carry_out(deletion: Deletion, projector: Projector) -> int:
    """Bury the pages that a deletion names, remove their records, purge what is to be purged; return their number.

    Raises:
        ServiceRefused: Elasticsearch or the archive refuses.
        Stopped: the run was asked to stop while Elasticsearch was away.
    """
    archive = projector.archive
    documents = [deletion.document_id] if deletion.document_id else archive.documents(deletion.collection)
    kept = projector.kept()  # what is kept for the way back is not to keep what was deleted
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
            for place in (projector, *kept):
                place.sources(sources)
    return pages


def clean_up_behind(
    archive: Archive, collection: str, document: str, deletions_seen: int, pixels_sha256: str | None
) -> None:
    """Purge what a page brought into the archive after its purge, whether it came to be read or was left before.

    Its own writer has to, since the purge is over; `pixels_sha256` are those of the page, where it was rendered.
    """
    deletions = archive.deletions(collection, deletions_seen)
    if any(deletion.purge and deletion.document_id in (None, document) for deletion in deletions):
        _purge(archive, collection, document, pixels_sha256)


def _forgotten(archive: Archive, deletion: Deletion, purged: Set[str]) -> Iterator[Source]:
    """Archive of every source of a collection that nothing is known of it any more.

    Documents of which no page was read, and so none was buried, are purged by the way.
    """
    for identifier in archive.source_ids(deletion.collection):
        source = archive.source(deletion.collection, identifier)
        if source is not None:
            yield forget_source(archive, source)
            if deletion.purge and source.document is not None and source.document.id not in purged:
                _purge(archive, deletion.collection, source.document.id)


def _buried(archive: Archive, deletion: Deletion, document: str) -> Iterator[Reading | Tombstone]:
    for reading in archive.readings(deletion.collection, document):
        buried = bury(archive, deletion.collection, document, reading.page_number, reading, deletion)
        if buried is not None:
            yield buried


def _purge(archive: Archive, collection: str, document: str, pixels_sha256: str | None = None) -> None:
    """Remove a document's readings below their tombstones, and images and answers unless another collection has it."""
    readings = list(archive.readings(collection, document))
    tombstones = {reading.page_number: reading.revision for reading in readings if isinstance(reading, Tombstone)}
    archive.purge_readings(collection, document, tombstones)
    if not any(_is_live(archive, name, document) for name in archive.collections()):
        archive.purge_content(document, pixels_sha256)


def _is_live(archive: Archive, collection: str, document: str) -> bool:
    """Whether a page is there to stay: one that was read behind the back of a deletion is about to be buried."""
    return any(
        isinstance(reading, Reading) and not is_overtaken(archive, collection, document, reading.deletions_seen)
        for reading in archive.readings(collection, document)
    )

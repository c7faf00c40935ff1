"""Deleting: the request first, then a tombstone for each page, then the records, then, if asked, what was archived.

Killed anywhere in between, the same command run again finishes the work: each step finds what the one before left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from pipeline.archive import Archive
from pipeline.models import Deletion, Reading, Source, Tombstone
from pipeline.projection import Projector, batched
from pipeline.revisions import bury, forget_source

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
    pages = 0
    for document in documents:
        for chunk in batched(_buried(archive, deletion, document), CHUNK):
            projector.pages(chunk)
            if deletion.purge:
                _purge(archive, chunk)
            pages += len(chunk)
        projector.document(deletion.collection, document)
    if deletion.document_id is None:
        projector.sources(_forgotten(archive, deletion.collection))
    return pages


def clean_up_behind(archive: Archive, tombstone: Tombstone, reading: Reading) -> None:
    """Purge what a page brought into the archive after its purge: its own writer has to, since the purge is over.

    `reading` is what the writer wanted to save when it found the page deleted.
    """
    (deletion, *_) = archive.deletions(tombstone.collection, tombstone.deletion - 1)
    if deletion.purge:
        _purge(archive, [tombstone])
        _purge_content(archive, reading)


def _forgotten(archive: Archive, collection: str) -> Iterator[Source]:
    """Archive of every source of a collection that nothing is known of it any more."""
    for identifier in archive.source_ids(collection):
        source = archive.source(collection, identifier)
        if source is not None:
            yield forget_source(archive, source)


def _buried(archive: Archive, deletion: Deletion, document: str) -> Iterator[Reading | Tombstone]:
    for reading in archive.readings(deletion.collection, document):
        buried = bury(archive, deletion.collection, document, reading.page_number, reading, deletion)
        if buried is not None:
            yield buried


def _purge(archive: Archive, tombstones: Iterable[Reading | Tombstone]) -> None:
    """Remove readings, answers and page images; an image stays while another collection shows it."""
    for tombstone in tombstones:
        if not isinstance(tombstone, Tombstone):
            continue
        for reading in archive.purge_readings(tombstone):
            _purge_content(archive, reading)


def _purge_content(archive: Archive, reading: Reading) -> None:
    for key in reading.answers:
        archive.purge_answer(key)
    if reading.image and not _is_held_elsewhere(archive, reading):
        archive.purge_images((reading.image.key, reading.image.thumbnail_key))


def _is_held_elsewhere(archive: Archive, reading: Reading) -> bool:
    others = (name for name in archive.collections() if name != reading.collection)
    return any(_holds(archive, name, reading) for name in others)


def _holds(archive: Archive, collection: str, reading: Reading) -> bool:
    revision = archive.revisions(collection, reading.document.id).get(reading.page_number)
    if revision is None:
        return False
    return isinstance(archive.reading(collection, reading.document.id, reading.page_number, revision), Reading)

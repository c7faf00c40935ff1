"""The rules by which a page's next revision is chosen. Whoever writes a reading goes through here.

Each rule gets the newest reading and returns its successor, or None where the newest one stays. The archive calls it
again with a newer one where another writer was faster, so no lock is needed and nobody's words are lost.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from pipeline.archive import Archive, source_id
from pipeline.core.models import Deletion, PageStatus, Reading, Source, Tombstone
from pipeline.sources import container_path, is_path_below

PageReading = Reading | Tombstone


def save_reading(archive: Archive, reading: Reading, known: PageReading | None) -> Reading | Tombstone | None:
    """Archive a finished reading under the next revision; return what is the newest one then.

    It gives way to a deletion that its batch did not know of, and to an equal reading that another writer archived
    first: then only its sources are added. `reading.revision` is of no account.
    """

    def successor(newest: PageReading | None) -> Reading | None:
        if newest is None:
            return _numbered(reading, 1)
        if isinstance(newest, Tombstone):
            return _numbered(reading, newest.revision + 1) if newest.deletion <= reading.deletions_seen else None
        paths = _merged(newest.document.path, reading.document.path)
        containers = (*newest.document.container, *reading.document.container)
        is_equal = newest.fingerprint == reading.fingerprint and newest.document.pages == reading.document.pages
        if is_equal and newest.status is not PageStatus.FAILED:
            return None if paths == newest.document.path else _lying_at(newest, paths, containers)
        return _numbered(_lying_at(reading, paths, containers), newest.revision + 1)

    document = reading.document.id
    saved = archive.readings(reading.collection, document).page(reading.page_number).advance(known, successor)
    overtaken = _newest_deletion(archive, reading.collection, document, reading.deletions_seen)
    if overtaken is None or not isinstance(saved, Reading):
        return saved
    # The deletion listed the archive before this reading was in it: what it would have done is done here.
    return bury(archive, reading.collection, document, reading.page_number, saved, overtaken)


def containing(source: Source) -> tuple[str, ...]:
    """Return the path of the file that a source is a member of, if it is one."""
    container = container_path(source.url)
    return () if container is None else (container,)


def add_place(archive: Archive, reading: Reading, source: Source) -> Reading | Tombstone:
    """Archive that a document's bytes lie at one more place."""
    return _change_paths(archive, reading, lambda paths: _merged(paths, (source.path,)), containing(source))


def remove_path(archive: Archive, reading: Reading, path: str) -> Reading | Tombstone:
    """Archive that a document's bytes lie at a place no more."""
    return _change_paths(archive, reading, lambda paths: tuple(other for other in paths if other != path))


def bury(
    archive: Archive, collection: str, document: str, page: int, known: PageReading, deletion: Deletion
) -> Reading | Tombstone | None:
    """Archive that a page is deleted, unless a newer deletion or a newer request has come first."""

    def tombstone(newest: PageReading | None) -> Tombstone | None:
        if isinstance(newest, Tombstone) and newest.deletion >= deletion.revision:
            return None
        if isinstance(newest, Reading) and newest.deletions_seen >= deletion.revision:
            return None
        return Tombstone(
            collection=collection,
            document_id=document,
            page_number=page,
            revision=newest.revision + 1 if newest else 1,
            deletion=deletion.revision,
        )

    return archive.readings(collection, document).page(page).advance(known, tombstone)


def forget_source(archive: Archive, source: Source) -> Source:
    """Archive that nothing is known of a place any more; return the source as it is then."""

    def successor(newest: Source | None) -> Source | None:
        assert newest is not None
        if newest.document is None and newest.error is None:
            return None
        return newest.model_copy(update={"document": None, "error": None, "revision": newest.revision + 1})

    return archive.sources(source.collection)[source_id(source.url)].append(successor)


def give_way(archive: Archive, source: Source, deletions_seen: int) -> Source:
    """Forget a source that was archived behind the back of its collection's deletion, which its batch did not know."""
    overtaken = _newest_deletion(archive, source.collection, None, deletions_seen)
    return source if overtaken is None else forget_source(archive, source)


def is_overtaken(archive: Archive, collection: str, document: str, deletions_seen: int) -> bool:
    """Whether a document was deleted by a request that its batch did not know when it began."""
    return _newest_deletion(archive, collection, document, deletions_seen) is not None


def _change_paths(
    archive: Archive,
    reading: Reading,
    change: Callable[[tuple[str, ...]], tuple[str, ...]],
    containers: tuple[str, ...] = (),
) -> Reading | Tombstone:
    def successor(newest: PageReading | None) -> Reading | None:
        assert newest is not None
        if isinstance(newest, Tombstone):
            return None
        paths = change(newest.document.path)
        if paths == newest.document.path:
            return None
        changed = _lying_at(newest, paths, (*newest.document.container, *containers))
        return _numbered(changed, newest.revision + 1)

    changed = (
        archive.readings(reading.collection, reading.document.id).page(reading.page_number).advance(reading, successor)
    )
    assert changed is not None
    return changed


def _newest_deletion(archive: Archive, collection: str, document: str | None, after: int) -> Deletion | None:
    """Return the newest deletion after number `after` that a document falls under, or, with None, the collection."""
    if archive.deletions[collection].newest_revision() <= after:
        return None
    fitting = [
        deletion for deletion in archive.deletions[collection].after(after) if deletion.document_id in (None, document)
    ]
    return fitting[-1] if fitting else None


def _merged(paths: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*paths, *more}))


def _lying_at(reading: Reading, paths: tuple[str, ...], containers: tuple[str, ...]) -> Reading:
    """Return a reading of a document at these places; of the containers those count that one of them lies in."""
    held = {container for container in containers if any(is_path_below(path, container) for path in paths)}
    document = reading.document.model_copy(update={"path": paths, "container": tuple(sorted(held))})
    return _numbered(reading.model_copy(update={"document": document}), reading.revision + 1)


def _numbered(reading: Reading, revision: int) -> Reading:
    return reading.model_copy(update={"revision": revision, "archived_at": datetime.now(UTC)})

"""The rules that choose a page's next revision. Every writer of readings uses them.

A rule gets the newest reading and returns its successor, or None where the newest one stays. Concurrency is optimistic:
if another writer was faster, the archive calls the rule again with the newer reading. So no lock is needed, and no
change is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from pipeline.archive import Archive, source_id
from pipeline.core.models import Deletion, PageStatus, Reading, Source, Tombstone
from pipeline.sources import container_path, is_path_below

PageReading = Reading | Tombstone


def save_reading(archive: Archive, reading: Reading, known: PageReading | None) -> Reading | Tombstone | None:
    """Archive a finished reading under the next revision; return the newest reading afterwards.

    A deletion that the reading's batch did not know of wins over it. So does an equal reading that another writer
    archived first: then only the paths are added to that one. `reading.revision` is ignored.
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
            return None if paths == newest.document.path else _with_paths(newest, paths, containers)
        return _numbered(_with_paths(reading, paths, containers), newest.revision + 1)

    document = reading.document.id
    saved = archive.readings(reading.collection, document).page(reading.page_number).advance(known, successor)
    overtaken = _newest_deletion(archive, reading.collection, document, reading.deletions_seen)
    if overtaken is None or not isinstance(saved, Reading):
        return saved
    # The deletion listed the archive before this reading was in it, so its tombstone is written here.
    return bury(archive, reading.collection, document, reading.page_number, saved, overtaken)


def containing(source: Source) -> tuple[str, ...]:
    """Return the path of the file that a source is a member of, if it is one."""
    container = container_path(source.url)
    return () if container is None else (container,)


def add_path(archive: Archive, reading: Reading, source: Source) -> Reading | Tombstone:
    """Archive one more path of a page's document."""
    return _change_paths(archive, reading, lambda paths: _merged(paths, (source.path,)), containing(source))


def remove_path(archive: Archive, reading: Reading, path: str) -> Reading | Tombstone:
    """Archive that a page's document has lost a path."""
    return _change_paths(archive, reading, lambda paths: tuple(other for other in paths if other != path))


def bury(
    archive: Archive, collection: str, document: str, page: int, known: PageReading, deletion: Deletion
) -> Reading | Tombstone | None:
    """Archive that a page is deleted, unless a newer deletion or a newer request was archived first."""

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
    """Archive that a source has neither document nor error; return its newest revision."""

    def successor(newest: Source | None) -> Source | None:
        assert newest is not None
        if newest.document is None and newest.error is None:
            return None
        return newest.model_copy(update={"document": None, "error": None, "revision": newest.revision + 1})

    return archive.sources(source.collection)[source_id(source.url)].append(successor)


def give_way(archive: Archive, source: Source, deletions_seen: int) -> Source:
    """Forget a source if its collection was deleted after its batch began; return its newest revision."""
    overtaken = _newest_deletion(archive, source.collection, None, deletions_seen)
    return source if overtaken is None else forget_source(archive, source)


def is_overtaken(archive: Archive, collection: str, document: str, deletions_seen: int) -> bool:
    """Whether a document was deleted after its batch began."""
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
        changed = _with_paths(newest, paths, (*newest.document.container, *containers))
        return _numbered(changed, newest.revision + 1)

    changed = (
        archive.readings(reading.collection, reading.document.id).page(reading.page_number).advance(reading, successor)
    )
    assert changed is not None
    return changed


def _newest_deletion(archive: Archive, collection: str, document: str | None, after: int) -> Deletion | None:
    """Return the newest deletion after number `after` that covers a document; None stands for the collection."""
    if archive.deletions[collection].newest_revision() <= after:
        return None
    fitting = [
        deletion for deletion in archive.deletions[collection].after(after) if deletion.document_id in (None, document)
    ]
    return fitting[-1] if fitting else None


def _merged(paths: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*paths, *more}))


def _with_paths(reading: Reading, paths: tuple[str, ...], containers: tuple[str, ...]) -> Reading:
    """Return the next revision of a reading, with these paths and with the containers that contain one of them."""
    held = {container for container in containers if any(is_path_below(path, container) for path in paths)}
    document = reading.document.model_copy(update={"path": paths, "container": tuple(sorted(held))})
    return _numbered(reading.model_copy(update={"document": document}), reading.revision + 1)


def _numbered(reading: Reading, revision: int) -> Reading:
    return reading.model_copy(update={"revision": revision, "archived_at": datetime.now(UTC)})

"""Checks that the archive is complete: each newest revision can be read, and its images and answers exist.

Images and answers are checked by name; only readings and sources are read, one document at a time. While workers write,
unfinished pages are not reported, since images and answers are archived before the reading that names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from pydantic import ValidationError

from pipeline.archive import Archive, answer_name, reading_name
from pipeline.core.models import Reading, Tombstone


class Flaw(StrEnum):
    """Kind of damage."""

    UNREADABLE = "unreadable"
    """The newest revision is damaged."""
    IMAGE_MISSING = "image_missing"
    """A page image or thumbnail of a reading is missing. The page is found and cannot be shown."""
    ANSWER_MISSING = "answer_missing"
    """An answer of a reading is missing. The page is found and shown; the question would be asked again."""


@dataclass(frozen=True, slots=True)
class ArchiveFinding:
    """One damaged or missing object."""

    flaw: Flaw
    name: str
    """Name of the object within the archive."""
    collection: str
    document: str | None = None
    page: int | None = None


@dataclass(slots=True)
class ArchiveCounts:
    """Counts of what was checked."""

    collections: int = 0
    documents: int = 0
    pages: int = 0
    """Newest readings, tombstones included."""
    sources: int = 0
    findings: int = 0


def findings(
    archive: Archive, counts: ArchiveCounts, advance: Callable[[], None] = lambda: None
) -> Iterator[ArchiveFinding]:
    """Yield missing and damaged objects, and count in `counts` what was checked.

    It holds the names of one folder in memory. `advance` is called for each document and each source.

    Raises:
        ServiceRefused: the archive cannot be used.
    """
    for finding in _findings(archive, counts, advance):
        counts.findings += 1
        yield finding


def _findings(archive: Archive, counts: ArchiveCounts, advance: Callable[[], None]) -> Iterator[ArchiveFinding]:
    for collection in archive.collections.names():
        counts.collections += 1
        yield from _checked(archive.collections[collection].newest, f"collections/{collection}", collection)
        for document in archive.documents(collection):
            counts.documents += 1
            yield from _document(archive, collection, document, counts)
            advance()
        sources = archive.sources(collection)
        for identifier in sources.names():
            counts.sources += 1
            name = f"sources/{collection}/{identifier}"
            yield from _checked(sources[identifier].newest, name, collection)
            advance()


def _checked(read: Callable[[], object], name: str, collection: str) -> Iterator[ArchiveFinding]:
    try:
        read()
    except ValidationError:
        yield ArchiveFinding(Flaw.UNREADABLE, name, collection)


def _document(archive: Archive, collection: str, document: str, counts: ArchiveCounts) -> Iterator[ArchiveFinding]:
    images: set[str] = set()
    for reading in _readings(archive, collection, document):
        counts.pages += 1
        if isinstance(reading, ArchiveFinding):
            yield reading
        elif isinstance(reading, Reading) and any(_missing(archive, reading, images)):
            images = archive.images.keys(document)  # pages may have been added since the listing
            missing = list(_missing(archive, reading, images))
            # The page may have been purged since its reading was read; then the newest revision is a tombstone.
            newest = archive.readings(collection, document).page(reading.page_number)
            if missing and newest.newest_revision() == reading.revision:
                yield from missing


def _readings(archive: Archive, collection: str, document: str) -> Iterator[Reading | Tombstone | ArchiveFinding]:
    """Yield the newest reading of each page; from the first damaged reading on, read them one by one."""
    last = 0
    try:
        for reading in archive.readings(collection, document).newest():
            last = reading.page_number
            yield reading
    except ValidationError:
        for page, revision in sorted(archive.readings(collection, document).newest_revisions().items()):
            if page > last:
                yield _reading(archive, collection, document, page, revision)


def _reading(
    archive: Archive, collection: str, document: str, page: int, revision: int
) -> Reading | Tombstone | ArchiveFinding:
    try:
        return archive.readings(collection, document).page(page).revision(revision)
    except ValidationError:
        name = reading_name(collection, document, page, revision)
        return ArchiveFinding(Flaw.UNREADABLE, name, collection, document, page)


def _missing(archive: Archive, reading: Reading, images: set[str]) -> Iterator[ArchiveFinding]:
    page = reading.collection, reading.document.id, reading.page_number
    if reading.image is not None:
        for key in (reading.image.key, reading.image.thumbnail_key):
            if key not in images:
                yield ArchiveFinding(Flaw.IMAGE_MISSING, key, *page)
    for pixels in sorted({key.partition("-")[0] for key in reading.answers}):
        kept = archive.answers.keys(pixels)
        for key in reading.answers:
            if key.startswith(pixels) and key not in kept:
                yield ArchiveFinding(Flaw.ANSWER_MISSING, answer_name(key), *page)

"""Is the archive whole? Every newest revision can be read, and what a reading rests on is in its place.

Names tell of images and answers; only readings and sources are opened, one document at a time. Looked at while a fleet
works, it reports nothing that is merely on its way: images and answers are archived before the reading that names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from pydantic import ValidationError

from pipeline.archive import Archive, answer_name, reading_name
from pipeline.core.models import Reading, Tombstone


class Flaw(StrEnum):
    """What is wrong at a place of the archive."""

    UNREADABLE = "unreadable"
    """The newest revision is damaged."""
    IMAGE_MISSING = "image_missing"
    """A page image, or a thumbnail, that a reading names. The page is found and cannot be shown."""
    ANSWER_MISSING = "answer_missing"
    """An answer that a reading rests on. The page is found and shown; the question would be asked again."""


@dataclass(frozen=True, slots=True)
class ArchiveFinding:
    """One thing that is not as it should be."""

    flaw: Flaw
    name: str
    """Of what is missing or damaged, within the archive."""
    collection: str
    document: str | None = None
    page: int | None = None


@dataclass(slots=True)
class ArchiveCounts:
    """How much was looked at."""

    collections: int = 0
    documents: int = 0
    pages: int = 0
    """Newest readings, tombstones included."""
    sources: int = 0
    findings: int = 0


def findings(
    archive: Archive, looked: ArchiveCounts, advance: Callable[[], None] = lambda: None
) -> Iterator[ArchiveFinding]:
    """Yield what is missing or damaged, and count in `looked` what was looked at.

    Memory is that of the names in one folder. `advance` is called for each document and each source.

    Raises:
        ServiceRefused: the archive cannot be used.
    """
    for finding in _findings(archive, looked, advance):
        looked.findings += 1
        yield finding


def _findings(archive: Archive, looked: ArchiveCounts, advance: Callable[[], None]) -> Iterator[ArchiveFinding]:
    for collection in archive.collections.names():
        looked.collections += 1
        yield from _checked(archive.collections[collection].newest, f"collections/{collection}", collection)
        for document in archive.documents(collection):
            looked.documents += 1
            yield from _document(archive, collection, document, looked)
            advance()
        sources = archive.sources(collection)
        for identifier in sources.names():
            looked.sources += 1
            name = f"sources/{collection}/{identifier}"
            yield from _checked(sources[identifier].newest, name, collection)
            advance()


def _checked(read: Callable[[], object], name: str, collection: str) -> Iterator[ArchiveFinding]:
    try:
        read()
    except ValidationError:
        yield ArchiveFinding(Flaw.UNREADABLE, name, collection)


def _document(archive: Archive, collection: str, document: str, looked: ArchiveCounts) -> Iterator[ArchiveFinding]:
    images: set[str] = set()
    for reading in _readings(archive, collection, document):
        looked.pages += 1
        if isinstance(reading, ArchiveFinding):
            yield reading
        elif isinstance(reading, Reading) and any(_missing(archive, reading, images)):
            images = archive.images.keys(document)  # it may have grown since it was listed
            missing = list(_missing(archive, reading, images))
            # The page may have been purged since its reading was opened: then a tombstone came first.
            newest = archive.readings(collection, document).page(reading.page_number)
            if missing and newest.newest_revision() == reading.revision:
                yield from missing


def _readings(archive: Archive, collection: str, document: str) -> Iterator[Reading | Tombstone | ArchiveFinding]:
    """Yield the newest reading of each page; from the first damaged one on they are read one by one."""
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
    place = reading.collection, reading.document.id, reading.page_number
    if reading.image is not None:
        for key in (reading.image.key, reading.image.thumbnail_key):
            if key not in images:
                yield ArchiveFinding(Flaw.IMAGE_MISSING, key, *place)
    for pixels in sorted({key.partition("-")[0] for key in reading.answers}):
        kept = archive.answers.keys(pixels)
        for key in reading.answers:
            if key.startswith(pixels) and key not in kept:
                yield ArchiveFinding(Flaw.ANSWER_MISSING, answer_name(key), *place)

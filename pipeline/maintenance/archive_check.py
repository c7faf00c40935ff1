"""Checks that the archive is complete: each JSON file can be read, and the images and answers of each page exist.

On request it mends what it finds. Images are checked by name, and on request read; all other files are read. While
workers write, unfinished pages are not reported, since images and answers are archived before the reading that names
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from pipeline.archive import Archive, answer_name, is_whole_image
from pipeline.core.models import Reading


class Flaw(StrEnum):
    """Kind of damage."""

    UNREADABLE = "unreadable"
    """A JSON file is damaged: its readers leave it out, or read the revision before."""
    IMAGE_MISSING = "image_missing"
    """A page image or thumbnail of a reading is missing. The page is found and cannot be shown."""
    IMAGE_DAMAGED = "image_damaged"
    """A page image or thumbnail of a reading is empty, cut or garbage."""
    ANSWER_MISSING = "answer_missing"
    """An answer of a reading is missing. The page is found and shown; the question would be asked again."""


@dataclass(frozen=True, slots=True)
class ArchiveFinding:
    """One damaged or missing object."""

    flaw: Flaw
    name: str
    """Name of the object within the archive."""
    collection: str | None
    """None for a file of no collection: an answer, a batch, a run."""
    document: str | None = None
    page: int | None = None
    mended: bool = False
    """Whether `mend` has mended it, or has made its page due."""


@dataclass(slots=True)
class ArchiveCounts:
    """Counts of what was checked."""

    collections: int = 0
    documents: int = 0
    pages: int = 0
    """Newest readings, tombstones included."""
    sources: int = 0
    findings: int = 0
    mended: int = 0
    """Findings that were mended."""


def findings(
    archive: Archive,
    counts: ArchiveCounts,
    advance: Callable[[], None] = lambda: None,
    *,
    mends: bool = False,
    reads_images: bool = False,
) -> Iterator[ArchiveFinding]:
    """Yield missing and damaged objects, and count in `counts` what was checked.

    It holds the names of one folder in memory. `advance` is called for each document and each source. With `mends`,
    damaged files are mended, and pages with a missing or damaged image, or a missing answer, are made due:
    `pagesight repair` reads them. With `reads_images`, each page image and thumbnail is read.

    Raises:
        ServiceRefused: the archive cannot be used.
    """
    for finding in _findings(archive, counts, advance, reads_images):
        counts.findings += 1
        if mends and _mend(archive, finding):
            counts.mended += 1
            finding = replace(finding, mended=True)
        yield finding


def _mend(archive: Archive, finding: ArchiveFinding) -> bool:
    if finding.flaw is Flaw.UNREADABLE:
        return archive.mend(finding.name)
    assert finding.collection is not None
    assert finding.document is not None
    assert finding.page is not None
    archive.make_due(finding.collection, finding.document, finding.page)
    return True


def _findings(
    archive: Archive, counts: ArchiveCounts, advance: Callable[[], None], reads_images: bool
) -> Iterator[ArchiveFinding]:
    for name in archive.damaged_files():
        yield _unreadable(name)
    for collection in archive.collections.names():
        counts.collections += 1
        for document in archive.documents(collection):
            counts.documents += 1
            yield from _document(archive, collection, document, counts, reads_images)
            advance()
        for _ in archive.sources(collection).names():
            counts.sources += 1
            advance()


def _unreadable(name: str) -> ArchiveFinding:
    """Return the finding for a damaged file; its name tells collection, document and page."""
    folder, *parts = name.split("/")
    collection = parts[0] if folder in ("collections", "deletions", "sources", "readings") else None
    if folder != "readings":
        return ArchiveFinding(Flaw.UNREADABLE, name, collection)
    page = parts[2].partition(".")[0]
    return ArchiveFinding(Flaw.UNREADABLE, name, collection, parts[1], int(page) if page.isdecimal() else None)


def _document(
    archive: Archive, collection: str, document: str, counts: ArchiveCounts, reads_images: bool
) -> Iterator[ArchiveFinding]:
    images: set[str] = set()
    for reading in archive.readings(collection, document).newest():
        counts.pages += 1
        if not isinstance(reading, Reading):
            continue
        found = list(_missing(archive, reading, images))
        if found:
            images = archive.images.keys(document)  # pages may have been added since the listing
            found = list(_missing(archive, reading, images))
        found += _damaged_images(archive, reading) if reads_images else ()
        # The page may have been purged since its reading was read; then the newest revision is a tombstone.
        newest = archive.readings(collection, document).page(reading.page_number)
        if found and newest.newest_revision() == reading.revision:
            yield from found


def _missing(archive: Archive, reading: Reading, images: set[str]) -> Iterator[ArchiveFinding]:
    page = reading.collection, reading.document.id, reading.page_number
    for key in _image_keys(reading):
        if key not in images:
            yield ArchiveFinding(Flaw.IMAGE_MISSING, key, *page)
    for pixels in sorted({key.partition("-")[0] for key in reading.answers}):
        kept = archive.answers.keys(pixels)
        for key in reading.answers:
            if key.startswith(pixels) and key not in kept:
                yield ArchiveFinding(Flaw.ANSWER_MISSING, answer_name(key), *page)


def _damaged_images(archive: Archive, reading: Reading) -> Iterator[ArchiveFinding]:
    """Yield the images of a reading that are there and not whole."""
    for key in _image_keys(reading):
        image = archive.images.get(key)
        if image is not None and not is_whole_image(image):
            yield ArchiveFinding(Flaw.IMAGE_DAMAGED, key, reading.collection, reading.document.id, reading.page_number)


def _image_keys(reading: Reading) -> tuple[str, ...]:
    return (reading.image.key, reading.image.thumbnail_key) if reading.image is not None else ()

"""What the archive knows of a folder against what lies there: new, changed, moved, vanished.

    archive: sources below the folder ┐
                                      ├─ compare ──▶ Comparison ──▶ take_away (moved, vanished); the others are enqueued
    walk: files below the folder      ┘

By path first, then by size, time and inode (or ETag); bytes are read only to tell a moved file from a new one, and only
where the size is that of a document that vanished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.archive import Archive
from pipeline.core.errors import OutcomeError, SettingsError
from pipeline.core.models import BatchEntry, Failure, FileState, Reading, Source
from pipeline.pages.deletion import carry_out, request_deletion
from pipeline.pages.paths import remove_path
from pipeline.pages.revisions import forget_source
from pipeline.projection.projector import Projector
from pipeline.sources import FoundFile, SourceFiles, containers_of, display_path, identify, is_below

#: As many vanished sources are never too many to delete; nor is this share of those known below the folder.
FEW = 10
SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Move:
    """A file that lies at another place now."""

    source: Source
    """The place where it lay."""
    url: str
    """The place where it lies."""


@dataclass(slots=True)
class FolderComparison:
    """How a folder differs from what is known of it."""

    known: int = 0
    """Sources that the archive knows below the folder."""
    unchanged: int = 0
    new: list[FoundFile] = field(default_factory=list)
    changed: list[FoundFile] = field(default_factory=list)
    moved: list[Move] = field(default_factory=list)
    vanished: list[Source] = field(default_factory=list)

    @property
    def entries(self) -> Iterator[BatchEntry]:
        """What is to be enqueued."""
        for found in (*self.new, *self.changed):
            yield BatchEntry(url=found.url, error=Failure.of(found.error) if found.error else None)
        for move in self.moved:
            if not containers_of(move.url):  # what lies in a container is found with it
                yield BatchEntry(url=move.url)


@dataclass(frozen=True, slots=True)
class TakenAway:
    """What went."""

    sources: int
    documents: int
    """Of those, documents that lay nowhere else and were deleted."""
    pages: int


def compare(
    archive: Archive,
    files: SourceFiles,
    collection: str,
    folder: str,
    found: Iterable[FoundFile],
    advance: Callable[[int], None] = lambda _files: None,
) -> FolderComparison:
    """Compare what lies below a folder, `found` there, with what the archive knows of it; nothing is changed.

    `folder` is its URL. `advance` hears how many files were looked at.

    Raises:
        ServiceRefused: the archive or a bucket refuses.
        Stopped: the patience has ended while a bucket was away.
    """
    known = {source.url: source for source in _known(archive, collection) if is_below(source.url, folder)}
    comparison = FolderComparison(known=len(known))
    at_rest: set[str] = set()
    for one in found:
        before = known.pop(one.url, None)
        if before is None:
            comparison.new.append(one)
        elif _is_unchanged(before, one, files):
            comparison.unchanged += 1
            if before.document and before.document.members:
                at_rest.add(one.url)
        else:
            comparison.changed.append(one)
        advance(1)
    # In order, so that those of one container are asked for together.
    comparison.vanished = [known[url] for url in sorted(known) if _outermost(url) not in at_rest and files.is_gone(url)]
    comparison.unchanged += len(known) - len(comparison.vanished)  # there, but out of the walk's sight
    _find_moves(comparison, files)
    return comparison


def require_folder(comparison: FolderComparison, folder: str) -> None:
    """Refuse a folder in which nothing lies although something did.

    Raises:
        SettingsError: more likely it is not mounted than that somebody has removed everything.
    """
    if comparison.known and len(comparison.vanished) == comparison.known and not comparison.new:
        raise SettingsError(
            f"{display_path(folder)} is empty, and {comparison.known} files are known there",
            remedy="Look whether it is mounted. If all of it was removed on purpose, say --force.",
        )


def require_few(comparison: FolderComparison) -> None:
    """Refuse to delete more than a person is likely to mean.

    Raises:
        SettingsError: too many have vanished.
    """
    vanished = len(comparison.vanished)
    if vanished > max(FEW, SHARE * comparison.known):
        raise SettingsError(
            f"{vanished} of {comparison.known} known files have vanished; at most {SHARE:.0%} are deleted unasked",
            remedy="Look at them with --dry-run, then say --force if they are to go.",
        )


def take_away(comparison: FolderComparison, projector: Projector, *, delete: bool) -> TakenAway:
    """Take the old places of moved files away, and with `delete` those that vanished.

    A document that then lies nowhere in the collection is deleted. One whose file has moved stays: it lies at its new
    place as soon as that is enqueued. Killed in between, the same comparison finds what is left.

    Raises:
        ServiceRefused: Elasticsearch or the archive refuses.
        Stopped: the patience has ended while one of them was away.
    """
    vanished = comparison.vanished if delete else []
    going = [*(move.source for move in comparison.moved), *vanished]
    if not going:
        return TakenAway(0, 0, 0)
    moved = {move.source.document.id for move in comparison.moved if move.source.document}
    places = _places(projector.archive, going[0].collection) if vanished else Counter[str]()
    pages = documents = 0
    for source in going:
        document = source.document
        projector.sources([forget_source(projector.archive, source)])
        if document is None:
            continue
        remove_path(projector, source.collection, document.id, source.path)
        places[document.id] -= 1
        if document.id not in moved and _lies_nowhere(projector.archive, source.collection, document.id, places):
            deletion = request_deletion(projector.archive, source.collection, document.id, purge=False)
            pages += carry_out(deletion, projector)
            documents += 1
    return TakenAway(len(going), documents, pages)


def _known(archive: Archive, collection: str) -> Iterator[Source]:
    """Yield the sources of a collection of which something is known."""
    for identifier in archive.sources(collection).names():
        source = archive.sources(collection)[identifier].newest()
        if source is not None and (source.document or source.error):
            yield source


def _places(archive: Archive, collection: str) -> Counter[str]:
    """Return how many places each document of a collection lies at."""
    return Counter(source.document.id for source in _known(archive, collection) if source.document)


def _lies_nowhere(archive: Archive, collection: str, document: str, places: Counter[str]) -> bool:
    if places[document] > 0:
        return False
    readings = (reading for reading in archive.readings(collection, document).newest() if isinstance(reading, Reading))
    return not any(reading.document.path for reading in readings)


def _is_unchanged(before: Source, found: FoundFile, files: SourceFiles) -> bool:
    """Whether a place is as it was: the same reason why nothing can be had, or the same size, time and inode."""
    try:
        if found.error:
            raise found.error
        return before.state == files.state(found.url)
    except OutcomeError as error:
        return before.error is not None and before.error.type == error.code


def _find_moves(comparison: FolderComparison, files: SourceFiles) -> None:
    """Tell moved files from new ones: of the size of a document that vanished, and of its bytes."""
    gone: dict[str, list[Source]] = {}
    for source in comparison.vanished:
        if source.document:
            gone.setdefault(source.document.id, []).append(source)
    sizes = {source.document.bytes for sources in gone.values() for source in sources if source.document}
    new = []
    for found in comparison.new:
        sources = gone.get(_document_id(found, sizes, files) or "")
        if sources:
            comparison.moved.append(Move(sources.pop(), found.url))
        else:
            new.append(found)
    comparison.new = new
    comparison.moved += _along(comparison)
    moved = {move.source.url for move in comparison.moved}
    comparison.vanished = [source for source in comparison.vanished if source.url not in moved]


def _along(comparison: FolderComparison) -> list[Move]:
    """Return the moves of what lies in containers that moved."""
    places = {move.source.url: move.url for move in comparison.moved}
    return [
        Move(source, places[container] + source.url.removeprefix(container))
        for source in comparison.vanished
        if (container := _outermost(source.url)) != source.url and container in places
    ]


def _outermost(url: str) -> str:
    """Return the URL of the file that something lies in, or is."""
    return next(reversed(containers_of(url)), url)


def _document_id(found: FoundFile, sizes: set[int], files: SourceFiles) -> str | None:
    """Return which document lies at a place, if it is of one of these sizes."""
    if found.error or not sizes:
        return None
    try:
        state: FileState = files.state(found.url)
        if state.bytes not in sizes:
            return None
        with files.open(found.url, state) as file:
            return identify(file, state, files.max_bytes).document_id
    except OutcomeError:
        return None

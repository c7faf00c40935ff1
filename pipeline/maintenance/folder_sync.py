"""Compares a folder with the archive: new, changed, moved and vanished files.

    archive: sources below the folder ┐
                                      ├─ compare ──▶ FolderComparison ──▶ take_away (moved, vanished)
    walk: files below the folder      ┘                               └─▶ enqueue (new, changed, moved)

Files are compared by path, then by size, time and inode (or ETag). Bytes are read only to distinguish a moved file from
a new one, and only if its size is that of a vanished document.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field

from pipeline.archive import Archive
from pipeline.core.errors import ListDamaged, OutcomeError, SettingsError
from pipeline.core.models import BatchEntry, Failure, FilePatterns, FileState, Reading, Root, Source
from pipeline.pages.deletion import carry_out, request_deletion
from pipeline.pages.paths import remove_path
from pipeline.pages.revisions import forget_source
from pipeline.pages.vanished import has_vanished
from pipeline.projection.projector import Projector
from pipeline.sources import FoundFile, PathFilter, SourceFiles, containers_of, display_path, identify, is_below

#: Vanished sources that are deleted without --force: up to this number, or this share of the known sources.
FEW = 10
SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Move:
    """A file with a new path."""

    source: Source
    """Its former source."""
    url: str
    """Its current URL."""
    root: Root | None
    """The folder beneath which it is opened."""


@dataclass(slots=True)
class FolderComparison:
    """The differences between a folder and the archive."""

    known: int = 0
    """Number of archived sources below the folder."""
    unchanged: int = 0
    new: list[FoundFile] = field(default_factory=list)
    changed: list[FoundFile] = field(default_factory=list)
    moved: list[Move] = field(default_factory=list)
    vanished: list[Source] = field(default_factory=list)

    @property
    def entries(self) -> Iterator[BatchEntry]:
        """Files to enqueue."""
        for found in (*self.new, *self.changed):
            yield BatchEntry(url=found.url, error=Failure.of(found.error) if found.error else None, root=found.root)
        for move in self.moved:
            if not containers_of(move.url):  # members are registered with their container
                yield BatchEntry(url=move.url, root=move.root)


@dataclass(frozen=True, slots=True)
class TakenAway:
    """Numbers of removed sources, documents and pages."""

    sources: int
    documents: int
    """Documents that were deleted because they had no other path."""
    pages: int


def compare(
    archive: Archive,
    files: SourceFiles,
    collection: str,
    folder: str,
    found: Iterable[FoundFile],
    advance: Callable[[int], None] = lambda _files: None,
    *,
    unattended: bool = False,
    patterns: FilePatterns | None = None,
) -> FolderComparison:
    """Compare the files that were `found` below a folder with the archive. Nothing is changed.

    `folder` is the folder's URL. `advance` is called with the number of files compared since the last call.
    `unattended`: no person names the folder now, so it must lead to the same folder as when its files were indexed.
    `patterns` are those with which the files were found: known files that they leave out are not compared.

    Raises:
        SettingsError: it leads to another one.
        ServiceRefused: the archive or a bucket refuses.
        Stopped: the run was cancelled while a bucket was unavailable.
    """
    chosen = PathFilter(patterns)
    below = (source for source in _known(archive, collection) if is_below(source.url, folder))
    known = {source.url: source for source in below if chosen.keeps(source.url)}
    comparison = FolderComparison(known=len(known))
    at_rest: set[str] = set()
    recorded = _recorded(known.values(), folder)
    for one in found:
        if unattended and recorded and one.root is not None:
            _require_recorded(one.root, recorded)
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
    # Sorted, so that all members of a container follow each other and it is opened once.
    missing = (known[url] for url in sorted(known) if _outermost(url) not in at_rest)
    comparison.vanished = [one for one in missing if has_vanished(one, archive, files)]
    comparison.unchanged += len(known) - len(comparison.vanished)  # they exist, but were not listed
    _find_moves(comparison, files)
    return comparison


def _recorded(sources: Iterable[Source], folder: str) -> set[str]:
    """Return the URLs to which a folder led when the roots around it were recorded."""
    roots = {source.root for source in sources if source.root and is_below(folder, source.root.url)}
    return {(root.target or root.url) + folder.removeprefix(root.url) for root in roots}


def _require_recorded(root: Root, recorded: Set[str]) -> None:
    """Refuse a folder that leads elsewhere than before: a link may have replaced it.

    Raises:
        SettingsError: it does.
    """
    if (root.target or root.url) not in recorded:
        raise SettingsError(
            f"{display_path(root.url)} now leads to {display_path(root.target or root.url)}, unlike before",
            remedy="If that is meant, index the folder again; else remove the link.",
        )


def require_folder(comparison: FolderComparison, folder: str) -> None:
    """Refuse an empty folder in which files are known.

    Raises:
        SettingsError: all known files vanished and there is no new one. Probably the folder is not mounted.
    """
    if comparison.known and len(comparison.vanished) == comparison.known and not comparison.new:
        raise SettingsError(
            f"{display_path(folder)} is empty, and {comparison.known} files are known there",
            remedy="Check whether it is mounted. If all files were removed on purpose, use --force.",
        )


def require_few(comparison: FolderComparison) -> None:
    """Refuse to delete an unusual number of files.

    Raises:
        SettingsError: too many have vanished.
    """
    vanished = len(comparison.vanished)
    if vanished > max(FEW, SHARE * comparison.known):
        raise SettingsError(
            f"{vanished} of {comparison.known} known files vanished; at most {SHARE:.0%} are deleted without asking",
            remedy="List them with --dry-run, then use --force to delete them.",
        )


def take_away(comparison: FolderComparison, projector: Projector, *, delete: bool) -> TakenAway:
    """Remove the former paths of moved files and, with `delete`, vanished files.

    A document without a remaining path in the collection is deleted. The document of a moved file is kept, because it
    gets its new path when the file is enqueued. If the process is killed, the next comparison finds the rest.

    Raises:
        ServiceRefused: Elasticsearch or the archive refuses.
        Stopped: the run was cancelled while one of them was unavailable.
    """
    vanished = comparison.vanished if delete else []
    going = [*(move.source for move in comparison.moved), *vanished]
    if not going:
        return TakenAway(0, 0, 0)
    moved = {move.source.document.id for move in comparison.moved if move.source.document}
    paths = _count_paths(projector.archive, going[0].collection) if vanished else Counter[str]()
    pages = documents = 0
    for source in going:
        document = source.document
        projector.sources([forget_source(projector.archive, source)])
        if document is None:
            continue
        remove_path(projector, source.collection, document.id, source.path)
        paths[document.id] -= 1
        if document.id not in moved and _has_no_path(projector.archive, source.collection, document.id, paths):
            deletion = request_deletion(projector.archive, source.collection, document.id, purge=False)
            pages += carry_out(deletion, projector)
            documents += 1
    return TakenAway(len(going), documents, pages)


def _known(archive: Archive, collection: str) -> Iterator[Source]:
    """Yield the sources of a collection with a document or an error. A folder with a damaged list is not a file."""
    for identifier in archive.sources(collection).names():
        source = archive.sources(collection)[identifier].newest()
        if source is not None and (source.document or (source.error and source.error.type != ListDamaged.code)):
            yield source


def _count_paths(archive: Archive, collection: str) -> Counter[str]:
    """Return the number of sources of each document of a collection."""
    return Counter(source.document.id for source in _known(archive, collection) if source.document)


def _has_no_path(archive: Archive, collection: str, document: str, paths: Counter[str]) -> bool:
    if paths[document] > 0:
        return False
    readings = (reading for reading in archive.readings(collection, document).newest() if isinstance(reading, Reading))
    return not any(reading.document.path for reading in readings)


def _is_unchanged(before: Source, found: FoundFile, files: SourceFiles) -> bool:
    """Whether a file is unchanged: it has the same error, or the same size, time and inode (or ETag)."""
    try:
        if found.error:
            raise found.error
        return before.state == files.state(found.url, found.root)
    except OutcomeError as error:
        return before.error is not None and before.error.type == error.code


def _find_moves(comparison: FolderComparison, files: SourceFiles) -> None:
    """Separate moved files from new ones, by the size and then the bytes of vanished documents."""
    gone: dict[str, list[Source]] = {}
    for source in comparison.vanished:
        if source.document:
            gone.setdefault(source.document.id, []).append(source)
    sizes = {source.document.bytes for sources in gone.values() for source in sources if source.document}
    new = []
    for found in comparison.new:
        sources = gone.get(_document_id(found, sizes, files) or "")
        if sources:
            comparison.moved.append(Move(sources.pop(), found.url, found.root))
        else:
            new.append(found)
    comparison.new = new
    comparison.moved += _moves_of_members(comparison)
    moved = {move.source.url for move in comparison.moved}
    comparison.vanished = [source for source in comparison.vanished if source.url not in moved]


def _moves_of_members(comparison: FolderComparison) -> list[Move]:
    """Return the moves of members of moved containers."""
    moves = {move.source.url: move for move in comparison.moved}
    return [
        Move(source, moves[container].url + source.url.removeprefix(container), moves[container].root)
        for source in comparison.vanished
        if (container := _outermost(source.url)) != source.url and container in moves
    ]


def _outermost(url: str) -> str:
    """Return the URL of the outermost container, or the file's own URL."""
    return next(reversed(containers_of(url)), url)


def _document_id(found: FoundFile, sizes: set[int], files: SourceFiles) -> str | None:
    """Return the id of a file's document, if the file has one of the sizes."""
    if found.error or not sizes:
        return None
    try:
        state: FileState = files.state(found.url, found.root)
        if state.bytes not in sizes:
            return None
        with files.open(found.url, state, found.root) as file:
            return identify(file, state, files.max_bytes).document_id
    except OutcomeError:
        return None

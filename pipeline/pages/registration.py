"""Registration: what a file is. It is identified by its bytes and hashed, and its pages are counted.

A file whose state is the archived one is not opened.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import BinaryIO

from pipeline.archive import Archive, source_id
from pipeline.core.errors import CorruptFile, EncryptedFile, OutcomeError, UnknownFormat
from pipeline.core.formats import MediaType, Route
from pipeline.core.models import Batch, Document, Failure, FileState, Root, Source
from pipeline.documents.opening import Opener, OpenPages
from pipeline.pages.recipe import LIMITED, Recipe, Request
from pipeline.pages.revisions import give_way
from pipeline.pages.roots import root_of
from pipeline.sources import FoundFile, PathFilter, SourceFiles, display_path, identify, is_below, mount_of


@contextmanager
def identified_source(
    found: FoundFile, state: FileState, opener: Opener, files: SourceFiles, max_bytes: int
) -> Iterator[tuple[BinaryIO, str, MediaType]]:
    """Open a file beneath its root; yield it with its document id and its format.

    Raises:
        LimitExceeded: the file is too large, or is nested in too many containers.
        OutcomeError: as `SourceFiles.open`, `identify` and `Opener.refine` raise them.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(files.open(found.url, state, found.root))
            identified = identify(file, state, max_bytes)
        except UnknownFormat as error:
            raise _by_its_name(found.url, error) from error
        media_type = opener.refine(file, identified.media_type, files.cancel)
        if media_type.route is Route.CONTAINER:
            files.containers.require_depth(found.url)
        yield file, identified.document_id, media_type


def _by_its_name(url: str, error: UnknownFormat) -> OutcomeError:
    """Return `CorruptFile` for a file whose name claims a supported format that its bytes do not have."""
    claimed = mimetypes.guess_type(url.rpartition("#")[2])[0]
    return CorruptFile(f"its name says {claimed}, its bytes do not: {error}") if claimed in set(MediaType) else error


def document_of(document_id: str, media_type: MediaType, state: FileState, opened: OpenPages) -> Document:
    """Return the document of an open file."""
    return Document(
        id=document_id,
        bytes=state.bytes,
        media_type=media_type,
        pages=opened.pages,
        title=opened.title,
        members=opened.members,
        substituted_fonts=opened.substituted_fonts,
        pages_left_out=opened.pages_left_out,
    )


def register(
    found: FoundFile,
    request: Request,
    archive: Archive,
    opener: Opener,
    files: SourceFiles,
    max_bytes: int,
    admit_conversion: Callable[[str], None],
) -> tuple[Source, Source | None]:
    """Archive the source of a found file. An unchanged file is not opened.

    Return the source, and the source before if it had another document. If the collection was deleted meanwhile, the
    source has neither document nor error. `admit_conversion` is called with the URL of a file before it is converted,
    and may raise an `OutcomeError`.
    """
    before = archive.sources(request.collection)[source_id(found.url)].newest()
    found = replace(found, root=found.root or root_of(found.url, before, request.batch, archive))
    now = _observe(found, before, request, opener, files, max_bytes, admit_conversion)

    def successor(newest: Source | None) -> Source | None:
        if newest is not None and _says_the_same(newest, now):
            return None
        return now.model_copy(update={"revision": newest.revision + 1 if newest else 1})

    appended = archive.sources(request.collection)[source_id(found.url)].append(successor)
    source = give_way(archive, appended, request.deletions_seen)
    moved = before is not None and before.document is not None and not _is_of(source, before.document)
    return source, before if moved else None


def _is_of(source: Source, document: Document) -> bool:
    return source.document is not None and source.document.id == document.id


def source_failed(archive: Archive, source: Source, failure: Failure) -> Source:
    """Archive that the file of a source could not be processed; return the newest revision of the source.

    If the file was registered again meanwhile, that revision stays.
    """

    def successor(newest: Source | None) -> Source | None:
        if newest is None or newest.revision != source.revision:
            return None
        update = {"document": None, "error": failure, "revision": newest.revision + 1, "observed_at": datetime.now(UTC)}
        return newest.model_copy(update=update)

    return archive.sources(source.collection)[source_id(source.url)].append(successor)


def quarantine_source(archive: Archive, url: str, request: Request, failure: Failure, files: SourceFiles) -> Source:
    """Archive that opening a source kills its process. It is not opened again until its file changes."""
    root = root_of(url, archive.sources(request.collection)[source_id(url)].newest(), request.batch, archive)
    state = _state(url, root, files)

    def successor(newest: Source | None) -> Source:
        return Source(
            collection=request.collection,
            url=url,
            path=display_path(url),
            root=root,
            state=state,
            error=failure,
            mount=mount_of(url, root),
            batch=request.batch,
            revision=newest.revision + 1 if newest else 1,
            observed_at=datetime.now(UTC),
        )

    return archive.sources(request.collection)[source_id(url)].append(successor)


def fail_folder(archive: Archive, url: str, batch: Batch, error: OutcomeError) -> Source:
    """Archive a failure of files in a folder, at the folder's URL. The next walk that lists the folder forgets it."""
    before = archive.sources(batch.collection)[source_id(url)].newest()
    root = root_of(url, before, batch.id, archive)
    attempts = before.error.attempts + 1 if before and before.error and before.error.type == error.code else 1

    def successor(newest: Source | None) -> Source | None:
        if newest is not None and newest.error is not None and newest.batch == batch.id:
            return None
        return Source(
            collection=batch.collection,
            url=url,
            path=display_path(url),
            root=root,
            state=None,
            error=Failure.of(error, attempts),
            mount=mount_of(url, root),
            batch=batch.id,
            revision=newest.revision + 1 if newest else 1,
            observed_at=datetime.now(UTC),
        )

    return archive.sources(batch.collection)[source_id(url)].append(successor)


def members_of(
    source: Source, files: SourceFiles, chosen: PathFilter, pass_over: Callable[[int], None]
) -> tuple[FoundFile, ...]:
    """Return the chosen files within a source's document; none if it contains no files.

    `pass_over` is called with the number of files that are litter or not chosen.

    Raises:
        ServiceRefused, Stopped: as `SourceFiles` raises them.
    """
    if source.document is None or not source.document.members:
        return ()
    assert source.state is not None
    return chosen.members(files.members(source.url, source.state, source.root, pass_over), pass_over)


def _observe(
    found: FoundFile,
    before: Source | None,
    request: Request,
    opener: Opener,
    files: SourceFiles,
    max_bytes: int,
    admit_conversion: Callable[[str], None],
) -> Source:
    """Return the source of a found file. Each failure is a source with an error."""
    state: FileState | None = None
    document: Document | None = None
    failure: Failure | None = None
    try:
        if found.error:
            raise found.error
        state = files.state(found.url, found.root)
        if before is not None and still_holds(before, state, request):
            document, failure = before.document, before.error
        else:
            document = _open(found, state, opener, files, max_bytes, admit_conversion)
    except OutcomeError as error:
        attempts = before.error.attempts + 1 if before and before.error and before.error.type == error.code else 1
        failure = Failure.of(error, attempts)
    return Source(
        collection=request.collection,
        url=found.url,
        path=display_path(found.url),
        root=found.root,
        state=state,
        document=document,
        error=failure,
        limits=request.recipe.limits if _is_limited(failure, document) else None,
        passwords=_passwords_mark(failure, found.url, request.recipe) if failure else None,
        mount=mount_of(found.url, found.root),
        batch=request.batch,
        revision=1,
        observed_at=datetime.now(UTC),
    )


def _state(url: str, root: Root | None, files: SourceFiles) -> FileState | None:
    try:
        return files.state(url, root)
    except OutcomeError:
        return None


def _open(
    found: FoundFile,
    state: FileState,
    opener: Opener,
    files: SourceFiles,
    max_bytes: int,
    admit_conversion: Callable[[str], None],
) -> Document:
    with ExitStack() as stack:
        identified = identified_source(found, state, opener, files, max_bytes)
        file, document_id, media_type = stack.enter_context(identified)
        if media_type.route is Route.CONVERTED:
            admit_conversion(found.url)
        opened = stack.enter_context(opener.open(file, document_id, display_path(found.url), media_type, files.cancel))
        return document_of(document_id, media_type, state, opened)


def still_holds(before: Source, state: FileState, request: Request) -> bool:
    """Whether opening the file again would give the archived result."""
    if before.state != state:
        return False
    if before.error is None:
        return before.document is not None and before.limits in (None, request.recipe.limits)
    if request.again and before.batch != request.batch:
        return False
    if before.passwords != _passwords_mark(before.error, before.url, request.recipe):
        return False
    return not before.error.transient and before.limits in (None, request.recipe.limits)


def _is_limited(failure: Failure | None, document: Document | None) -> bool:
    """Whether another attempt with other limits can have another result."""
    if failure is not None:
        return failure.type in LIMITED
    return document is not None and document.pages_left_out > 0


def _passwords_mark(failure: Failure, url: str, recipe: Recipe) -> str | None:
    """Return the mark of the passwords that did not open a source; None for any other failure."""
    return recipe.passwords.mark(source_id(url)) if failure.type == EncryptedFile.code else None


def _says_the_same(newest: Source, now: Source) -> bool:
    """Whether a new revision would add nothing. A narrower root stays, unless it leads elsewhere now."""
    unimportant: dict[str, object] = {"revision": 0, "batch": "", "observed_at": newest.observed_at}
    if newest.root and now.root and _is_within(newest.root, now.root):
        unimportant["root"] = None
    return newest.model_copy(update=unimportant) == now.model_copy(update=unimportant)


def _is_within(inner: Root, outer: Root) -> bool:
    """Whether a root is the same or a narrower one, by its path and by the folder to which it leads."""
    return is_below(inner.url, outer.url) and is_below(inner.target or inner.url, outer.target or outer.url)

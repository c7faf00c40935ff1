"""From a place to the pages that are to be worked: identify, hash, count pages, and leave out what is known already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.archive import Archive, source_id
from pipeline.errors import OutcomeError
from pipeline.models import Document, Failure, FileState, PageStatus, Reading, Source, Tombstone
from pipeline.opening import Opener
from pipeline.retry import TRANSIENT_ATTEMPTS
from pipeline.revisions import give_way, is_overtaken
from pipeline.sources import Found, SourceFiles, display_path, identify


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides how a page is read. Equal recipe and equal bytes: equal reading."""

    language: str
    reader: str
    reader_revision: str
    profile: str
    prompt_revision: str
    render_revision: int
    limits: str
    """The limits in force; they count only for what one of them stopped."""

    def fingerprint(self, document_id: str, page_number: int, failure: Failure | None = None) -> str:
        """Return the fingerprint of a page that ended so."""
        parts = {
            "document": document_id,
            "page": page_number,
            "language": self.language,
            "reader": self.reader,
            "reader_revision": self.reader_revision,
            "profile": self.profile,
            "prompt_revision": self.prompt_revision,
            "render_revision": self.render_revision,
            "limits": self.limits if failure and failure.type in _LIMITED else None,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Request:
    """What one batch asks for."""

    collection: str
    batch: str
    deletions_seen: int
    recipe: Recipe
    again: bool = False
    """Whether failures of earlier batches are tried again whatever their reason."""


_LIMITED = {error.code for error in OutcomeError.__subclasses__() if error.by_limit}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of a document's pages, and which are to be worked."""

    settled: tuple[Reading, ...]
    due: tuple[int, ...]
    deleted: tuple[int, ...]
    """Pages that were deleted by a request which the batch did not know."""
    known: dict[int, int]
    """Newest revision of each due page that has one."""


def failure_of(error: OutcomeError, attempts: int = 1) -> Failure:
    """Return an error as records show it."""
    return Failure(
        type=error.code, message=str(error), remedy=error.remedy, transient=error.transient, attempts=attempts
    )


def register(
    found: Found, request: Request, archive: Archive, opener: Opener, files: SourceFiles, max_bytes: int
) -> tuple[Source, Source | None]:
    """Archive what lies at a place. A file that is unchanged since it was last looked at is not opened.

    Returns the source, and what it was before where that was another document. Where the collection was deleted
    meanwhile, the source has neither document nor error.
    """
    before = archive.source(request.collection, source_id(found.url))
    now = _observe(found, before, request, opener, files, max_bytes)

    def successor(newest: Source | None) -> Source | None:
        if newest is not None and _says_the_same(newest, now):
            return None
        return now.model_copy(update={"revision": newest.revision + 1 if newest else 1})

    appended = archive.append_source(request.collection, found.url, successor)
    source = give_way(archive, appended, request.deletions_seen)
    moved = before is not None and before.document is not None and before.document != source.document
    return source, before if moved else None


def source_failed(archive: Archive, source: Source, failure: Failure) -> Source:
    """Archive that the file of a source could not be worked, and return the source as it is then.

    Where it was looked at anew meanwhile, that stays.
    """

    def successor(newest: Source | None) -> Source | None:
        if newest is None or newest.revision != source.revision:
            return None
        update = {"document": None, "error": failure, "revision": newest.revision + 1, "observed_at": datetime.now(UTC)}
        return newest.model_copy(update=update)

    return archive.append_source(source.collection, source.url, successor)


def quarantine_source(archive: Archive, url: str, request: Request, failure: Failure, files: SourceFiles) -> Source:
    """Archive that opening a source ends the process that does it. As long as it stays what it is, nobody does."""
    state = _state(url, files)

    def successor(newest: Source | None) -> Source:
        return Source(
            collection=request.collection,
            url=url,
            path=display_path(url),
            state=state,
            error=failure,
            batch=request.batch,
            revision=newest.revision + 1 if newest else 1,
            observed_at=datetime.now(UTC),
        )

    return archive.append_source(request.collection, url, successor)


def vanished_sources(
    archive: Archive, files: SourceFiles, collection: str, urls: Iterable[str], seen: Set[str]
) -> Iterator[Source]:
    """Yield what lay at these URLs once and lies there no more: renamed, moved, removed.

    `seen` are the ids of the sources that were found this time; only the others are looked at.
    """
    for identifier in map(source_id, urls):
        source = None if identifier in seen else archive.source(collection, identifier)
        if source is not None and (source.document or source.error) and files.is_gone(source.url):
            yield source


def plan(document: Document, request: Request, archive: Archive, pages: Collection[int] | None = None) -> Plan:
    """Compare a document's newest readings, or those of some of its pages, with what the request asks for."""
    settled: list[Reading] = []
    deleted: list[int] = []
    known: dict[int, int] = {}
    due = set(range(1, document.pages + 1)) if pages is None else set(pages) & set(range(1, document.pages + 1))
    for reading in archive.readings(request.collection, document.id, pages):
        if isinstance(reading, Reading) and _is_settled(reading, request):
            settled.append(reading)
        elif isinstance(reading, Tombstone) and reading.deletion > request.deletions_seen:
            deleted.append(reading.page_number)
        else:
            known[reading.page_number] = reading.revision
            continue
        due.discard(reading.page_number)
    if due and is_overtaken(archive, request.collection, document.id, request.deletions_seen):
        deleted += due  # pages that were never read have no tombstone
        due = set()
    return Plan(tuple(settled), tuple(sorted(due)), tuple(sorted(deleted)), known)


def _is_settled(reading: Reading, request: Request) -> bool:
    """Whether a page needs no work: read with this recipe, or failed for a reason that still holds.

    What failed within this very batch has had its try.
    """
    error = reading.error
    if reading.fingerprint != request.recipe.fingerprint(reading.document.id, reading.page_number, error):
        return False
    if reading.status is not PageStatus.FAILED or error is None or reading.batch == request.batch:
        return True
    return not request.again and not _is_worth_another_try(error)


def _is_worth_another_try(error: Failure) -> bool:
    return error.transient and error.attempts < TRANSIENT_ATTEMPTS


def _observe(
    found: Found,
    before: Source | None,
    request: Request,
    opener: Opener,
    files: SourceFiles,
    max_bytes: int,
) -> Source:
    """Look at a place; every way this can end is a source."""
    state: FileState | None = None
    document: Document | None = None
    failure: Failure | None = None
    try:
        if found.error:
            raise found.error
        state = files.state(found.url)
        if before is not None and _still_holds(before, state, request):
            document, failure = before.document, before.error
        else:
            document = _open(found.url, state, opener, files, max_bytes)
    except OutcomeError as error:
        attempts = before.error.attempts + 1 if before and before.error and before.error.type == error.code else 1
        failure = failure_of(error, attempts)
    return Source(
        collection=request.collection,
        url=found.url,
        path=display_path(found.url),
        state=state,
        document=document,
        error=failure,
        limits=request.recipe.limits if failure and failure.type in _LIMITED else None,
        batch=request.batch,
        revision=1,
        observed_at=datetime.now(UTC),
    )


def _state(url: str, files: SourceFiles) -> FileState | None:
    try:
        return files.state(url)
    except OutcomeError:
        return None


def _open(url: str, state: FileState, opener: Opener, files: SourceFiles, max_bytes: int) -> Document:
    with files.open(url, state) as file:
        identified = identify(file, state, max_bytes)
        media_type = opener.refine(file, identified.media_type, files.patience)
        with opener.open(file, display_path(url), media_type, files.patience) as opened:
            return Document(
                id=identified.document_id,
                bytes=state.bytes,
                media_type=media_type,
                pages=opened.pages,
                title=opened.title,
                members=opened.members,
            )


def _still_holds(before: Source, state: FileState, request: Request) -> bool:
    if before.state != state:
        return False
    if before.error is None:
        return before.document is not None
    if request.again and before.batch != request.batch:
        return False
    return not before.error.transient and before.limits in (None, request.recipe.limits)


def _says_the_same(newest: Source, now: Source) -> bool:
    unimportant: dict[str, object] = {"revision": 0, "batch": "", "observed_at": newest.observed_at}
    return newest.model_copy(update=unimportant) == now.model_copy(update=unimportant)

"""From a place to the pages that are to be worked: identify, hash, count pages, and leave out what is known already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.archive import Archive, source_id
from pipeline.errors import OutcomeError, SourceVanished
from pipeline.models import Document, Failure, FileState, PageStatus, Reading, Source
from pipeline.rendering import SandboxPool
from pipeline.retry import TRANSIENT_ATTEMPTS
from pipeline.revisions import give_way
from pipeline.sources import Found, display_path, file_state, identify, open_unchanged, source_path, source_url


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


_LIMITED = {error.code for error in OutcomeError.__subclasses__() if error.by_limit}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of a document's pages, and which are to be worked."""

    settled: tuple[Reading, ...]
    due: tuple[int, ...]


def failure_of(error: OutcomeError, attempts: int = 1) -> Failure:
    """Return an error as records show it."""
    return Failure(
        type=error.code, message=str(error), remedy=error.remedy, transient=error.transient, attempts=attempts
    )


def register(
    found: Found, request: Request, archive: Archive, sandboxes: SandboxPool, max_bytes: int
) -> tuple[Source, Source | None]:
    """Archive what lies at a place. A file that is unchanged since it was last looked at is not opened.

    Returns the source, and what it was before where that was another document. Where the collection was deleted
    meanwhile, the source has neither document nor error.
    """
    url = source_url(found.path)
    before = archive.source(request.collection, source_id(url))
    now = _observe(found, before, request, sandboxes, max_bytes)

    def successor(newest: Source | None) -> Source | None:
        if newest is not None and _says_the_same(newest, now):
            return None
        return now.model_copy(update={"revision": newest.revision + 1 if newest else 1})

    appended = archive.append_source(request.collection, url, successor)
    source = give_way(archive, appended, request.deletions_seen)
    moved = before is not None and before.document is not None and before.document != source.document
    return source, before if moved else None


def source_failed(archive: Archive, source: Source, failure: Failure) -> Source:
    """Archive that the file of a source could not be worked, and return the source as it is then."""

    def successor(newest: Source | None) -> Source | None:
        if newest is None or newest.revision != source.revision:
            return None
        update = {"document": None, "error": failure, "revision": newest.revision + 1, "observed_at": datetime.now(UTC)}
        return newest.model_copy(update=update)

    return archive.append_source(source.collection, source.url, successor)


def vanished_sources(archive: Archive, collection: str, urls: Iterable[str], seen: Set[str]) -> Iterator[Source]:
    """Yield what lay at these URLs once and lies there no more: renamed, moved, removed.

    `seen` are the ids of the sources that were found this time; only the others are looked at.
    """
    for identifier in map(source_id, urls):
        source = None if identifier in seen else archive.source(collection, identifier)
        if source is not None and (source.document or source.error) and _is_gone(source_path(source.url)):
            yield source


def plan(source: Source, document: Document, request: Request, archive: Archive) -> Plan:
    """Compare a document's newest readings with what the request asks for."""
    settled = []
    due = set(range(1, document.pages + 1))
    for reading in archive.readings(request.collection, document.id):
        if isinstance(reading, Reading) and _is_settled(reading, request.recipe):
            settled.append(reading)
            due.discard(reading.page_number)
    return Plan(tuple(settled), tuple(sorted(due)))


def _is_settled(reading: Reading, recipe: Recipe) -> bool:
    """Whether a page needs no work: read with this recipe, or failed for a reason that still holds."""
    error = reading.error
    if reading.fingerprint != recipe.fingerprint(reading.document.id, reading.page_number, error):
        return False
    return reading.status is not PageStatus.FAILED or error is None or not _is_worth_another_try(error)


def _is_worth_another_try(error: Failure) -> bool:
    return error.transient and error.attempts < TRANSIENT_ATTEMPTS


def _observe(found: Found, before: Source | None, request: Request, sandboxes: SandboxPool, max_bytes: int) -> Source:
    """Look at a place; every way this can end is a source."""
    state: FileState | None = None
    document: Document | None = None
    failure: Failure | None = None
    try:
        if found.error:
            raise found.error
        state = file_state(found.path)
        if before is not None and _still_holds(before, state, request.recipe.limits):
            document, failure = before.document, before.error
        else:
            document = _open(found.path, state, sandboxes, max_bytes)
    except OutcomeError as error:
        attempts = before.error.attempts + 1 if before and before.error and before.error.type == error.code else 1
        failure = failure_of(error, attempts)
    return Source(
        collection=request.collection,
        url=source_url(found.path),
        path=display_path(found.path),
        state=state,
        document=document,
        error=failure,
        limits=request.recipe.limits if failure and failure.type in _LIMITED else None,
        batch=request.batch,
        revision=1,
        observed_at=datetime.now(UTC),
    )


def _is_gone(path: Path) -> bool:
    try:
        file_state(path)
    except SourceVanished:
        return True
    except OutcomeError:  # it may not be looked at, and so may well be there
        return False
    return False


def _open(path: Path, state: FileState, sandboxes: SandboxPool, max_bytes: int) -> Document:
    with open_unchanged(path, state) as file:
        identified = identify(file, state, max_bytes)
        with sandboxes.open(file, identified.media_type) as opened:
            return Document(
                id=identified.document_id,
                bytes=state.bytes,
                media_type=identified.media_type,
                pages=opened.pages,
                title=opened.title,
            )


def _still_holds(before: Source, state: FileState, limits: str) -> bool:
    if before.state != state:
        return False
    if before.error is None:
        return before.document is not None
    return not before.error.transient and before.limits in (None, limits)


def _says_the_same(newest: Source, now: Source) -> bool:
    unimportant: dict[str, object] = {"revision": 0, "batch": "", "observed_at": newest.observed_at}
    return newest.model_copy(update=unimportant) == now.model_copy(update=unimportant)

"""Candidates for review: pages with readings in a collection, and pages of files without readings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import BinaryIO

from pipeline.analysis.inspect import Inspector
from pipeline.analysis.review.sampling import SampleCandidate
from pipeline.archive import Archive, source_id
from pipeline.core.errors import OutcomeError, Stopped
from pipeline.core.languages import detect_language
from pipeline.core.models import Document, Failure, FileState, LayerState, Reading, Source
from pipeline.core.retry import CancelToken
from pipeline.documents.opening import OpenPages
from pipeline.pages.registration import document_of, identified_source
from pipeline.sources import FoundFile, SourceFiles, display_path, require_unchanged, walk

#: The batch of sources and readings without a batch. They are never archived.
NO_BATCH = "review"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file without pages to review, and the cause."""

    path: str
    failure: Failure


def collection_candidates(archive: Archive, collection: str, cancel: CancelToken) -> Iterator[SampleCandidate]:
    """Yield the pages of a collection by their newest readings.

    Raises:
        Stopped: the run was cancelled.
    """
    for document in archive.documents(collection):
        yield from document_candidates(archive, collection, document, cancel)


def document_candidates(
    archive: Archive, collection: str, document: str, cancel: CancelToken
) -> Iterator[SampleCandidate]:
    """Yield the pages of one document of a collection; see `collection_candidates`."""
    for reading in archive.readings(collection, document).newest():
        if cancel.stopped:
            raise Stopped("stopped while readings were read")
        if isinstance(reading, Reading):
            yield SampleCandidate(
                document=document,
                page_number=reading.page_number,
                kind=reading.page_kind,
                language=reading.text_language,
                suspect=reading.is_in_doubt,
                revision=reading.revision,
            )


@contextmanager
def opened_file(
    found: FoundFile, state: FileState, inspector: Inspector, files: SourceFiles
) -> Iterator[tuple[BinaryIO, Document, OpenPages]]:
    """Open a file with its pages.

    Raises:
        OutcomeError, ServiceRefused, Stopped: as `identified_source` and `Opener.open` raise them.
    """
    opener = inspector.opener
    with (
        identified_source(found, state, opener, files, inspector.max_file_bytes) as (file, document_id, media_type),
        opener.open(file, document_id, display_path(found.url), media_type, files.cancel) as opened,
    ):
        yield file, document_of(document_id, media_type, state, opened), opened


@dataclass(slots=True)
class FileCandidates:
    """Finds pages in files. For one thread."""

    inspector: Inspector
    archive: Archive
    collection: str
    """Its readings are used for unchanged files."""
    anew: bool
    """Whether every page is read again, known or not."""
    cancel: CancelToken
    _seen: set[str] = field(default_factory=set)
    """Ids of the documents whose pages were yielded."""

    def below(self, roots: Iterable[str], excluded: Iterable[str]) -> Iterator[SampleCandidate | Unreadable]:
        """Yield the pages of every file below the roots' URLs, each document once.

        Raises:
            ServiceRefused: a bucket refuses, or no sandbox can be started.
            Stopped: the run was cancelled.
        """
        files = replace(self.inspector.files, cancel=self.cancel)
        for found in walk(roots, excluded, self.cancel):
            yield from self._of_file(found, files)

    def _of_file(self, found: FoundFile, files: SourceFiles) -> Iterator[SampleCandidate | Unreadable]:
        """Yield the pages of a file, then the pages of its members."""
        try:
            if found.error:
                raise found.error
            state = files.state(found.url, found.root)
            known = self._known(found.url, state)
            if known is not None:
                document = known
                if document.id not in self._seen:
                    yield from document_candidates(self.archive, self.collection, document.id, self.cancel)
            else:
                with opened_file(found, state, self.inspector, files) as (file, document, opened):
                    if document.id not in self._seen:
                        source = _source(found, state, document, self.collection)
                        yield from self._of_pages(file, source, document, opened)
        except OutcomeError as error:
            yield Unreadable(display_path(found.url), Failure.of(error))
            return
        self._seen.add(document.id)
        for member in files.members(found.url, state, found.root) if document.members else ():
            yield from self._of_file(member, files)

    def _known(self, url: str, state: FileState) -> Document | None:
        """Return the document of an unchanged file with readings."""
        source = None if self.anew else self.archive.sources(self.collection)[source_id(url)].newest()
        if source is None or source.document is None or source.state != state:
            return None
        return (
            source.document if self.archive.readings(self.collection, source.document.id).newest_revisions() else None
        )

    def _of_pages(
        self, file: BinaryIO, source: Source, document: Document, opened: OpenPages
    ) -> Iterator[SampleCandidate]:
        """Render page after page, and keep only what sampling needs."""
        assert source.state is not None
        for number in range(1, opened.pages + 1):
            if self.cancel.stopped:
                raise Stopped("stopped while pages were rendered")
            candidate = SampleCandidate(document.id, number, None, None, suspect=True, revision=None, source=source)
            try:
                page = opened.render(number)
            except OutcomeError:  # reading it fails again, and the review shows the error
                yield candidate
            else:
                layer = None if page.facts.layer is LayerState.GARBAGE else page.layer_text
                yield replace(candidate, kind=page.kind, language=detect_language(layer), suspect=False)
            require_unchanged(file, source.state)


def _source(found: FoundFile, state: FileState, document: Document, collection: str) -> Source:
    return Source(
        collection=collection,
        url=found.url,
        path=display_path(found.url),
        root=found.root,
        state=state,
        document=document,
        batch=NO_BATCH,
        revision=1,
        observed_at=datetime.now(UTC),
    )

"""Writes the state of the archive to the index. Only this module writes, changes and removes records.

Every write carries the archived revision as its external version (optimistic concurrency). After a write of pages or
documents the archive is read again, and revisions that have become newer are written too. So the index ends at the
archive's newest revision, whatever the order of the writers, and a late writer cannot restore a deleted page.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from pipeline.archive import Archive
from pipeline.core.errors import RecordRefused, ServiceRefused
from pipeline.core.iterables import batched
from pipeline.core.models import AnswerKind, Batch, Failure, Reading, Run, Source, Tombstone
from pipeline.core.retry import ELASTICSEARCH_WAITS_SECONDS, CancelToken, retry_until_available
from pipeline.core.url_signing import Signer
from pipeline.projection.records import (
    DocumentTally,
    Record,
    batch_record,
    document_record_id,
    embedding_fields,
    page_id,
    page_record,
    refused_record,
    refused_source_record,
    run_record,
    run_record_id,
    source_record,
    source_record_id,
)
from pipeline.projection.vectors import PageVector, PageVectors
from pipeline.search import BATCHES, DOCUMENTS, PAGES, PAGES_WRITE, RUNS, SOURCES, State, Write, Written

if TYPE_CHECKING:
    from pipeline.search.index import Index, PagesIndex

T = TypeVar("T")

#: Number of records that are updated together. The bulk writer splits them into requests by bytes.
CHUNK = 500
#: Time for which a stopped run tries to write the records of finished pages: two or three attempts.
LINGER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Projector:
    """Archive and index, the cancel token for waits, and the signer of the URLs in records."""

    archive: Archive
    index: Index
    cancel: CancelToken
    signer: Signer
    vectors: PageVectors | None = None
    """Makes the vectors of pages; None without a model for them."""

    def of(self, index: Index) -> Projector:
        """Return a projector that writes to other indices."""
        return replace(self, index=index)

    def kept(self) -> list[Projector]:
        """Return projectors that write to the indices kept for a rollback."""
        found = retry_until_available(self.index.generations.all, self.cancel, ELASTICSEARCH_WAITS_SECONDS)
        return [
            self.of(self.index.of(generation, State.KEPT)) for generation in found if generation.is_whole(State.KEPT)
        ]

    def pages(self, readings: Iterable[Reading | Tombstone]) -> dict[str, Failure]:
        """Write the newest readings of pages, given the newest that the caller knows. Return refused records by id.

        Raises:
            ServiceRefused: Elasticsearch refuses every write, because a permission or an index is missing.
            SettingsError: an answer has another type in the index.
            Stopped: the run was cancelled while Elasticsearch was unavailable.
        """
        refused: dict[str, Failure] = {}
        for chunk in batched(readings, CHUNK):
            due = chunk
            while due:
                refused |= self.put_pages(due)
                due = list(self._overtaken(due))
        return refused

    def documents(self, collection: str, documents: Iterable[str]) -> None:
        """Update the records of documents. The version is the sum of the pages' revisions, which only grows."""
        due = list(documents)
        while due:
            versions: dict[str, int] = {}
            self._write_all(self._document_writes(collection, due, versions))
            due = [
                document
                for document, version in versions.items()
                if version != sum(self.archive.readings(collection, document).newest_revisions().values())
            ]

    def sources(self, sources: Iterable[Source]) -> None:
        """Write the records of sources. A source without document and error has no record."""
        now = _now()

        def record(source: Source) -> Record | None:
            if not (source.document or source.error):
                return None
            try:
                return source_record(source, now)
            except Exception as error:  # as for pages
                return refused_source_record(source, _record_refused(_unmade(error)), now)

        self._write_all(Write(SOURCES, source_record_id(source), source.revision, record(source)) for source in sources)

    def behind(self, alias: str, expected: Mapping[str, int]) -> list[str]:
        """Return the ids of records that are missing or have another version than expected."""
        found = retry_until_available(
            lambda: self.index.versions(alias, list(expected)), self.cancel, ELASTICSEARCH_WAITS_SECONDS
        )
        return [key for key, version in expected.items() if found.get(key) != version]

    def source_urls_below(self, url: str, collection: str, but: Container[str] = ()) -> list[str]:
        """Return the URLs of the indexed sources at or below a URL, without those in `but`."""
        return retry_until_available(
            lambda: [
                found for found in self.index.queries.source_urls_below(url, collection=collection) if found not in but
            ],
            self.cancel,
            ELASTICSEARCH_WAITS_SECONDS,
        )

    def batch(self, batch: Batch) -> None:
        """Write the record of a batch."""
        self.batches([batch])

    def batches(self, batches: Iterable[Batch]) -> None:
        """Write the records of batches."""
        self._write_all(Write(BATCHES, batch.id, batch.revision, batch_record(batch, _now())) for batch in batches)

    def run(self, run: Run) -> None:
        """Write the record of a schedule's run."""
        self.runs([run])

    def runs(self, runs: Iterable[Run]) -> None:
        """Write the records of runs."""
        self._write_all(Write(RUNS, run_record_id(run), run.revision, run_record(run, _now())) for run in runs)

    def refresh(self) -> None:
        """Make written records visible to searches. Commands call it; workers rely on the server's refresh interval."""
        for alias in (PAGES, DOCUMENTS, SOURCES, BATCHES, RUNS):
            retry_until_available(partial(self.index.refresh, alias), self.cancel, ELASTICSEARCH_WAITS_SECONDS)

    def put_documents(self, collection: str, tallies: Mapping[str, DocumentTally]) -> None:
        """Write the records of documents from given tallies, by document id, without reading the archive."""
        now = _now()
        self._write_all(
            Write(DOCUMENTS, document_record_id(collection, document), tally.revision, tally.record(now))
            for document, tally in tallies.items()
        )

    def put_pages(self, readings: Sequence[Reading | Tombstone], *, again: bool = False) -> dict[str, Failure]:
        """Write the records of up to `CHUNK` readings, without checking whether they are still the newest.

        It is for callers that compare archive and index afterwards. It returns and raises the same as `pages`.
        `again`: also replace records of the same revision.
        """
        by_id = {_id(reading): reading for reading in readings}
        index = self._pages_index()
        written = self._send_pages(by_id, index, again=again)
        while written.indices - {index.name}:  # the alias now leads to another index
            self.index.look_again()
            index = self._pages_index()
            written = self._send_pages(by_id, index, again=True)
        refused = {key: _record_refused(reason) for key, reason in written.refused.items()}
        now = _now()
        self._write_all(
            Write(PAGES_WRITE, key, reading.revision, refused_record(reading, refused[key], self.signer, now))
            for key, reading in by_id.items()
            if key in refused and isinstance(reading, Reading)
        )
        return refused

    def remove_document(self, collection: str, document: str) -> None:
        """Remove the record of a document if no page of it remains."""
        tally = _tally(self.archive, collection, document)
        if tally.revision and tally.record(_now()) is None:
            self._write_all([Write(DOCUMENTS, document_record_id(collection, document), tally.revision, None)])

    def _document_writes(self, collection: str, documents: list[str], versions: dict[str, int]) -> Iterator[Write]:
        """Yield the writes of documents with archived pages, and record each document's version."""
        for document in documents:
            tally = _tally(self.archive, collection, document)
            if tally.revision:
                versions[document] = tally.revision
                key = document_record_id(collection, document)
                yield Write(DOCUMENTS, key, tally.revision, tally.record(_now()))

    def _pages_index(self) -> PagesIndex:
        return retry_until_available(lambda: self.index.pages_index, self.cancel, ELASTICSEARCH_WAITS_SECONDS)

    def _send_pages(self, by_id: Mapping[str, Reading | Tombstone], index: PagesIndex, *, again: bool) -> Written:
        now = _now()
        for kinds in _answer_kinds(by_id.values()):
            retry_until_available(partial(self.index.require_answers, kinds), self.cancel, ELASTICSEARCH_WAITS_SECONDS)

        vectors = _vectors_of(self, by_id)

        def made(key: str, reading: Reading | Tombstone) -> Record | None:
            if not isinstance(reading, Reading):
                return None
            return page_record(reading, index.languages, self.signer, now) | embedding_fields(vectors.get(key))

        unmade: dict[str, str] = {}

        def writes() -> Iterator[Write]:
            for key, reading in by_id.items():
                try:
                    record = made(key, reading)
                except Exception as error:  # whatever the reason, the records beside it are written
                    unmade[key] = _unmade(error)
                else:
                    yield Write(PAGES_WRITE, key, reading.revision, record, again)

        written = self.index.write(writes(), self.cancel)
        return replace(written, refused={**written.refused, **unmade})

    def _overtaken(self, readings: Iterable[Reading | Tombstone]) -> Iterator[Reading | Tombstone]:
        """Yield the newest reading of each page for which it is newer than the given one."""
        newest: dict[tuple[str, str], dict[int, int]] = {}
        for reading in readings:
            document = (reading.collection, _document(reading))
            of_document = self.archive.readings(*document)
            if document not in newest:
                newest[document] = of_document.newest_revisions()
            revision = newest[document][reading.page_number]
            if revision > reading.revision:
                yield of_document.page(reading.page_number).revision(revision)

    def _write_all(self, writes: Iterable[Write]) -> None:
        """Write records that must be accepted. A refusal means that the index lacks Pagesight's mapping."""
        refused = self.index.write(writes, self.cancel).refused
        for key, reason in refused.items():
            raise ServiceRefused(
                "elasticsearch",
                f"the record {key} is refused: {reason}",
                remedy="The indices lack Pagesight's mapping: `pagesight reindex` makes new ones from the archive.",
            )


def embed_again(projector: Projector, readings: Sequence[Reading]) -> int:
    """Write the records of readings again, with vectors that are made now; return the number of vectors.

    Raises:
        ServiceRefused: the model for vectors, or Elasticsearch, refuses.
        Stopped: the run was cancelled.
    """
    if projector.vectors is None:
        return 0
    vectors = projector.vectors.of(readings, projector.cancel)  # archived first; the records find them in the archive
    projector.put_pages(readings, again=True)
    return len(vectors)


def _vectors_of(projector: Projector, by_id: Mapping[str, Reading | Tombstone]) -> dict[str, PageVector]:
    """Return the vectors of pages by record id; none where the index cannot take them."""
    pages = {key: reading for key, reading in by_id.items() if isinstance(reading, Reading)}
    if projector.vectors is None or not pages:
        return {}
    ready = partial(projector.index.vectors.require, projector.vectors.embedder.model.dimensions)
    if not retry_until_available(ready, projector.cancel, ELASTICSEARCH_WAITS_SECONDS):
        return {}
    keys = list(pages)
    return {keys[at]: vector for at, vector in projector.vectors.of(list(pages.values())).items()}


def lingering(projector: Projector) -> Projector:
    """Return a projector for records of finished pages: a stopped run still waits a moment for the index."""
    return replace(projector, cancel=projector.cancel.lingering(LINGER_SECONDS))


def _tally(archive: Archive, collection: str, document: str) -> DocumentTally:
    tally = DocumentTally()
    for reading in archive.readings(collection, document).newest():
        tally.add(reading)
    return tally


def _answer_kinds(readings: Iterable[Reading | Tombstone]) -> Iterator[dict[str, AnswerKind]]:
    """Yield the answer fields of readings, without sets of fields that add nothing. Most readings have one profile."""
    known: set[tuple[str, AnswerKind]] = set()
    for reading in readings:
        values = reading.values if isinstance(reading, Reading) else {}
        kinds = {name: value.kind for name, value in values.items()}
        if kinds.items() - known:
            known |= kinds.items()
            yield kinds


def _id(reading: Reading | Tombstone) -> str:
    return page_id(reading.collection, _document(reading), reading.page_number)


def _document(reading: Reading | Tombstone) -> str:
    return reading.document.id if isinstance(reading, Reading) else reading.document_id


def _unmade(error: Exception) -> str:
    return f"the record cannot be made: {type(error).__name__}: {error}"


def _record_refused(reason: str) -> Failure:
    return Failure(type=RecordRefused.code, message=reason, remedy=RecordRefused.remedy)


def _now() -> datetime:
    return datetime.now(UTC)

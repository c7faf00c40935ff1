"""From the archive to the index: the one door through which records are written, changed and removed.

Every write carries the archived revision as its external version, and every write is followed by a look at the archive:
where a newer revision appeared meanwhile, that one is written too. So the index ends at the archive's newest revision
whoever writes when, and a late writer cannot bring back what was deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TypeVar

from pipeline.archive import Archive
from pipeline.errors import RecordRefused, ServiceRefused
from pipeline.models import AnswerKind, Batch, Failure, Reading, Run, Source, Tombstone
from pipeline.records import (
    Record,
    batch_record,
    document_record,
    document_record_id,
    page_id,
    page_record,
    refused_record,
    run_record,
    run_record_id,
    source_record,
    source_record_id,
)
from pipeline.retry import ELASTICSEARCH_WAITS_SECONDS, Patience, persist
from pipeline.search import BATCHES, DOCUMENTS, PAGES, PAGES_WRITE, RUNS, SOURCES, Index, Write

T = TypeVar("T")

#: Records brought up to date together; the bulk writer cuts them into requests by bytes.
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Projector:
    """Archive and index, and the patience with which the latter is waited for."""

    archive: Archive
    index: Index
    patience: Patience

    def pages(self, readings: Iterable[Reading | Tombstone]) -> dict[str, Failure]:
        """Bring the index to the newest readings of these pages; return what it refused, by record id.

        `readings` are the newest ones as the caller knows them.

        Raises:
            ServiceRefused: Elasticsearch refuses everything: no right, no index.
            SettingsError: an answer has another type in the index.
            Stopped: the run was asked to stop while Elasticsearch was away.
        """
        refused: dict[str, Failure] = {}
        for chunk in batched(readings, CHUNK):
            due = chunk
            while due:
                refused |= self._write_pages(due)
                due = list(self._overtaken(due))
        return refused

    def documents(self, collection: str, documents: Iterable[str]) -> None:
        """Bring documents' records up to date. The version of one, the sum of its pages' revisions, only grows."""
        due = list(documents)
        while due:
            versions: dict[str, int] = {}
            self._write_all(self._document_writes(collection, due, versions))
            due = [
                document
                for document, version in versions.items()
                if version != sum(self.archive.revisions(collection, document).values())
            ]

    def sources(self, sources: Iterable[Source]) -> None:
        """Write the records of sources; one of which nothing is known any more has none."""
        now = _now()

        def record(source: Source) -> Record | None:
            return source_record(source, now) if source.document or source.error else None

        self._write_all(Write(SOURCES, source_record_id(source), source.revision, record(source)) for source in sources)

    def behind(self, alias: str, expected: Mapping[str, int]) -> list[str]:
        """Return the ids whose record is missing or has another version than expected."""
        found = persist(lambda: self.index.versions(alias, list(expected)), self.patience, ELASTICSEARCH_WAITS_SECONDS)
        return [key for key, version in expected.items() if found.get(key) != version]

    def source_urls_below(self, url: str, collection: str) -> list[str]:
        """Return the URLs of sources at or below this one, as far as searches see them."""
        return persist(
            lambda: list(self.index.queries.source_urls_below(url, collection=collection)),
            self.patience,
            ELASTICSEARCH_WAITS_SECONDS,
        )

    def batch(self, batch: Batch) -> None:
        """Write the record of a batch."""
        self._write(BATCHES, batch.id, batch.revision, batch_record(batch, _now()))

    def run(self, run: Run) -> None:
        """Write the record of a schedule's run."""
        self._write(RUNS, run_record_id(run), run.revision, run_record(run, _now()))

    def refresh(self) -> None:
        """Let searches see what was written. For people who wait for it; a fleet leaves it to the server."""
        for alias in (PAGES, DOCUMENTS, SOURCES, BATCHES, RUNS):
            persist(partial(self.index.refresh, alias), self.patience, ELASTICSEARCH_WAITS_SECONDS)

    def _document_writes(self, collection: str, documents: list[str], versions: dict[str, int]) -> Iterator[Write]:
        """Yield the writes of documents of which a page is archived, and note each one's version."""
        for document in documents:
            readings = list(self.archive.readings(collection, document))
            if readings:
                versions[document] = version = sum(reading.revision for reading in readings)
                live = [reading for reading in readings if isinstance(reading, Reading)]
                record = document_record(live, version, _now()) if live else None
                yield Write(DOCUMENTS, document_record_id(collection, document), version, record)

    def _write_pages(self, readings: list[Reading | Tombstone]) -> dict[str, Failure]:
        now = _now()
        by_id = {_id(reading): reading for reading in readings}
        languages = self.index.languages
        for kinds in _answer_kinds(readings):
            persist(partial(self.index.require_answers, kinds), self.patience, ELASTICSEARCH_WAITS_SECONDS)

        def record(reading: Reading | Tombstone) -> Record | None:
            return page_record(reading, languages, now) if isinstance(reading, Reading) else None

        written = self.index.write(
            (Write(PAGES_WRITE, key, reading.revision, record(reading)) for key, reading in by_id.items()),
            self.patience,
        )
        refused = {key: _record_refused(reason) for key, reason in written.refused.items()}
        self._write_all(
            Write(PAGES_WRITE, key, reading.revision, refused_record(reading, refused[key], now))
            for key, reading in by_id.items()
            if key in refused and isinstance(reading, Reading)
        )
        return refused

    def _overtaken(self, readings: Iterable[Reading | Tombstone]) -> Iterator[Reading | Tombstone]:
        """Yield the newest readings of those pages that have a newer one than was written."""
        newest: dict[tuple[str, str], dict[int, int]] = {}
        for reading in readings:
            place = (reading.collection, _document(reading))
            if place not in newest:
                newest[place] = self.archive.revisions(*place)
            revision = newest[place][reading.page_number]
            if revision > reading.revision:
                yield self.archive.reading(*place, reading.page_number, revision)

    def _write(self, alias: str, key: str, version: int, record: Record | None) -> None:
        self._write_all([Write(alias, key, version, record)])

    def _write_all(self, writes: Iterable[Write]) -> None:
        """Write records that must be accepted: a refusal means that the mapping is not ours."""
        refused = self.index.write(writes, self.patience).refused
        for key, reason in refused.items():
            raise ServiceRefused(
                "elasticsearch",
                f"the record {key} is refused: {reason}",
                remedy="The indices do not have Pagesight's mapping. Delete them and run `pagesight rebuild`.",
            )


def rebuild(projector: Projector, collections: Iterable[str], advance: Callable[[int], None]) -> dict[str, Failure]:
    """Fill the index from the archive alone; `advance` hears how many pages were written. Nothing is asked or rendered.

    Returns what the index refused, by record id.
    """
    archive = projector.archive
    refused: dict[str, Failure] = {}
    for collection in collections:
        projector.sources(_sources(archive, collection))
        documents = archive.documents(collection)
        readings = (reading for document in documents for reading in archive.readings(collection, document))
        for chunk in batched(readings, CHUNK):
            refused |= projector.pages(chunk)
            advance(len(chunk))
        for named in batched(documents, CHUNK):
            projector.documents(collection, named)
    wanted = set(collections)
    for batch in filter(None, map(archive.batch, archive.batches())):
        if batch.collection in wanted:
            projector.batch(batch)
    for run in archive.runs():
        projector.run(run)
    projector.refresh()
    return refused


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` values."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _sources(archive: Archive, collection: str) -> Iterator[Source]:
    for identifier in archive.source_ids(collection):
        source = archive.source(collection, identifier)
        if source is not None:
            yield source


def _answer_kinds(readings: Iterable[Reading | Tombstone]) -> Iterator[dict[str, AnswerKind]]:
    """Yield what the mapping must know of the answers in these readings; mostly they are of one profile."""
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


def _record_refused(reason: str) -> Failure:
    return Failure(type=RecordRefused.code, message=reason, remedy=RecordRefused.remedy)


def _now() -> datetime:
    return datetime.now(UTC)

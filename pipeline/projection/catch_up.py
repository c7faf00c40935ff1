"""Applies the differences between archive and index. An empty index and one that lacks a page are treated alike.

Only names and versions are compared; a reading is read where its record is missing or older. Several groups of
documents are processed at a time, so that the archive is read while the server writes. Each group holds a few hundred
records in memory.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from pipeline.archive import Archive
from pipeline.core.errors import Stopped
from pipeline.core.iterables import batched
from pipeline.core.models import Failure, Reading, Source, Tombstone
from pipeline.core.retry import ELASTICSEARCH_WAITS_SECONDS, retry_until_available
from pipeline.core.threads import ContextThreads
from pipeline.projection.projector import CHUNK, Projector
from pipeline.projection.records import (
    DocumentTally,
    document_record_id,
    page_id,
    run_record_id,
    source_record_id,
)
from pipeline.search import BATCHES, DOCUMENTS, PAGES, RUNS, SOURCES

#: Groups processed at once: one reads the archive while the server writes the records of another.
GROUPS_AT_ONCE = 3
#: Documents of a group.
GROUP_DOCUMENTS = 100
#: New objects between two runs of the garbage collector; a page has some hundred while it is written.
COLLECT_EVERY = 20_000


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """Counts of compared and written records. Results for two parts of an archive can be added."""

    pages: int = 0
    """Compared pages."""
    written: int = 0
    """Written records of pages: they were missing, older or of a deleted page."""
    records: Counter[str] = field(default_factory=Counter)
    """Expected number of records, by alias."""
    refused: Mapping[str, Failure] = field(default_factory=dict)
    """Records that Elasticsearch refused, by id."""

    def __add__(self, other: ReconcileResult) -> ReconcileResult:
        return ReconcileResult(
            self.pages + other.pages,
            self.written + other.written,
            self.records + other.records,
            {**self.refused, **other.refused},
        )

    def followed_by(self, later: ReconcileResult) -> ReconcileResult:
        """Return the result of this pass and a later one over the same records."""
        return ReconcileResult(
            later.pages, self.written + later.written, later.records, {**self.refused, **later.refused}
        )


@dataclass(slots=True, eq=False)
class _Compared:
    """A document that is compared with the index."""

    name: str
    revisions: Mapping[int, int]
    """Newest archived revision of each page."""
    versions: Mapping[int, int | None]
    """Version of each page's record, None without a record."""
    live: int = 0
    """Pages that have a record afterwards."""
    tally: DocumentTally = field(default_factory=DocumentTally)

    @property
    def is_counted(self) -> bool:
        """Whether all its pages were written and so counted, and no page has to be read again."""
        return not any(self.versions.values())


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Updates the indices behind a projector to the archive's state."""

    projector: Projector
    in_use: bool
    """Whether other processes write there too, so that the archive must be checked after each write. Otherwise the next
    comparison does the same at less cost."""
    empty: bool = False
    """Whether the indices are empty, so that versions need not be queried."""
    writes: bool = True
    """False to count only."""

    def reconcile(self, collections: Sequence[str] | None, advance: Callable[[int], None]) -> ReconcileResult:
        """Apply the differences in all or some collections; `advance` gets the number of compared pages.

        Raises:
            ServiceRefused: Elasticsearch refuses.
            Stopped: the run was cancelled.
        """
        total = ReconcileResult()
        with _rare_garbage_collection(), ContextThreads(GROUPS_AT_ONCE, thread_name_prefix="catch-up") as threads:
            running: set[Future[ReconcileResult]] = set()
            try:
                for group in self._groups(collections):
                    while len(running) > GROUPS_AT_ONCE:
                        done, running = wait(running, return_when=FIRST_COMPLETED)
                        total = self._sum(total, done, advance)
                    running.add(threads.submit(group))
                    self._stop_if_asked()
                total = self._sum(total, running, advance)
            finally:
                threads.shutdown(cancel_futures=True)
        return total

    @property
    def _archive(self) -> Archive:
        return self.projector.archive

    def _stop_if_asked(self) -> None:
        if self.projector.cancel.stopped:
            raise Stopped("stopped while archive and index were compared")

    def _sum(
        self, total: ReconcileResult, done: set[Future[ReconcileResult]], advance: Callable[[int], None]
    ) -> ReconcileResult:
        for group in done:
            result = group.result()
            advance(result.pages)
            total += result
        return total

    def _groups(self, collections: Sequence[str] | None) -> Iterator[Callable[[], ReconcileResult]]:
        archive = self._archive
        for collection in archive.collections.names() if collections is None else collections:
            for names in batched(archive.sources(collection).names(), CHUNK):
                yield partial(self._sources, collection, names)
            for names in batched(archive.documents(collection), GROUP_DOCUMENTS):
                yield partial(self._documents, collection, names)
        for names in batched(archive.batches.names(), CHUNK):
            yield partial(self._batches, names, collections)
        if collections is None:
            yield self._runs

    # -- pages and documents

    def _documents(self, collection: str, documents: list[str]) -> ReconcileResult:
        total, some = ReconcileResult(), dict[str, dict[int, int]]()
        for document in documents:
            self._stop_if_asked()
            some[document] = self._archive.readings(collection, document).newest_revisions()
            if sum(map(len, some.values())) >= CHUNK:
                total, some = total + self._some_documents(collection, some), {}
        return total + self._some_documents(collection, some)

    def _some_documents(self, collection: str, some: Mapping[str, Mapping[int, int]]) -> ReconcileResult:
        ids = {name: {page: page_id(collection, name, page) for page in pages} for name, pages in some.items()}
        versions = self._versions(PAGES, list(chain.from_iterable(of_pages.values() for of_pages in ids.values())))
        compared = [
            _Compared(name, pages, {page: versions.get(key) for page, key in ids[name].items()})
            for name, pages in some.items()
        ]
        refused: dict[str, Failure] = {}
        written = 0
        for readings in batched(chain.from_iterable(self._due(collection, document) for document in compared), CHUNK):
            written += len(readings)
            if self.writes:
                refused |= self.projector.pages(readings) if self.in_use else self.projector.put_pages(readings)
        self._document_records(collection, compared)
        records = Counter(
            {
                PAGES: sum(document.live for document in compared),
                DOCUMENTS: sum(document.live > 0 for document in compared),
            }
        )
        return ReconcileResult(sum(map(len, some.values())), written, records, refused)

    def _due(self, collection: str, document: _Compared) -> Iterator[Reading | Tombstone]:
        """Yield the newest readings of a document's pages whose record is missing, older or superfluous."""
        differing = {page for page, revision in document.revisions.items() if document.versions[page] != revision}
        document.live = len(document.revisions) - len(differing)
        if not differing:
            return
        for reading in self._archive.readings(collection, document.name).newest(differing):
            document.tally.add(reading)
            document.live += isinstance(reading, Reading)
            if isinstance(reading, Reading) or document.versions[reading.page_number] is not None:
                yield reading

    def _document_records(self, collection: str, compared: Sequence[_Compared]) -> None:
        """Write the records of documents that are missing, older or superfluous."""
        found = self._versions(DOCUMENTS, [document_record_id(collection, document.name) for document in compared])
        versions = {document.name: found.get(document_record_id(collection, document.name)) for document in compared}
        due = [
            document
            for document in compared
            if versions[document.name] != sum(document.revisions.values())
            if document.live or versions[document.name] is not None
        ]
        if self.writes:
            counted = [document for document in due if not self.in_use and document.is_counted]
            self.projector.put_documents(collection, {document.name: document.tally for document in counted})
            self.projector.documents(collection, [document.name for document in due if document not in counted])

    # -- sources, batches and runs

    def _sources(self, collection: str, identifiers: list[str]) -> ReconcileResult:
        self._stop_if_asked()
        sources = [
            source for name in identifiers if (source := self._archive.sources(collection)[name].newest()) is not None
        ]
        versions = self._versions(SOURCES, [source_record_id(source) for source in sources])
        if self.writes:
            self.projector.sources(
                source
                for source in sources
                if _is_known(source) or source_record_id(source) in versions
                if versions.get(source_record_id(source)) != source.revision
            )
        return ReconcileResult(records=Counter({SOURCES: sum(map(_is_known, sources))}))

    def _batches(self, names: list[str], collections: Sequence[str] | None) -> ReconcileResult:
        batches = [batch for name in names if (batch := self._archive.batches[name].newest()) is not None]
        batches = [batch for batch in batches if collections is None or batch.collection in collections]
        versions = self._versions(BATCHES, [batch.id for batch in batches])
        if self.writes:
            self.projector.batches(batch for batch in batches if versions.get(batch.id) != batch.revision)
        return ReconcileResult(records=Counter({BATCHES: len(batches)}))

    def _runs(self) -> ReconcileResult:
        total = ReconcileResult()
        for runs in batched(self._archive.runs.latest(), CHUNK):
            versions = self._versions(RUNS, [run_record_id(run) for run in runs])
            if self.writes:
                self.projector.runs(run for run in runs if versions.get(run_record_id(run)) != run.revision)
            total += ReconcileResult(records=Counter({RUNS: len(runs)}))
        return total

    def _versions(self, alias: str, ids: list[str]) -> dict[str, int]:
        if self.empty or not ids:
            return {}
        index = self.projector.index
        return retry_until_available(
            lambda: index.versions(alias, ids), self.projector.cancel, ELASTICSEARCH_WAITS_SECONDS
        )


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    """Run the garbage collector rarely: scanning records, which have no reference cycles, took a third of the time."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _is_known(source: Source) -> bool:
    """Whether a source has a record: one without document and error has none."""
    return source.document is not None or source.error is not None

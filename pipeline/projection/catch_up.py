"""What differs between the archive and some indices, applied: the same for an empty index as for one that lacks a page.

Only names and versions are compared; a reading is opened where its record is missing or older. Work goes by groups of
documents, several at a time, so that the archive is read while the server writes; memory is that of a few hundred
records for each.
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

#: Groups worked at once: one reads the archive while the server writes what another has sent.
GROUPS_AT_ONCE = 3
#: Documents of a group; their pages are sent as many at a time as the bulk writer takes.
GROUP_DOCUMENTS = 100
#: Objects that come into being between two looks for cycles; a page is some hundred for as long as it is written.
COLLECT_EVERY = 20_000


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """What was found and done; what was found in two parts of an archive adds up."""

    pages: int = 0
    """Pages that were looked at."""
    written: int = 0
    """Records of pages that were missing, older or of a deleted page."""
    records: Counter[str] = field(default_factory=Counter)
    """Records that there are to be now, by alias."""
    refused: Mapping[str, Failure] = field(default_factory=dict)
    """By record id, what Elasticsearch refused."""

    def __add__(self, other: ReconcileResult) -> ReconcileResult:
        return ReconcileResult(
            self.pages + other.pages,
            self.written + other.written,
            self.records + other.records,
            {**self.refused, **other.refused},
        )

    def followed_by(self, later: ReconcileResult) -> ReconcileResult:
        """Return what two passes over the same came to."""
        return ReconcileResult(
            later.pages, self.written + later.written, later.records, {**self.refused, **later.refused}
        )


@dataclass(slots=True, eq=False)
class _Looked:
    """A document that is looked at."""

    name: str
    revisions: Mapping[int, int]
    """Newest archived revision of each page."""
    versions: Mapping[int, int | None]
    """Version of each page's record, None where it has none."""
    live: int = 0
    """Pages that have a record in the end."""
    tally: DocumentTally = field(default_factory=DocumentTally)

    @property
    def is_counted(self) -> bool:
        """Whether all its pages were written, and so counted: nothing of it has to be read once more."""
        return not any(self.versions.values())


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Brings the indices behind a projector to where the archive is."""

    projector: Projector
    in_use: bool
    """Whether others write there too. Then each write is followed by a look at the archive; where nobody does, the next
    comparison does the same for less."""
    empty: bool = False
    """Whether nothing is there yet, which saves asking."""
    writes: bool = True
    """False: only count."""

    def level(self, collections: Sequence[str] | None, advance: Callable[[int], None]) -> ReconcileResult:
        """Apply what differs, in all collections or in these; `advance` hears how many pages were looked at.

        Raises:
            ServiceRefused: Elasticsearch refuses.
            Stopped: the patience has ended.
        """
        total = ReconcileResult()
        with _seldom_collected(), ContextThreads(GROUPS_AT_ONCE, thread_name_prefix="levelling") as threads:
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
            levelled = group.result()
            advance(levelled.pages)
            total += levelled
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
        looked = [
            _Looked(name, pages, {page: versions.get(key) for page, key in ids[name].items()})
            for name, pages in some.items()
        ]
        refused: dict[str, Failure] = {}
        written = 0
        for readings in batched(chain.from_iterable(self._due(collection, document) for document in looked), CHUNK):
            written += len(readings)
            if self.writes:
                refused |= self.projector.pages(readings) if self.in_use else self.projector.put_pages(readings)
        self._document_records(collection, looked)
        records = Counter(
            {PAGES: sum(document.live for document in looked), DOCUMENTS: sum(document.live > 0 for document in looked)}
        )
        return ReconcileResult(sum(map(len, some.values())), written, records, refused)

    def _due(self, collection: str, document: _Looked) -> Iterator[Reading | Tombstone]:
        """Yield the newest readings of those pages of a document whose record is missing, older or one too many."""
        differing = {page for page, revision in document.revisions.items() if document.versions[page] != revision}
        document.live = len(document.revisions) - len(differing)
        if not differing:
            return
        for reading in self._archive.readings(collection, document.name).newest(differing):
            document.tally.add(reading)
            document.live += isinstance(reading, Reading)
            if isinstance(reading, Reading) or document.versions[reading.page_number] is not None:
                yield reading

    def _document_records(self, collection: str, looked: Sequence[_Looked]) -> None:
        """Write the records of documents that are missing, older or one too many."""
        found = self._versions(DOCUMENTS, [document_record_id(collection, document.name) for document in looked])
        versions = {document.name: found.get(document_record_id(collection, document.name)) for document in looked}
        due = [
            document
            for document in looked
            if versions[document.name] != sum(document.revisions.values())
            if document.live or versions[document.name] is not None
        ]
        if self.writes:
            counted = [document for document in due if not self.in_use and document.is_counted]
            self.projector.put_documents(collection, {document.name: document.tally for document in counted})
            self.projector.documents(collection, [document.name for document in due if document not in counted])

    # -- the others

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
def _seldom_collected() -> Iterator[None]:
    """Let the collector of cycles look seldom: going over records again and again, which hold none, took a third of the
    time."""
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _is_known(source: Source) -> bool:
    """Whether there is something to say of a source; one that is known no more has no record."""
    return source.document is not None or source.error is not None

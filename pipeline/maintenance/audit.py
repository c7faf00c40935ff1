"""Compares sources, archive and indices page by page, by name and revision. It repairs nothing.

    archive ──▶ index      a record is missing, older, or exists although its page was deleted
    index ──▶ archive      a record that is unknown to the archive
    source ──▶ archive     a page of a source's document was never read, or its newest reading is damaged, and no batch
                           will read it

Records are compared by names and versions. The newest reading of each page is read once, to find the damaged ones.
Pages of an open queued batch are not reported, because that batch still writes their records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby

from pipeline.archive import Archive, source_id
from pipeline.batches.messages import chunk_id, folder_id
from pipeline.batches.progress import UNENDED
from pipeline.core.iterables import batched
from pipeline.core.models import Batch, Lane, Reading, Source, Tombstone
from pipeline.core.retry import ELASTICSEARCH_WAITS_SECONDS, retry_until_available
from pipeline.pages.revisions import is_overtaken
from pipeline.projection.projector import CHUNK, Projector
from pipeline.projection.records import document_record_id, page_id, source_record_id
from pipeline.search import BATCHES, DOCUMENTS, PAGES, SOURCES
from pipeline.sources import containers_of, is_below, is_path_below


class DifferenceKind(StrEnum):
    """Kind of a difference."""

    RECORD_MISSING = "record_missing"
    """An archived revision has no record."""
    RECORD_BEHIND = "record_behind"
    """The record is of an older revision."""
    RECORD_AHEAD = "record_ahead"
    """The record has a newer revision than the archive. Only reported, because no write of the archive replaces it."""
    RECORD_OF_DELETED = "record_of_deleted"
    """A deleted page or document still has a record."""
    RECORD_UNKNOWN = "record_unknown"
    """The record is unknown to the archive. Only reported, because it may belong to another archive."""
    PAGE_MISSING = "page_missing"
    """Pages of a source's document were never read, and no batch will read them."""
    PAGE_DAMAGED = "page_damaged"
    """The newest reading of a page is damaged, and the one before is shown. No batch will read it again."""
    BATCH_LOST = "batch_lost"
    """The remaining messages of an open batch are missing from the queues."""


#: Differences that are reported and not repaired.
ONLY_REPORTED = frozenset({DifferenceKind.RECORD_AHEAD, DifferenceKind.RECORD_UNKNOWN})
#: Differences by pages that have to be read; all others are of records.
TO_READ = frozenset({DifferenceKind.PAGE_MISSING, DifferenceKind.PAGE_DAMAGED})
#: States of batches that a person or a budget ended. They are not revived.
_GIVEN_UP = ("cancelled", "interrupted", "exhausted")


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `id` is the id of a record, else of a document or batch."""

    kind: DifferenceKind
    what: str
    """`page`, `document`, `source` or `batch`."""
    id: str
    why: str
    collection: str | None = None
    """None if unknown."""
    document: str | None = None
    pages: tuple[int, ...] = ()
    source: str | None = None
    """URL."""
    path: str | None = None
    """The path of `source` for display, or a path of the document."""
    batch: str | None = None
    """The batch that archived it, if known."""


class Batches:
    """A snapshot of the archive's batches, with the sources that each of them contains."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._batches = {
            name: batch for name in archive.batches.names() if (batch := archive.batches[name].newest()) is not None
        }
        self._open = {name: batch for name, batch in self._batches.items() if batch.lane and batch.state in UNENDED}
        self._named: dict[str, frozenset[int]] = {}

    def all(self) -> list[Batch]:
        """Return all batches, oldest first."""
        return list(self._batches.values())

    def lane(self, batch_id: str | None) -> Lane:
        """Return the lane for repairs of a batch's pages."""
        batch = self._batches.get(batch_id or "")
        return (batch.lane if batch else None) or Lane.BACKFILL

    def is_open(self, batch_id: str) -> bool:
        """Whether a batch is queued and open, so that it still writes the records of its pages."""
        return batch_id in self._open

    def leaves_out(self, source: Source) -> bool:
        """Whether the missing pages of a source's document must not be processed, for now or for ever.

        The newest batch with the source decides. If it is open, it may still read them. If a person or a budget ended
        it, it is not revived. Pages are also left out if a deletion followed the start of this batch.
        """
        batch = self._newest_for(source)
        if batch is not None and batch.state in (*UNENDED, *_GIVEN_UP):
            return True
        assert source.document is not None
        seen = batch.deletions_seen if batch else 0
        return is_overtaken(self._archive, source.collection, source.document.id, seen)

    def is_claimed(self, source: Source) -> bool:
        """Whether an open queued batch contains a source."""
        return any(
            batch.collection == source.collection and self._covers(batch, source) for batch in self._open.values()
        )

    def is_queued(self, collection: str, url: str) -> bool:
        """Whether an open queued batch contains a URL, which may not be registered yet."""
        return any(batch.collection == collection and self._reaches(batch, url) for batch in self._open.values())

    def _newest_for(self, source: Source) -> Batch | None:
        for name in sorted(self._batches, reverse=True):
            batch = self._batches[name]
            if name == source.batch:
                break
            if batch.collection == source.collection and self._covers(batch, source):
                return batch
        # The batch may have begun after the snapshot.
        return self._batches.get(source.batch) or self._archive.batches[source.batch].newest()

    def _covers(self, batch: Batch, source: Source) -> bool:
        if batch.id == source.batch:
            return True
        if batch.lane is None:
            return any(is_path_below(source.path, root) for root in batch.sources)
        return self._reaches(batch, source.url)

    def _reaches(self, batch: Batch, url: str) -> bool:
        """Whether a queued batch lists a folder with the URL, or names the URL or a container around it."""
        if batch.roots:
            return any(is_below(url, root) for root in batch.roots)
        names = self._names(batch.id)
        return any(hash(one) in names for one in (url, *containers_of(url)))

    def _names(self, batch_id: str) -> frozenset[int]:
        """Return hashes of the URLs that a batch names. A million URLs would take 100 MB."""
        if batch_id not in self._named:
            journal = self._archive.journal(batch_id)
            identifier = folder_id("", "", "")
            folder = journal.folders.get(identifier)
            numbers = range(len(folder.sources) if folder else 0)
            chunks = (journal.chunk(chunk_id(identifier, number)) for number in numbers)
            self._named[batch_id] = frozenset(hash(entry.url) for chunk in chunks if chunk for entry in chunk.entries)
        return self._named[batch_id]


@dataclass(frozen=True, slots=True)
class Audit:
    """Compares one collection at a time. It holds the names of one archive folder in memory."""

    projector: Projector
    batches: Batches
    advance: Callable[[], None] = field(default=lambda: None)
    """Called for each compared document, source and batch."""

    @property
    def _archive(self) -> Archive:
        return self.projector.archive

    def documents(self, collection: str) -> Iterator[Difference]:
        """Yield the differences of the records of a collection's pages and documents from the archive.

        Raises, as every method here:
            ServiceRefused: Elasticsearch refuses.
            ServiceUnavailable: Elasticsearch became unavailable while records were listed.
            Stopped: the run was cancelled while Elasticsearch was unavailable.
        """
        some: dict[str, dict[int, int]] = {}
        for document in self._archive.documents(collection):
            some[document] = self._archive.readings(collection, document).newest_revisions()
            if sum(map(len, some.values())) >= CHUNK:
                yield from self._documents(collection, some)
                some = {}
        yield from self._documents(collection, some)

    def sources(self, collection: str) -> Iterator[Difference]:
        """Yield the differences of the records of a collection's sources, and the pages that were never read."""
        for names in batched(self._archive.sources(collection).names(), CHUNK):
            sources = [
                source for name in names if (source := self._archive.sources(collection)[name].newest()) is not None
            ]
            versions = self._versions(SOURCES, [source_record_id(source) for source in sources])
            for source in sources:
                self.advance()
                yield from self._source(source, versions.get(source_record_id(source)))
                yield from self._pages_to_read(source)

    def batch_records(self, collections: Iterable[str]) -> Iterator[Difference]:
        """Yield the differences of the records of some collections' batches from the archive."""
        wanted = set(collections)
        for some in batched((batch for batch in self.batches.all() if batch.collection in wanted), CHUNK):
            versions = self._versions(BATCHES, [batch.id for batch in some])
            for batch in some:
                self.advance()
                newest = self._archive.batches[batch.id].newest() or batch
                kind = _difference_of(newest.revision, versions.get(batch.id))
                if kind is not None:
                    why = _why(newest.revision, versions.get(batch.id))
                    yield Difference(kind, "batch", batch.id, why, batch.collection, batch=batch.id)

    def unknown(self, collection: str | None) -> Iterator[Difference]:
        """Yield the records that are unknown to the archive, of one collection or of all."""
        yield from self._unknown_pages(collection)
        yield from self._unknown_records(DOCUMENTS, "document", collection, self._is_document)
        yield from self._unknown_records(SOURCES, "source", collection, self._is_source)
        yield from self._unknown_records(BATCHES, "batch", collection, self._is_batch)

    # -- archive ──▶ index

    def _documents(self, collection: str, some: Mapping[str, Mapping[int, int]]) -> Iterator[Difference]:
        pages = self._versions(PAGES, [page_id(collection, name, page) for name in some for page in some[name]])
        documents = self._versions(DOCUMENTS, [document_record_id(collection, name) for name in some])
        for document, revisions in some.items():
            self.advance()
            versions = {page: pages.get(page_id(collection, document, page)) for page in revisions}
            version = documents.get(document_record_id(collection, document))
            if versions != revisions or version != sum(revisions.values()):
                yield from self._document(collection, document, versions, version)

    def _document(
        self, collection: str, document: str, versions: Mapping[int, int | None], version: int | None
    ) -> Iterator[Difference]:
        """Compare a document with a difference again, because the archive may have changed since the listing."""
        revisions = self._archive.readings(collection, document).newest_revisions()
        for page, revision in sorted(revisions.items()):
            if versions.get(page) != revision:
                yield from self._page(collection, document, page, revision, versions.get(page))
        total = sum(revisions.values())
        if version != total:
            yield from self._document_record(collection, document, total, version)

    def _page(
        self, collection: str, document: str, page: int, revision: int, version: int | None
    ) -> Iterator[Difference]:
        reading = self._archive.readings(collection, document).page(page).revision(revision)
        kind = (
            _difference_of(reading.revision, version)
            if isinstance(reading, Reading)
            else _difference_of_deleted(version)
        )
        if kind is None or (isinstance(reading, Reading) and self.batches.is_open(reading.batch)):
            return
        path, batch = _origin(reading)
        name, why = page_id(collection, document, page), _why(reading.revision, version)
        yield Difference(kind, "page", name, why, collection, document, (page,), path=path, batch=batch)

    def _document_record(self, collection: str, document: str, total: int, version: int | None) -> Iterator[Difference]:
        live: Reading | None = None
        for reading in self._archive.readings(collection, document).newest():
            if isinstance(reading, Reading):
                live = reading
                if self.batches.is_open(reading.batch):
                    return
        kind = _difference_of(total, version) if live else _difference_of_deleted(version)
        if kind is not None:
            path, batch = _origin(live) if live else (None, None)
            name, why = document_record_id(collection, document), _why(total, version)
            yield Difference(kind, "document", name, why, collection, document, path=path, batch=batch)

    def _source(self, source: Source, version: int | None) -> Iterator[Difference]:
        known = source.document is not None or source.error is not None
        kind = _difference_of(source.revision, version) if known else _difference_of_deleted(version)
        if kind is not None and not self.batches.is_open(source.batch):
            yield Difference(
                kind,
                "source",
                source_record_id(source),
                _why(source.revision, version),
                source.collection,
                source=source.url,
                path=source.path,
                batch=source.batch,
            )

    # -- source ──▶ archive

    def _pages_to_read(self, source: Source) -> Iterator[Difference]:
        document = source.document
        if document is None or source.error is not None:  # it ended early
            return
        readings = self._archive.readings(source.collection, document.id)
        read, damaged = readings.newest_revisions(), readings.damaged_pages()
        missing = [page for page in range(1, document.pages + 1) if page not in read]
        if (not missing and not damaged) or self.batches.leaves_out(source):
            return
        causes = ((missing, "were never read"), (damaged, "have a damaged reading"))
        yield Difference(
            DifferenceKind.PAGE_DAMAGED if damaged else DifferenceKind.PAGE_MISSING,
            "page",
            document.id,
            ", ".join(f"{len(pages)} of {document.pages} pages {cause}" for pages, cause in causes if pages),
            source.collection,
            document.id,
            tuple(sorted({*missing, *damaged})),
            source.url,
            source.path,
            source.batch,
        )

    # -- index ──▶ archive

    def _unknown_pages(self, collection: str | None) -> Iterator[Difference]:
        ids = self.projector.index.queries.record_ids(PAGES, collection=collection)
        for (name, document), some in groupby(ids, key=_document_of):
            revisions = self._archive.readings(name, document).newest_revisions()
            for identifier in some:
                page = int(identifier.rpartition(":")[2])
                if page not in revisions:
                    yield Difference(
                        DifferenceKind.RECORD_UNKNOWN,
                        "page",
                        identifier,
                        _UNKNOWN,
                        name,
                        document=document,
                        pages=(page,),
                    )

    def _unknown_records(
        self, alias: str, what: str, collection: str | None, is_known: Callable[[str], bool]
    ) -> Iterator[Difference]:
        for identifier in self.projector.index.queries.record_ids(alias, collection=collection):
            if not is_known(identifier):
                of = None if what == "batch" else identifier.split(":")[0]
                yield Difference(DifferenceKind.RECORD_UNKNOWN, what, identifier, _UNKNOWN, of)

    def _is_document(self, identifier: str) -> bool:
        return bool(self._archive.readings(*identifier.split(":")).newest_revisions())

    def _is_source(self, identifier: str) -> bool:
        collection, source = identifier.split(":")
        return self._archive.sources(collection)[source].newest() is not None

    def _is_batch(self, identifier: str) -> bool:
        return self._archive.batches[identifier].newest() is not None

    def _versions(self, alias: str, ids: list[str]) -> dict[str, int]:
        projector = self.projector
        return retry_until_available(
            lambda: projector.index.versions(alias, ids), projector.cancel, ELASTICSEARCH_WAITS_SECONDS
        )


_UNKNOWN = "it is unknown to the archive"


def source_of(difference: Difference) -> str:
    """Return the id of a difference's source."""
    assert difference.source is not None
    return source_id(difference.source)


def _difference_of(revision: int, version: int | None) -> DifferenceKind | None:
    if version is None:
        return DifferenceKind.RECORD_MISSING
    if version == revision:
        return None
    return DifferenceKind.RECORD_BEHIND if version < revision else DifferenceKind.RECORD_AHEAD


def _difference_of_deleted(version: int | None) -> DifferenceKind | None:
    return None if version is None else DifferenceKind.RECORD_OF_DELETED


def _origin(reading: Reading | Tombstone) -> tuple[str | None, str | None]:
    """Return a path of a page's document, and the batch that archived the page."""
    if isinstance(reading, Tombstone):
        return None, None
    return next(iter(reading.document.path), reading.document.name), reading.batch


def _why(revision: int, version: int | None) -> str:
    indexed = "nothing" if version is None else f"version {version}"
    return f"the archive has revision {revision}, the index has {indexed}"


def _document_of(identifier: str) -> tuple[str, str]:
    collection, document, _ = identifier.split(":")
    return collection, document

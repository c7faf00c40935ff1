"""Lists of what the indices hold: collections with their counts, and documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.core.described import DESCRIBED
from pipeline.core.models import DocumentStatus, PageStatus
from pipeline.search import filters
from pipeline.search.client import Elasticsearch
from pipeline.search.errors import translated
from pipeline.search.names import Names
from pipeline.search.templates import DOCUMENTS, SOURCES

Source = dict[str, Any]

#: Collections per request; further ones are requested until all are known.
BUCKETS = 1000

#: Condition for files that could not become a document.
FAILED = filters.terms(state="failed")
#: Aggregations over the documents of one collection.
FIGURES: Source = {
    "statuses": {"terms": {"field": "status"}},
    "bytes": {"sum": {"field": "document.bytes"}},
    "indexed_at": {"max": {"field": "indexed_at"}},
    **{status.value: {"sum": {"field": f"pages.{status}"}} for status in PageStatus},
}


class DocumentOrder(StrEnum):
    """Order of a list of documents."""

    NAME = "name"
    SIZE = "size"
    PAGES = "pages"
    NEWEST = "newest"


_SORTS: Mapping[DocumentOrder, Source] = {
    DocumentOrder.NAME: {"document.name.raw": "asc"},
    DocumentOrder.SIZE: {"document.bytes": {"order": "desc", "missing": "_last"}},
    DocumentOrder.PAGES: {"pages.total": {"order": "desc", "missing": "_last"}},
    DocumentOrder.NEWEST: {"indexed_at": {"order": "desc", "missing": "_last"}},
}


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """What the indices hold of one collection."""

    __pydantic_config__ = DESCRIBED

    name: str
    """Its name."""
    documents: Mapping[DocumentStatus, int]
    """Number of documents of each status; a status without documents has 0."""
    pages: Mapping[PageStatus, int]
    """Number of pages of each status, as the records of the documents count them."""
    bytes: int
    """Size of the documents, each counted once."""
    failed_files: int
    """Files that could not become a document."""
    indexed_at: str | None
    """When a record of a document was last written, as ISO 8601 in UTC; None without documents."""


@dataclass(frozen=True, slots=True)
class DocumentList:
    """Documents that match, in the order that was asked for."""

    total: int
    """Number of all matching documents; `records` may have fewer."""
    records: tuple[Source, ...]
    after: tuple[Any, ...] | None
    """Where the next ones begin: sort values of the last record; None at the end of the list."""


class Listings:
    """The lists of one installation. Its methods raise as those of `Queries`."""

    def __init__(self, client: Elasticsearch, names: Names) -> None:
        self._client = client
        self._names = names

    def collections(self) -> tuple[CollectionSummary, ...]:
        """Return every collection that has a document or a failed file, by name."""
        failed = {bucket["key"]["name"]: bucket["doc_count"] for bucket in self._by_collection(SOURCES, FAILED, {})}
        of_documents = {bucket["key"]["name"]: bucket for bucket in self._by_collection(DOCUMENTS, [], FIGURES)}
        return tuple(
            _summary(name, of_documents.get(name), failed.get(name, 0)) for name in sorted({*failed, *of_documents})
        )

    def documents(
        self,
        term: str | None = None,
        *,
        collection: str | frozenset[str] | None = None,
        status: DocumentStatus | None = None,
        order: DocumentOrder = DocumentOrder.NAME,
        size: int = 100,
        after: Sequence[Any] | None = None,
    ) -> DocumentList:
        """Return document records.

        Args:
            term: the beginning of an id, or a part of a name or path; None for every document.
            collection: only documents of this collection, or of these.
            status: only documents with this status.
            order: order of the records; documents that are equal in it follow by name and id.
            size: most records to return, at most 10,000.
            after: `after` of the list that ended before these.
        """
        conditions = [*filters.document_matches(term), *filters.terms(collection=collection, status=status)]
        with translated():
            answer = self._client.search(
                index=self._names.alias(DOCUMENTS),
                query={"bool": {"filter": conditions}},
                sort=[_SORTS[order], {"document.name.raw": "asc"}, {"document.id": "asc"}, {"collection": "asc"}],
                size=size,
                search_after=after,
                track_total_hits=True,
                allow_partial_search_results=False,
            )
        hits = answer["hits"]["hits"]
        more = tuple(hits[-1]["sort"]) if len(hits) == size else None
        return DocumentList(answer["hits"]["total"]["value"], tuple(found["_source"] for found in hits), more)

    def _by_collection(self, alias: str, conditions: list[Source], figures: Source) -> Iterator[Source]:
        """Yield one bucket per collection, with these aggregations in it."""
        after: Source = {}
        while True:
            composite: Source = {"size": BUCKETS, "sources": [{"name": {"terms": {"field": "collection"}}}], **after}
            with translated():
                answer = self._client.search(
                    index=self._names.alias(alias),
                    query={"bool": {"filter": conditions}},
                    aggregations={"collections": {"composite": composite, "aggregations": figures}},
                    size=0,
                    allow_partial_search_results=False,
                )
            found = answer["aggregations"]["collections"]
            yield from found["buckets"]
            if "after_key" not in found:
                return
            after = {"after": found["after_key"]}


def _summary(name: str, figures: Source | None, failed_files: int) -> CollectionSummary:
    statuses = {bucket["key"]: bucket["doc_count"] for bucket in figures["statuses"]["buckets"]} if figures else {}
    return CollectionSummary(
        name=name,
        documents={status: statuses.get(status, 0) for status in DocumentStatus},
        pages={status: int(figures[status.value]["value"]) if figures else 0 for status in PageStatus},
        bytes=int(figures["bytes"]["value"]) if figures else 0,
        failed_files=failed_files,
        indexed_at=figures["indexed_at"].get("value_as_string") if figures else None,
    )

"""Queries of the indices: search, lookup, counts, failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.core.models import DocumentStatus, PageStatus
from pipeline.search import filters
from pipeline.search.client import Elasticsearch, NotFoundError
from pipeline.search.errors import translated
from pipeline.search.meaning import QueryVector
from pipeline.search.names import Names
from pipeline.search.query_builder import Filters, Order
from pipeline.search.query_limits import bounded_query
from pipeline.search.results import FailedPage, SearchResult, failed_page, failed_source
from pipeline.search.templates import DOCUMENTS, PAGES, SOURCES
from pipeline.search.words import WordSearch

Source = dict[str, Any]

#: Hits per request of a query that returns every hit.
PAGE_SIZE = 500
KEEP_ALIVE = "2m"
NO_FILTERS = Filters()


class Queries:
    """The queries of one installation.

    Every method raises `ServiceRefused` if nothing is installed yet and `ServiceUnavailable` if the cluster is away.
    New records are found after the next refresh; only `record` needs none.
    """

    def __init__(self, client: Elasticsearch, names: Names) -> None:
        self._client = client
        self._names = names
        self._words = WordSearch(client, names)

    def search(
        self,
        words: str,
        filters: Filters = NO_FILTERS,
        *,
        order: Order = Order.RELEVANCE,
        start: int = 0,
        size: int = 10,
        grouped: bool = False,
        explained: bool = False,
        vector: QueryVector | None = None,
    ) -> SearchResult:
        """Search pages by a query in the language of `query_language`.

        A page must have all words, in any of its fields. Accents, umlauts and capitals do not matter, and words are
        also found in their other forms. If no page has them all, see `WordSearch.search`.

        Args:
            words: user input of a bounded length; no input is a syntax error.
            filters: conditions that every hit meets.
            order: order of the hits.
            start: number of hits to leave out before the first.
            size: hits to return; with `start`, at most 10,000.
            grouped: return the best page of each document, with its next best pages in `more`.
            explained: return the parts of each score.
            vector: of the query; pages that are near it join the hits, where these are ordered by relevance and not
                grouped. A query of numbers, codes and phrases alone is searched by words only.

        Raises:
            SettingsError: it has more words than `query_limits` allows, or than the cluster can search at once, or a
                filter has a value without meaning.
        """
        conditions = filters.clauses()
        return self._words.search(bounded_query(words), conditions, size, order, start, grouped, explained, vector)

    def record(self, id: str) -> Source | None:
        """Return the record of a page as it was written, or None."""
        with translated():
            try:
                return dict(self._client.get(index=self._names.alias(PAGES), id=id)["_source"])
            except NotFoundError as error:
                if error.body.get("found") is False:
                    return None
                raise

    def found(self, words: Mapping[str, str]) -> set[str]:
        """Return the ids of the pages that a search for some of their own words finds.

        Args:
            words: by page id, words of that page.
        """
        return self._words.found(words)

    def find_documents(self, term: str, *, collection: str | None = None, size: int = 20) -> tuple[Source, ...]:
        """Return document records by the beginning of their id or a part of their name or path, sorted by name."""
        query = {"bool": {"filter": [*filters.document_matches(term), *filters.terms(collection=collection)]}}
        return self._first(DOCUMENTS, query, [{"document.name.raw": "asc"}, {"document.id": "asc"}], size)

    def document_pages(self, document_id: str, *, collection: str, page_number: int | None = None) -> Iterator[Source]:
        """Yield the page records of a document, or one of them, by page number."""
        wanted = filters.terms(**{"document.id": document_id, "collection": collection, "page.number": page_number})
        for found in self._all(PAGES, wanted, [{"page.number": "asc"}]):
            yield found["_source"]

    def pages_without_vector(self, model: str, *, collection: str | None = None) -> Iterator[tuple[str, str, int]]:
        """Yield collection, document and number of each page with words and an image, but no vector of this model."""
        conditions = filters.without_vector(model, collection)
        order = [{"collection": "asc"}, {"document.id": "asc"}, {"page.number": "asc"}]
        for found in self._all(PAGES, conditions, order):
            page = found["_source"]
            yield page["collection"], page["document"]["id"], page["page"]["number"]

    def count_without_vector(self, model: str, *, collection: str | None = None) -> int:
        """Return the number of pages that `pages_without_vector` yields."""
        conditions = filters.without_vector(model, collection)
        with translated():
            answer = self._client.count(index=self._names.alias(PAGES), query={"bool": {"filter": conditions}})
        return int(answer["count"])

    def page_counts(self, *, collection: str | None = None) -> dict[PageStatus, int]:
        """Return the number of pages of each status."""
        found = self._counts(PAGES, collection)
        return {status: found.get(status, 0) for status in PageStatus}

    def document_counts(self, *, collection: str | None = None) -> dict[DocumentStatus, int]:
        """Return the number of documents of each status."""
        found = self._counts(DOCUMENTS, collection)
        return {status: found.get(status, 0) for status in DocumentStatus}

    def failures(
        self,
        *,
        collection: str | frozenset[str] | None = None,
        batch: str | None = None,
        error: str | None = None,
        document: str | None = None,
        page_number: int | None = None,
    ) -> Iterator[FailedPage]:
        """Yield every source that could not become a document, by path, then every failed page, by document.

        Args:
            collection: only failures in this collection, or in these.
            batch: only failures in this batch.
            error: only failures of this type.
            document: the beginning of a document's id, or a part of a name or path.
            page_number: only pages of this number, and no source.
        """
        common = filters.terms(**{"collection": collection, "batch": batch, "error.type": error})
        if page_number is None:
            sources = [*common, *filters.terms(state="failed"), *filters.path_contains(document)]
            yield from map(failed_source, self._all(SOURCES, sources, [{"collection": "asc"}, {"url": "asc"}]))
        pages = [*filters.terms(**{"status": PageStatus.FAILED, "page.number": page_number}), *common]
        order = [{"collection": "asc"}, {"document.name.raw": "asc"}, {"document.id": "asc"}, {"page.number": "asc"}]
        yield from map(failed_page, self._all(PAGES, [*pages, *filters.document_matches(document)], order))

    def document_urls(self, document_id: str, *, collection: str) -> Iterator[str]:
        """Yield the URLs of the sources of a document."""
        return self._source_urls(filters.terms(**{"document.id": document_id, "collection": collection}))

    def source_urls_below(self, url: str, *, collection: str) -> Iterator[str]:
        """Yield the URLs of a collection's sources at this URL or below it, in a folder or a container."""
        return self._source_urls([filters.at_or_below(url), *filters.terms(collection=collection)])

    def record_ids(self, alias: str, *, collection: str | None = None) -> Iterator[str]:
        """Yield the id of every record under an alias. Pages of one document follow one another."""
        order = (
            [{"collection": "asc"}, {"document.id": "asc"}, {"page.number": "asc"}]
            if alias == PAGES
            else ["_shard_doc"]
        )
        for found in self._all(alias, filters.terms(collection=collection), order, fields=False):
            yield str(found["_id"])

    def _source_urls(self, conditions: list[Source]) -> Iterator[str]:
        for found in self._all(SOURCES, conditions, [{"url": "asc"}]):
            yield str(found["_source"]["url"])

    def _first(self, alias: str, query: Source, sort: list[Source], size: int) -> tuple[Source, ...]:
        with translated():
            answer = self._client.search(
                index=self._names.alias(alias), query=query, sort=sort, size=size, allow_partial_search_results=False
            )
        return tuple(found["_source"] for found in answer["hits"]["hits"])

    def _counts(self, alias: str, collection: str | None) -> dict[str, int]:
        with translated():
            answer = self._client.search(
                index=self._names.alias(alias),
                query={"bool": {"filter": filters.terms(collection=collection)}},
                aggregations={"statuses": {"terms": {"field": "status"}}},
                size=0,
                allow_partial_search_results=False,
            )
        return {bucket["key"]: bucket["doc_count"] for bucket in answer["aggregations"]["statuses"]["buckets"]}

    def _all(
        self, alias: str, conditions: list[Source], sort: Sequence[Source | str], *, fields: bool = True
    ) -> Iterator[Source]:
        """Yield every matching hit from a point in time, `PAGE_SIZE` hits per request. `fields`: with its record.

        The server breaks ties by `_shard_doc`, so no hit is skipped or returned twice between two requests.
        """
        with translated():
            pit = self._client.open_point_in_time(
                index=self._names.alias(alias), keep_alive=KEEP_ALIVE, allow_partial_search_results=False
            )["id"]
        try:
            after = None
            while True:
                with translated():
                    answer = self._client.search(
                        pit={"id": pit, "keep_alive": KEEP_ALIVE},
                        query={"bool": {"filter": conditions}},
                        sort=sort,
                        source=fields,
                        size=PAGE_SIZE,
                        search_after=after,
                        track_total_hits=False,
                    )
                pit = answer["pit_id"]
                hits = answer["hits"]["hits"]
                yield from hits
                if len(hits) < PAGE_SIZE:
                    return
                after = hits[-1]["sort"]
        finally:
            with translated():
                self._client.options(ignore_status=404).close_point_in_time(id=pit)

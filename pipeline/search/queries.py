"""Questions to the indices. Answers are values; what a page says in them is data, never markup."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

from pipeline.core.errors import ServiceUnavailable
from pipeline.core.models import DocumentStatus, PageStatus
from pipeline.search.errors import SERVICE, reason, translated
from pipeline.search.names import Names
from pipeline.search.templates import DOCUMENTS, PAGES, SOURCES

Source = dict[str, Any]

#: What people say of a page weighs more than the words that happen to stand on it; folder names weigh least.
SEARCH_FIELDS = (
    "description^2",
    "caption^2",
    "text",
    "translation",
    "layer_text",
    "document.title^2",
    "document.name",
    "document.path.words^0.5",
    "i18n.description.*^2",
    "i18n.caption.*^2",
    "i18n.text.*",
    "i18n.translation.*",
    "i18n.title.*^2",
)
#: Share of the words that a page may lack where none has them all, rounded down.
LACKING = "-50%"
#: Fields that hits are highlighted in; a copy under `i18n` is shown as the field that it copies.
HIGHLIGHTED = ("description", "caption", "text", "translation", "layer_text", "document.title", "document.name")
#: Beyond this the server refuses to highlight (`index.highlight.max_analyzed_offset` is 1,000,000).
HIGHLIGHT_MAX_CHARACTERS = 999_999
HIT_FIELDS = ("collection", "document.id", "document.name", "document.title", "page", "status", "description", "image")
#: Hits per request when everything is wanted.
PAGE_SIZE = 500
KEEP_ALIVE = "2m"


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a highlighted fragment."""

    text: str
    is_match: bool


Fragment = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class HitDocument:
    """The document that a hit is a page of."""

    id: str
    name: str
    title: str | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that was found."""

    id: str
    collection: str
    document: HitDocument
    page_number: int
    page_label: str | None
    status: str
    score: float
    description: str | None
    highlights: Mapping[str, tuple[Fragment, ...]]
    """By the name of the field: `text`, `description`, `layer_text`, `document.title`, `document.name`."""
    image_key: str | None
    thumbnail_key: str | None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found, best first."""

    total: int
    hits: tuple[Hit, ...]
    all_words: bool
    """False where no page has all the words, and pages with half of them or more are shown instead."""


@dataclass(frozen=True, slots=True)
class FailedPage:
    """A page or a source that failed."""

    id: str
    collection: str
    document_id: str | None
    path: str
    """A source's path, or the first one of a page's document."""
    url: str | None
    """A source's URL; None for a page, whose document may lie at several places."""
    page_number: int | None
    """None for a source."""
    batch: str
    """The batch that it failed in."""
    type: str
    message: str
    remedy: str
    transient: bool
    attempts: int


class Queries:
    """The questions that `pagesight` asks.

    Every method raises `ServiceRefused` where nothing is installed yet and `ServiceUnavailable` where the cluster is
    away. Records written a moment ago are found after the next refresh; `record` alone needs none.
    """

    def __init__(self, client: Elasticsearch, names: Names) -> None:
        self._client = client
        self._names = names

    def search(
        self, words: str, *, collection: str | None = None, language: str | None = None, size: int = 10
    ) -> SearchResult:
        """Find pages by words, in the syntax of `simple_query_string` (`"a phrase"`, `-without`, `begin*`).

        All words are asked for first, wherever on the page they stand, because one who types three words means all
        three. If no page has them all, pages with at least half of them are better than none.

        Args:
            words: what was typed; no input is a syntax error.
            collection: only pages of this one.
            language: only pages whose text or description is in the language of this tag.
            size: hits to return, at most 10,000.
        """
        filters = [*_terms(collection=collection), *_in_language(language)]
        result = self._search(words, {"default_operator": "and"}, filters, size)
        if result.total or len(words.split()) == 1:
            return result
        some = self._search(words, {"default_operator": "or", "minimum_should_match": LACKING}, filters, size)
        return SearchResult(some.total, some.hits, all_words=not some.total)

    def _search(self, words: str, rule: Source, filters: list[Source], size: int) -> SearchResult:
        marker = secrets.token_hex(8)
        asked = {"simple_query_string": {"query": words, "fields": list(SEARCH_FIELDS), **rule}}
        with translated():
            answer = self._client.search(
                index=self._names.alias(PAGES),
                query={"bool": {"must": asked, "filter": filters}},
                highlight=_highlighting(marker),
                sort=["_score", {"collection": "asc"}, {"document.id": "asc"}, {"page.number": "asc"}],
                source_includes=list(HIT_FIELDS),
                size=size,
                track_total_hits=True,
                allow_partial_search_results=False,
            )
        hits = tuple(_hit(found, marker) for found in answer["hits"]["hits"])
        return SearchResult(answer["hits"]["total"]["value"], hits, all_words=True)

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
        """Return the ids of those pages that `search` would find by some of their words, given by id."""
        if not words:
            return set()
        searches: list[Source] = []
        for key, asked in words.items():
            query = {"simple_query_string": {"query": asked, "fields": list(SEARCH_FIELDS), "default_operator": "and"}}
            one = {"bool": {"must": query, "filter": {"ids": {"values": [key]}}}}
            searches += [{"allow_partial_search_results": False}, {"query": one, "_source": False}]
        with translated():
            answers = self._client.msearch(index=self._names.alias(PAGES), searches=searches)["responses"]
        for answer in answers:
            if error := answer.get("error"):
                raise ServiceUnavailable(SERVICE, f"a search cannot be answered now: {reason(error)}")
        return {hit["_id"] for answer in answers for hit in answer["hits"]["hits"]}

    def find_documents(self, term: str, *, collection: str | None = None, size: int = 20) -> tuple[Source, ...]:
        """Return document records whose id begins with the term, or whose name or path contains it, by name."""
        query = {"bool": {"filter": [*_called(term), *_terms(collection=collection)]}}
        return self._first(DOCUMENTS, query, [{"document.name.raw": "asc"}, {"document.id": "asc"}], size)

    def document_pages(self, document_id: str, *, collection: str, page_number: int | None = None) -> Iterator[Source]:
        """Yield the page records of a document, or one of them, by page number."""
        filters = _terms(**{"document.id": document_id, "collection": collection, "page.number": page_number})
        for hit in self._all(PAGES, {"bool": {"filter": filters}}, [{"page.number": "asc"}]):
            yield hit["_source"]

    def page_counts(self, *, collection: str | None = None) -> dict[PageStatus, int]:
        """Return how many pages there are of each status."""
        found = self._counts(PAGES, collection)
        return {status: found.get(status, 0) for status in PageStatus}

    def document_counts(self, *, collection: str | None = None) -> dict[DocumentStatus, int]:
        """Return how many documents there are of each status."""
        found = self._counts(DOCUMENTS, collection)
        return {status: found.get(status, 0) for status in DocumentStatus}

    def failures(
        self,
        *,
        collection: str | None = None,
        batch: str | None = None,
        error: str | None = None,
        document: str | None = None,
        page_number: int | None = None,
    ) -> Iterator[FailedPage]:
        """Yield every source that could not become a document, by path, then every failed page, by document.

        Args:
            collection: only those of this one.
            batch: only what failed in this one.
            error: only failures of this type.
            document: the beginning of a document's id, or a part of a name or path.
            page_number: only pages of this number; no source then.
        """
        filters = _terms(**{"collection": collection, "batch": batch, "error.type": error})
        if page_number is None:
            sources = [*filters, *_terms(state="failed"), *_at_path(document)]
            for hit in self._all(SOURCES, {"bool": {"filter": sources}}, [{"collection": "asc"}, {"url": "asc"}]):
                yield _failed_source(hit)
        pages = [*filters, *_terms(**{"status": PageStatus.FAILED, "page.number": page_number}), *_called(document)]
        order = [{"collection": "asc"}, {"document.name.raw": "asc"}, {"document.id": "asc"}, {"page.number": "asc"}]
        for hit in self._all(PAGES, {"bool": {"filter": pages}}, order):
            yield _failed_page(hit)

    def document_urls(self, document_id: str, *, collection: str) -> Iterator[str]:
        """Yield the URLs of the sources that are this document."""
        filters = _terms(**{"document.id": document_id, "collection": collection})
        for hit in self._all(SOURCES, {"bool": {"filter": filters}}, [{"url": "asc"}]):
            yield str(hit["_source"]["url"])

    def record_ids(self, alias: str, *, collection: str | None = None) -> Iterator[str]:
        """Yield the id of every record under an alias; those of the pages of a document come together."""
        order = (
            [{"collection": "asc"}, {"document.id": "asc"}, {"page.number": "asc"}]
            if alias == PAGES
            else ["_shard_doc"]
        )
        for hit in self._all(alias, {"bool": {"filter": _terms(collection=collection)}}, order, fields=False):
            yield str(hit["_id"])

    def source_urls_below(self, url: str, *, collection: str) -> Iterator[str]:
        """Yield the URLs of a collection's sources that are this one or lie below it, in a folder or a container."""
        inside = [{"prefix": {"url": url.rstrip("/") + "/"}}, {"prefix": {"url": url + "#"}}]
        below = {"bool": {"should": [{"term": {"url": url}}, *inside]}}
        for hit in self._all(SOURCES, {"bool": {"filter": [below, *_terms(collection=collection)]}}, [{"url": "asc"}]):
            yield str(hit["_source"]["url"])

    def _first(self, alias: str, query: Source, sort: list[Source], size: int) -> tuple[Source, ...]:
        with translated():
            answer = self._client.search(
                index=self._names.alias(alias), query=query, sort=sort, size=size, allow_partial_search_results=False
            )
        return tuple(hit["_source"] for hit in answer["hits"]["hits"])

    def _counts(self, alias: str, collection: str | None) -> dict[str, int]:
        with translated():
            answer = self._client.search(
                index=self._names.alias(alias),
                query={"bool": {"filter": _terms(collection=collection)}},
                aggregations={"statuses": {"terms": {"field": "status"}}},
                size=0,
                allow_partial_search_results=False,
            )
        return {bucket["key"]: bucket["doc_count"] for bucket in answer["aggregations"]["statuses"]["buckets"]}

    def _all(self, alias: str, query: Source, sort: Sequence[Source | str], *, fields: bool = True) -> Iterator[Source]:
        """Yield every hit, as of one moment: a point in time, `PAGE_SIZE` hits a request. `fields`: with its record.

        The server breaks ties by `_shard_doc`, so that no hit is skipped or given twice between two requests.
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
                        query=query,
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


def _terms(**wanted: Any) -> list[Source]:
    return [{"term": {field: value}} for field, value in wanted.items() if value is not None]


def _called(term: str | None) -> list[Source]:
    """Match pages and documents by the beginning of a document's id, or a part of its name or path."""
    if term is None:
        return []
    ways = [
        {"prefix": {"document.id": term.lower()}},
        {"wildcard": {"document.name.raw": _part(term)}},
        {"wildcard": {"document.path": _part(term)}},
    ]
    return [{"bool": {"should": ways, "minimum_should_match": 1}}]


def _at_path(term: str | None) -> list[Source]:
    """Match sources, which have no document's name, by a part of their path."""
    return [] if term is None else [{"wildcard": {"path": _part(term)}}]


def _part(term: str) -> Source:
    return {"value": f"*{_literally(term)}*", "case_insensitive": True}


def _in_language(language: str | None) -> list[Source]:
    either = [*_terms(**{"language.text": language}), *_terms(**{"language.description": language})]
    return [{"bool": {"should": either, "minimum_should_match": 1}}] if either else []


def _literally(term: str) -> str:
    """Take their meaning from the characters that a wildcard query knows."""
    return "".join("\\" + character if character in "*?\\" else character for character in term)


def _highlighting(marker: str) -> Source:
    """Ask for fragments with matches between marks that no page can know, since they are made up for this request."""
    fields = [*HIGHLIGHTED, "i18n.*"]
    return {
        "pre_tags": [_open(marker)],
        "post_tags": [_close(marker)],
        "fields": {field: {} for field in fields},
        "number_of_fragments": 3,
        "fragment_size": 160,
        "max_analyzed_offset": HIGHLIGHT_MAX_CHARACTERS,
    }


def _open(marker: str) -> str:
    return f"<{marker}>"


def _close(marker: str) -> str:
    return f"</{marker}>"


def _fragment(text: str, marker: str) -> Fragment:
    """Cut a fragment at its marks."""
    plain, *marked = text.split(_open(marker))
    spans = [Span(plain, is_match=False)]
    for piece in marked:
        match, _, rest = piece.partition(_close(marker))
        spans += [Span(match, is_match=True), Span(rest, is_match=False)]
    return tuple(span for span in spans if span.text)


def _highlights(found: Mapping[str, list[str]], marker: str) -> dict[str, tuple[Fragment, ...]]:
    """Return fragments by field; those of the language's own copy replace the neutral ones, since they match more."""
    shown: dict[str, tuple[Fragment, ...]] = {}
    for field in sorted(found, key=lambda name: name.startswith("i18n.")):
        name = field.split(".")[1] if field.startswith("i18n.") else field
        shown["document.title" if name == "title" else name] = tuple(_fragment(text, marker) for text in found[field])
    return shown


def _hit(found: Mapping[str, Any], marker: str) -> Hit:
    source = found["_source"]
    document, page, image = source["document"], source["page"], source.get("image") or {}
    return Hit(
        id=found["_id"],
        collection=source["collection"],
        document=HitDocument(document["id"], document["name"], document.get("title")),
        page_number=page["number"],
        page_label=page.get("label"),
        status=source["status"],
        score=found["_score"],
        description=source.get("description"),
        highlights=_highlights(found.get("highlight", {}), marker),
        image_key=image.get("key"),
        thumbnail_key=image.get("thumbnail_key"),
    )


def _failed_page(hit: Mapping[str, Any]) -> FailedPage:
    source = hit["_source"]
    document = source["document"]
    path = next(iter(document.get("path") or ()), document["name"])
    return _failed(hit["_id"], source, document["id"], path, None, source["page"]["number"])


def _failed_source(hit: Mapping[str, Any]) -> FailedPage:
    source = hit["_source"]
    return _failed(hit["_id"], source, None, source["path"], source["url"], None)


def _failed(
    id: str, source: Source, document_id: str | None, path: str, url: str | None, page_number: int | None
) -> FailedPage:
    error = source["error"]
    return FailedPage(
        id=id,
        collection=source["collection"],
        document_id=document_id,
        path=path,
        url=url,
        page_number=page_number,
        batch=source["batch"],
        type=error["type"],
        message=error["message"],
        remedy=error["remedy"],
        transient=error["transient"],
        attempts=error["attempts"],
    )

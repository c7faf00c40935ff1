"""The search of pages: by words as they are typed, then more and more forgiving, and by meaning; each step is named."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.core.errors import ServiceRefused
from pipeline.search.client import Elasticsearch
from pipeline.search.diagnosis import diagnose
from pipeline.search.errors import translated
from pipeline.search.highlighting import highlighting, highlights
from pipeline.search.meaning import FUSED, NEAREST, VECTOR_FIELD, QueryVector, fused, knn_clause
from pipeline.search.names import Names
from pipeline.search.query_builder import ALL_WORDS, HALF_OF_THEM, Order, clause_of, query_of, simple_query, sort_of
from pipeline.search.query_language import AllOf, parse
from pipeline.search.results import Hit, SearchResult, hit
from pipeline.search.spelling import equal_spellings, forgiving, nearest, words_of
from pipeline.search.templates import PAGES

Source = dict[str, Any]

#: Descriptions and titles weigh more than words that happen to be on the page; folder names weigh least. `joined` has
#: what signs or line ends separate: numbers, codes, hyphenated words.
SEARCH_FIELDS = (
    "description^2",
    "caption^2",
    "text",
    "translation",
    "layer_text",
    "document.title^2",
    "document.name",
    "document.path.words^0.5",
    "*.joined",
)
#: Weights of the copies under `i18n`, which are analysed in the language of a page.
COPIES = {"description": 2, "caption": 2, "text": 1, "translation": 1, "title": 2}
HIT_FIELDS = (
    "collection",
    "document.id",
    "document.name",
    "document.title",
    "document.path",
    "page",
    "status",
    "description",
    "image",
)
#: Most words of a query that are searched one by one, to learn which of them no page has.
MAX_WORDS_FORGIVEN = 12
MAX_SUGGESTIONS = 3
#: Pages of a document that are shown where hits are grouped by document.
PAGES_OF_DOCUMENT = 4
#: Fields whose words are suggested. Their words are spelled as on the page, but for accents and capitals.
SUGGESTED_FROM = ("description", "text", "layer_text", "document.name")


@dataclass(frozen=True, slots=True)
class _Search:
    """What stays the same while a search becomes more forgiving."""

    query: AllOf
    conditions: list[Source]
    fields: Sequence[str]
    size: int
    sort: list[Any]
    start: int
    grouped: bool
    explained: bool


@dataclass(frozen=True, slots=True)
class WordSearch:
    """The search of one installation. Its methods raise as those of `Queries`."""

    client: Elasticsearch
    names: Names

    def search(
        self,
        words: str,
        conditions: list[Source],
        size: int,
        order: Order = Order.RELEVANCE,
        start: int = 0,
        grouped: bool = False,
        explained: bool = False,
        vector: QueryVector | None = None,
    ) -> SearchResult:
        """Return the pages that match a query; failing that, the best that forgiveness finds.

        A word that no page has is searched with mistakes in it. If then no page has all words, the result is pages with
        at least half of them. If there is none, it has suggestions. Phrases, exclusions, fields and conditions always
        hold.
        """
        query = parse(unicodedata.normalize("NFC", words))
        fields, has_vectors = self._fields()
        if vector is not None and not has_vectors:
            if not words.strip():
                return SearchResult(0, (), all_words=True, meaning_error="no page of the index has a vector")
            vector = None
        is_fused = vector is not None and order is Order.RELEVANCE and not grouped and start + size <= FUSED
        if vector is None or not is_fused or (words.strip() and not words_of(query.words)):
            return self._forgiving(_Search(query, conditions, fields, size, sort_of(order), start, grouped, explained))
        if words.strip():
            by_words = self._forgiving(_Search(query, conditions, fields, FUSED, sort_of(order), 0, False, explained))
        else:
            by_words = SearchResult(0, (), all_words=True)
        conditions = [*conditions, *(clause_of(node, fields, equal_spellings) for node in query.required)]
        excluded = [clause_of(node, fields, equal_spellings) for node in query.excluded]
        try:
            near = self._nearest(knn_clause(vector, conditions, excluded))
        except ServiceRefused as error:  # the index has no vectors, or vectors of other dimensions
            return replace(fused(by_words, (), start, size), meaning_error=str(error))
        return fused(by_words, near, start, size)

    def _forgiving(self, search: _Search) -> SearchResult:
        query = search.query
        result = self._pages(search, equal_spellings, ALL_WORDS)
        if result.total or not query.words:
            return result
        unknown = self._unknown(search)
        lenient = partial(forgiving, unknown=unknown)
        if unknown and (found := self._pages(search, lenient, ALL_WORDS)).total:
            return replace(found, corrected=_corrections(unknown, found))
        if len(query.words.split()) > 1 and (found := self._pages(search, lenient, HALF_OF_THEM)).total:
            return replace(found, all_words=False, corrected=_corrections(unknown, found))
        return replace(result, suggestions=self._suggestions(unknown, search))

    def found(self, words: Mapping[str, str]) -> set[str]:
        """Return the ids of the pages that a search for some of their own words finds."""
        fields, _ = self._fields()
        searches = [
            {"must": simple_query(text, fields), "filter": {"ids": {"values": [key]}}} for key, text in words.items()
        ]
        return {found["_id"] for answer in self._each(searches) for found in answer["hits"]["hits"]}

    def _fields(self) -> tuple[list[str], bool]:
        """Return the fields to search, and whether any page has a vector. Copies that no page has are left out."""
        with translated():
            there = self.client.field_caps(
                index=self.names.alias(PAGES), fields=["i18n.*", VECTOR_FIELD], include_empty_fields=False
            )["fields"]
        copies = sorted(name for name in there if name.count(".") == 2)
        fields = [*SEARCH_FIELDS, *(f"{name}^{COPIES[name.split('.')[1]]}" for name in copies)]
        return fields, VECTOR_FIELD in there

    def _nearest(self, knn: Source) -> tuple[Hit, ...]:
        with translated():
            answer = self.client.search(
                index=self.names.alias(PAGES),
                knn=knn,
                source_includes=list(HIT_FIELDS),
                size=NEAREST,
                allow_partial_search_results=False,
            )
        return tuple(hit(found, {}) for found in answer["hits"]["hits"])

    def _pages(self, search: _Search, spell: Callable[[str], str], rule: Source) -> SearchResult:
        marker = secrets.token_hex(8)
        query = query_of(search.query, search.fields, spell, rule)
        with translated():
            answer = self.client.search(
                index=self.names.alias(PAGES),
                query={"bool": query | {"filter": search.conditions}},
                highlight=highlighting(marker),
                sort=search.sort,
                track_scores=True,
                source_includes=list(HIT_FIELDS),
                from_=search.start,
                size=search.size,
                explain=search.explained,
                track_total_hits=True,
                allow_partial_search_results=False,
                **(_grouping(marker, search.sort) if search.grouped else {}),
            )
        hits = tuple(_hit(found, marker) for found in answer["hits"]["hits"])
        documents = answer["aggregations"]["documents"]["value"] if search.grouped else None
        return SearchResult(answer["hits"]["total"]["value"], hits, all_words=True, documents=documents)

    def _unknown(self, search: _Search) -> tuple[str, ...]:
        """Return the words of a query that no page has."""
        words = words_of(search.query.words)
        if not words or len(words) > MAX_WORDS_FORGIVEN:
            return ()
        searches = [
            {"must": simple_query(equal_spellings(word), search.fields), "filter": search.conditions} for word in words
        ]
        answers = self._each(searches)
        return tuple(word for word, answer in zip(words, answers, strict=True) if not answer["hits"]["hits"])

    def _each(self, searches: Iterable[Source]) -> list[Any]:
        """Return the answer to each search for a page. Records are left out."""
        requests: list[Source] = []
        for one in searches:
            body = {"query": {"bool": one}, "_source": False, "size": 1, "track_total_hits": False}
            requests += [{"allow_partial_search_results": False}, body]
        if not requests:
            return []
        with translated():
            answers = self.client.msearch(index=self.names.alias(PAGES), searches=requests)["responses"]
        for answer in answers:
            if error := answer.get("error"):
                raise diagnose(answer["status"], error).error()
        return list(answers)

    def _suggestions(self, unknown: Sequence[str], search: _Search) -> tuple[str, ...]:
        """Return words like the words without a page, which pages that meet the conditions have.

        The server suggests words of all pages, so each is searched: a caller learns no word of a page that it may not
        see.
        """
        if not unknown:
            return ()
        options = {"max_edits": 2, "prefix_length": 0, "min_word_length": 3, "suggest_mode": "missing", "size": 3}
        suggest = {
            f"{word}:{field}": {"text": word, "term": {"field": field, **options}}
            for word in unknown
            for field in SUGGESTED_FROM
        }
        with translated():
            answer = self.client.search(index=self.names.alias(PAGES), suggest=suggest, size=0)["suggest"]
        found = [option for entries in answer.values() for entry in entries for option in entry["options"]]
        best = sorted(found, key=lambda option: (-option["score"], -option["freq"]))
        words = list(dict.fromkeys(option["text"] for option in best))[: 3 * MAX_SUGGESTIONS]
        searches = [{"must": simple_query(word, search.fields), "filter": search.conditions} for word in words]
        answers = self._each(searches)
        there = [word for word, answer in zip(words, answers, strict=True) if answer["hits"]["hits"]]
        return tuple(there[:MAX_SUGGESTIONS])


def _grouping(marker: str, sort: list[Any]) -> Source:
    """Return the part of a request that groups hits by document, with the next best pages of each."""
    pages = {
        "name": "pages",
        "size": PAGES_OF_DOCUMENT,
        "sort": sort,
        "track_scores": True,
        "_source": {"includes": list(HIT_FIELDS)},
        "highlight": highlighting(marker),
    }
    return {
        "collapse": {"field": "document.id", "inner_hits": pages},
        "aggregations": {"documents": {"cardinality": {"field": "document.id"}}},
    }


def _hit(found: Mapping[str, Any], marker: str) -> Hit:
    first = hit(found, highlights(found.get("highlight", {}), marker))
    others = found.get("inner_hits", {}).get("pages", {}).get("hits", {}).get("hits", ())
    more = tuple(hit(one, highlights(one.get("highlight", {}), marker)) for one in others if one["_id"] != first.id)
    return replace(first, more=more)


def _corrections(unknown: Iterable[str], found: SearchResult) -> dict[str, str]:
    """Return the marked words of the hits that are most like the words that no page has."""
    marked = [
        span.text
        for one in found.hits
        for fragments in one.highlights.values()
        for fragment in fragments
        for span in fragment
        if span.is_match
    ]
    near = {word: nearest(word, marked) for word in unknown}
    return {word: other for word, other in near.items() if other is not None}

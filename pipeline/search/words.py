"""The search by words: first as they are typed, then more and more forgiving, and each step is named in the result."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.search.client import Elasticsearch
from pipeline.search.diagnosis import diagnose
from pipeline.search.errors import translated
from pipeline.search.highlighting import highlighting, highlights
from pipeline.search.names import Names
from pipeline.search.results import SearchResult, hit
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
#: Share of the words that a page may lack if no page has them all, rounded down.
LACKING = "-50%"
ALL_WORDS: Source = {"default_operator": "and"}
HALF_OF_THEM: Source = {"default_operator": "or", "minimum_should_match": LACKING}
HIT_FIELDS = ("collection", "document.id", "document.name", "document.title", "page", "status", "description", "image")
#: Most words of a query that are searched one by one, to learn which of them no page has.
MAX_WORDS_FORGIVEN = 12
MAX_SUGGESTIONS = 3
#: Fields whose words are suggested. Their words are spelled as on the page, but for accents and capitals.
SUGGESTED_FROM = ("description", "text", "layer_text", "document.name")


@dataclass(frozen=True, slots=True)
class WordSearch:
    """The search of one installation by words. Its methods raise as those of `Queries`."""

    client: Elasticsearch
    names: Names

    def search(self, words: str, conditions: list[Source], size: int) -> SearchResult:
        """Return the pages with all words of a query; failing that, the best that forgiveness finds.

        A word that no page has is searched with mistakes in it. If then no page has all words, the result is pages with
        at least half of them. If there is none, it has suggestions.
        """
        query, fields = unicodedata.normalize("NFC", words), self._fields()
        result = self._pages(equal_spellings(query), ALL_WORDS, conditions, size, fields)
        if result.total or not query.split():
            return result
        unknown = self._unknown(query, conditions, fields)
        lenient = forgiving(query, unknown)
        if unknown and (found := self._pages(lenient, ALL_WORDS, conditions, size, fields)).total:
            return replace(found, corrected=_corrections(unknown, found))
        if len(query.split()) > 1 and (found := self._pages(lenient, HALF_OF_THEM, conditions, size, fields)).total:
            return replace(found, all_words=False, corrected=_corrections(unknown, found))
        return replace(result, suggestions=self._suggestions(unknown))

    def found(self, words: Mapping[str, str]) -> set[str]:
        """Return the ids of the pages that a search for some of their own words finds."""
        fields = self._fields()
        searches = [
            (_by_words(text, ALL_WORDS, fields) | {"filter": {"ids": {"values": [key]}}}) for key, text in words.items()
        ]
        return {found["_id"] for answer in self._each(searches) for found in answer["hits"]["hits"]}

    def _fields(self) -> list[str]:
        """Return the fields to search: of the copies in languages, those that any page has."""
        with translated():
            there = self.client.field_caps(
                index=self.names.alias(PAGES), fields=["i18n.*"], include_empty_fields=False
            )["fields"]
        copies = sorted(name for name in there if name.count(".") == 2)
        return [*SEARCH_FIELDS, *(f"{name}^{COPIES[name.split('.')[1]]}" for name in copies)]

    def _pages(
        self, words: str, rule: Source, conditions: list[Source], size: int, fields: Sequence[str]
    ) -> SearchResult:
        marker = secrets.token_hex(8)
        with translated():
            answer = self.client.search(
                index=self.names.alias(PAGES),
                query={"bool": _by_words(words, rule, fields) | {"filter": conditions}},
                highlight=highlighting(marker),
                sort=["_score", {"collection": "asc"}, {"document.id": "asc"}, {"page.number": "asc"}],
                source_includes=list(HIT_FIELDS),
                size=size,
                track_total_hits=True,
                allow_partial_search_results=False,
            )
        hits = tuple(hit(found, highlights(found.get("highlight", {}), marker)) for found in answer["hits"]["hits"])
        return SearchResult(answer["hits"]["total"]["value"], hits, all_words=True)

    def _unknown(self, query: str, conditions: list[Source], fields: Sequence[str]) -> tuple[str, ...]:
        """Return the words of a query that no page has."""
        words = words_of(query)
        if not words or len(words) > MAX_WORDS_FORGIVEN:
            return ()
        searches = [_by_words(equal_spellings(word), ALL_WORDS, fields) | {"filter": conditions} for word in words]
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

    def _suggestions(self, unknown: Sequence[str]) -> tuple[str, ...]:
        """Return words of pages that are like those that no page has."""
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
        return tuple(dict.fromkeys(option["text"] for option in best))[:MAX_SUGGESTIONS]


def _by_words(words: str, rule: Source, fields: Sequence[str]) -> Source:
    query = {"query": words, "fields": list(fields), "fuzzy_prefix_length": 1, "fuzzy_max_expansions": 20, **rule}
    return {"must": {"simple_query_string": query}}


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

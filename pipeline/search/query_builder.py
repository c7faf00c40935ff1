"""Queries of Elasticsearch from parsed queries and filters: the one place where a search of pages is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.formats import MediaType
from pipeline.core.models import PageKind, PageStatus
from pipeline.search import filters
from pipeline.search.query_fields import Form, QueryField, find_field
from pipeline.search.query_language import AllOf, AnyOf, FieldTerm, Node, searched_word

Clause = dict[str, Any]
#: Share of the words that a page may lack if no page has them all, rounded down.
LACKING = "-50%"
ALL_WORDS: Clause = {"default_operator": "and"}
HALF_OF_THEM: Clause = {"default_operator": "or", "minimum_should_match": LACKING}


class Order(StrEnum):
    """Order of hits."""

    RELEVANCE = "relevance"
    NEWEST = "newest"
    """Last modified files first."""
    OLDEST = "oldest"
    NAME = "name"
    """By the document's name, then by page."""


_PAGE_ORDER: tuple[Any, ...] = ({"collection": "asc"}, {"document.id": "asc"}, {"page.number": "asc"})
_SORTS: dict[Order, tuple[Any, ...]] = {
    Order.RELEVANCE: ("_score",),
    Order.NEWEST: ({"document.modified": {"order": "desc", "missing": "_last"}},),
    Order.OLDEST: ({"document.modified": {"order": "asc", "missing": "_last"}},),
    Order.NAME: ({"document.name.raw": "asc"},),
}


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions beside the words of a query. None and empty ones are left out."""

    collection: str | frozenset[str] | None = None
    """This collection, or one of these."""
    language: str | None = None
    """BCP 47 tag of a page's text or description."""
    kind: PageKind | None = None
    status: PageStatus | None = None
    type: str | None = None
    """A format such as `pdf`, or a media type."""
    date: str | None = None
    """When the file was last modified: a year, month or day, or a range of them such as `2020..2024-05`."""
    document: str | None = None
    """The beginning of a document's id, or a part of its name or path."""
    suspect: bool | None = None
    """Whether the checks recommend a look at the page."""

    def clauses(self) -> list[Clause]:
        """Return them as filters of Elasticsearch.

        Raises:
            SettingsError: a value has no meaning.
        """
        return [
            *filters.terms(collection=self.collection),
            *filters.in_language(self.language),
            *filters.terms(**{"page.kind": self.kind, "status": self.status, "trust.suspect": self.suspect}),
            *filters.document_matches(self.document),
            *self._named("type", self.type),
            *self._named("date", self.date),
        ]

    def _named(self, name: str, value: str | None) -> list[Clause]:
        if value is None:
            return []
        field = find_field(name)
        assert field is not None
        clause = field.clause(value)
        if clause is None:
            known = f" There are: {', '.join(short_types())}." if field.form is Form.TYPE else ""
            raise SettingsError(f"{name}: {value!r} cannot be used", remedy=f"Write {field.form.value}.{known}")
        return [clause]


def short_types() -> list[str]:
    """Return the short name of every format."""
    return sorted(member.name.lower() for member in MediaType)


def sort_of(order: Order) -> list[Any]:
    """Return the sort of a search: pages that are equal in the order follow by collection, document and number."""
    return [*_SORTS[order], *_PAGE_ORDER]


def query_of(parsed: AllOf, fields: Sequence[str], spell: Callable[[str], str], rule: Clause = ALL_WORDS) -> Clause:
    """Return the body of a `bool` query for a parsed query.

    Args:
        parsed: the query.
        fields: searched for words without a field, with their weights.
        spell: adds other spellings to words.
        rule: whether a page must have all words at the top, or half of them. The rest of the query always holds.
    """
    body: Clause = {"must": [*_words(parsed.words, fields, spell, rule)]}
    body["must"] += [clause_of(node, fields, spell) for node in parsed.required]
    body["must_not"] = [clause_of(node, fields, spell) for node in parsed.excluded]
    return body


def simple_query(words: str, fields: Sequence[str], rule: Clause = ALL_WORDS) -> Clause:
    """Return the clause for words in the syntax of `simple_query_string`."""
    fuzzy = {"fuzzy_prefix_length": 1, "fuzzy_max_expansions": 20}
    return {"simple_query_string": {"query": words, "fields": list(fields), **fuzzy, **rule}}


def _words(words: str, fields: Sequence[str], spell: Callable[[str], str], rule: Clause) -> list[Clause]:
    return [simple_query(spell(words), fields, rule)] if words else []


def clause_of(node: Node, fields: Sequence[str], spell: Callable[[str], str]) -> Clause:
    """Return the clause for a part of a parsed query; see `query_of`."""
    if isinstance(node, FieldTerm):
        return _field_clause(node, spell)
    if isinstance(node, AnyOf):
        return {"bool": {"should": [clause_of(one, fields, spell) for one in node.nodes], "minimum_should_match": 1}}
    return {"bool": query_of(node, fields, spell)}


def _field_clause(term: FieldTerm, spell: Callable[[str], str]) -> Clause:
    field: QueryField = term.field
    if field.form is Form.TEXT:
        words = f'"{searched_word(term.value)}"' if term.is_phrase else spell(searched_word(term.value))
        return simple_query(words, field.paths)
    clause = field.clause(term.value)
    assert clause is not None  # the parser reads other values as words
    return {"bool": {"filter": [clause]}}

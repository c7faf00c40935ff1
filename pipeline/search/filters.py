"""Filters: clauses of the query language that several queries share."""

from __future__ import annotations

from typing import Any

from pipeline.core.models import PageStatus
from pipeline.search.query_limits import bounded_text

Clause = dict[str, Any]
#: Length of a document's id.
ID_CHARACTERS = 64


def terms(**wanted: Any) -> list[Clause]:
    """Match exact values by field: a value, or one of a set. A field whose value is None is left out."""
    return [_term(field, value) for field, value in wanted.items() if value is not None]


def _term(field: str, value: Any) -> Clause:
    return {"terms": {field: sorted(value)}} if isinstance(value, frozenset) else {"term": {field: value}}


def in_language(tag: str | None) -> list[Clause]:
    """Match pages whose text or description is in the language of this tag."""
    either = [*terms(**{"language.text": tag}), *terms(**{"language.description": tag})]
    return [{"bool": {"should": either, "minimum_should_match": 1}}] if either else []


def document_matches(term: str | None) -> list[Clause]:
    """Match pages and documents by the beginning of a document's id, or by a part of its name or path.

    Raises:
        SettingsError: the term is too long.
    """
    if term is None:
        return []
    # Elasticsearch refuses long prefixes.
    by_id: list[Clause] = [{"prefix": {"document.id": term.lower()}}] if len(term) <= ID_CHARACTERS else []
    ways = [
        *by_id,
        {"wildcard": {"document.name.raw": _containing(term)}},
        {"wildcard": {"document.path": _containing(term)}},
    ]
    return [{"bool": {"should": ways, "minimum_should_match": 1}}]


def path_contains(term: str | None) -> list[Clause]:
    """Match sources by a part of their path. Sources have no document name."""
    return [] if term is None else [{"wildcard": {"path": _containing(term)}}]


def at_or_below(url: str) -> Clause:
    """Match the source with this URL, and sources below it in a folder or a container."""
    inside = [{"prefix": {"url": url.rstrip("/") + "/"}}, {"prefix": {"url": url + "#"}}]
    return {"bool": {"should": [{"term": {"url": url}}, *inside]}}


def without_vector(model: str, collection: str | None) -> list[Clause]:
    """Match pages with words and an image that have no vector of this model."""
    words = [{"exists": {"field": "description"}}, {"exists": {"field": "text"}}]
    return [
        {"terms": {"status": [PageStatus.DESCRIBED, PageStatus.TEXT_ONLY]}},
        {"exists": {"field": "image.key"}},
        {"bool": {"should": words, "minimum_should_match": 1}},
        {"bool": {"must_not": {"term": {"embedding.model": model}}}},
        *terms(collection=collection),
    ]


def _containing(term: str) -> Clause:
    return {"value": f"*{_escaped(bounded_text(term))}*", "case_insensitive": True}


def _escaped(term: str) -> str:
    """Escape the wildcard characters of a term."""
    return "".join("\\" + character if character in "*?\\" else character for character in term)

"""Vectors of queries, for the search by meaning."""

from __future__ import annotations

from typing import Any

from pipeline.core.errors import PagesightError, SettingsError
from pipeline.embedding import Embedder
from pipeline.embedding.model import MAX_CHARACTERS, embedded_text
from pipeline.search.meaning import QueryVector
from pipeline.search.query_language import parse, plain_words


def query_vector(embedder: Embedder, words: str) -> QueryVector | None:
    """Return the vector of a query's words and phrases; None without any. Raises as `Embedder.embed_query`.

    Exclusions and fields are conditions, and no part of the meaning.
    """
    text = plain_words(parse(words))[:MAX_CHARACTERS]
    return QueryVector(embedder.model.id, embedder.embed_query(text), embedder.model.least_cosine) if text else None


def try_query_vector(embedder: Embedder | None, words: str) -> tuple[QueryVector | None, str | None]:
    """Return the vector of a query, or None and why there is none. Without a model there is no cause to name."""
    try:
        return (None, None) if embedder is None else (query_vector(embedder, words), None)
    except PagesightError as error:
        return None, str(error)


def page_vector(embedder: Embedder, record: dict[str, Any]) -> QueryVector:
    """Return the vector of a page, by its record, for pages like it. The page itself is left out.

    Raises:
        SettingsError: the page has no words.
        ServiceRefused, ServiceUnavailable: as `Embedder.embed_passages`.
    """
    text = embedded_text(record.get("description"), record.get("text"))
    (vector,) = embedder.embed_passages([text]).vectors if text else (None,)
    if vector is None:
        raise SettingsError("the page has no words to compare", remedy="Name a page with a description or text.")
    page = (record["collection"], record["document"]["id"], record["page"]["number"])
    return QueryVector(embedder.model.id, vector, left_out=page)

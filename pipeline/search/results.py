"""Values that queries return, made from the hits of an answer. Page content in them is data, never markup."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.described import DESCRIBED

#: The part of an explanation for one term: `weight(text:harbour in 3) [PerFieldSimilarity], …`.
_WEIGHT = re.compile(r"weight\(([^:]{1,200}):(.{1,400}?) in \d+\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a highlighted fragment."""

    text: str
    is_match: bool


Fragment = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class HitDocument:
    """The document of a hit."""

    __pydantic_config__ = DESCRIBED

    id: str
    """SHA-256 of its bytes."""
    name: str
    """Name of its file."""
    title: str | None
    """Title in the file."""
    path: tuple[str, ...]
    """Paths of its files."""


@dataclass(frozen=True, slots=True)
class TermScore:
    """A word of the query in a field of a page, and its part of the page's score."""

    __pydantic_config__ = DESCRIBED

    field: str
    """The field."""
    term: str
    """The word, as the index has it."""
    score: float
    """Its part of the score."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that a search found."""

    id: str
    collection: str
    document: HitDocument
    page_number: int
    page_label: str | None
    status: str
    score: float
    description: str | None
    highlights: Mapping[str, tuple[Fragment, ...]]
    """By field name: `text`, `description`, `layer_text`, `document.title`, `document.name`."""
    image_key: str | None
    thumbnail_key: str | None
    explanation: tuple[TermScore, ...] = ()
    """Where it was asked for: the parts of the score, largest first."""
    found_by: str = "words"
    """`words`, `meaning` or `both`."""
    more: tuple[Hit, ...] = ()
    """Where hits are grouped by document: its next best pages."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits of a search, in the order that was asked for."""

    total: int
    """Pages found; `hits` may have fewer."""
    hits: tuple[Hit, ...]
    all_words: bool
    """False if no page has all the words: then the hits are pages with at least half of them."""
    corrected: Mapping[str, str] = field(default_factory=dict)
    """Words that no page has, and the words of the hits that were found instead."""
    by_meaning: int = 0
    """Pages among the found ones that have not the words, but are near the query in meaning."""
    meaning_error: str | None = None
    """Why pages were not searched by meaning, although that was asked for."""
    documents: int | None = None
    """Where hits are grouped: number of their documents, with an error of some per cent above 3,000."""
    suggestions: tuple[str, ...] = ()
    """If nothing was found, words of pages that are like the words of the query."""


@dataclass(frozen=True, slots=True)
class FailedPage:
    """A page or a source that failed."""

    __pydantic_config__ = DESCRIBED

    id: str
    """Id of its record."""
    collection: str
    """Its collection."""
    document_id: str | None
    """Id of the page's document; None for a source."""
    path: str
    """Path of the source, or the first path of the page's document."""
    url: str | None
    """URL of the source. None for a page, whose document may have several sources."""
    page_number: int | None
    """None for a source."""
    batch: str
    """The batch in which it failed."""
    type: str
    """Class of the error, such as `encrypted`."""
    message: str
    """Cause, in one line."""
    remedy: str
    """What helps."""
    transient: bool
    """Whether the next run tries again by itself."""
    attempts: int
    """Number of attempts so far."""


def hit(found: Mapping[str, Any], highlights: Mapping[str, tuple[Fragment, ...]]) -> Hit:
    """Return a hit from the server's form of it."""
    source = found["_source"]
    document, page, image = source["document"], source["page"], source.get("image") or {}
    return Hit(
        id=found["_id"],
        collection=source["collection"],
        document=_hit_document(document),
        page_number=page["number"],
        page_label=page.get("label"),
        status=source["status"],
        score=found["_score"] or 0.0,
        description=source.get("description"),
        highlights=highlights,
        image_key=image.get("key"),
        thumbnail_key=image.get("thumbnail_key"),
        explanation=term_scores(found.get("_explanation")),
    )


def _hit_document(document: Mapping[str, Any]) -> HitDocument:
    paths = tuple(document.get("path") or ())
    return HitDocument(document["id"], document["name"], document.get("title"), paths)


def term_scores(explanation: Mapping[str, Any] | None) -> tuple[TermScore, ...]:
    """Return the weights of single terms in an explanation of Elasticsearch, largest first, each once."""
    found: dict[tuple[str, str], float] = {}
    left = [explanation] if explanation else []
    while left:
        node = left.pop()
        weight = _WEIGHT.match(str(node["description"]))
        if weight is None:
            left += node.get("details", ())
        elif node["value"] > 0:
            found[weight[1], weight[2]] = max(node["value"], found.get((weight[1], weight[2]), 0.0))
    scores = [TermScore(field, term, round(score, 4)) for (field, term), score in found.items()]
    return tuple(sorted(scores, key=lambda one: -one.score))


def failed_page(found: Mapping[str, Any]) -> FailedPage:
    """Return a failed page from the hit for its record."""
    source = found["_source"]
    document = source["document"]
    path = next(iter(document.get("path") or ()), document["name"])
    return _failed(found["_id"], source, document["id"], path, None, source["page"]["number"])


def failed_source(found: Mapping[str, Any]) -> FailedPage:
    """Return a failed source from the hit for its record."""
    source = found["_source"]
    return _failed(found["_id"], source, None, source["path"], source["url"], None)


def _failed(
    id: str, source: Mapping[str, Any], document_id: str | None, path: str, url: str | None, page_number: int | None
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

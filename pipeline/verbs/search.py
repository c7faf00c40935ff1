"""The answer to a search, as commands print it and the API serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.core.described import DESCRIBED
from pipeline.core.languages import base
from pipeline.search import HitDocument, SearchResult, TermScore
from pipeline.search.results import Hit

if TYPE_CHECKING:
    from pipeline.archive import Archive
    from pipeline.search.index import Index


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a passage. Marks inside one string could be confused with page text."""

    __pydantic_config__ = DESCRIBED

    text: str
    """Text of the page, which is data and never markup."""
    match: bool
    """Whether it matches the query."""


@dataclass(frozen=True, slots=True)
class PageHit:
    """A page that was found."""

    __pydantic_config__ = DESCRIBED

    id: str
    """Id of its record."""
    collection: str
    """Its collection."""
    document: HitDocument
    """Its document."""
    page: int
    """Its number, from 1."""
    label: str | None
    """The number that is printed on it, such as `iv`."""
    status: str
    """`described`, `text_only`, `blank` or `failed`."""
    score: float
    """Comparable within one answer only."""
    found_by: str
    """`words`, `meaning` or `both`."""
    description: str | None
    """The model's description."""
    highlights: Mapping[str, tuple[tuple[Piece, ...], ...]]
    """Passages with matches, by field."""
    image: str | None
    """Location of the page image in the archive."""
    address: str
    """Address of the page in `pagesight serve`."""
    explanation: tuple[TermScore, ...]
    """Parts of the score, where they were asked for."""
    more_pages: tuple[PageHit, ...]
    """The next best pages of its document, where hits are grouped by document."""


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Pages that were found, and how."""

    __pydantic_config__ = DESCRIBED

    total: int
    """Pages found; `hits` may have fewer."""
    documents: int | None
    """Number of their documents, where hits are grouped."""
    all_words: bool
    """False if no page has all the words: then the hits have at least half of them."""
    corrected: Mapping[str, str]
    """Words that no page has, and the words of the hits that were found instead."""
    suggestions: tuple[str, ...]
    """If nothing was found, words of pages that are like the words of the query."""
    exact_words_only: bool
    """Whether the index does not analyse the language that was asked for."""
    by_meaning: int
    """Pages among the found ones that were found by meaning alone."""
    meaning_error: str | None
    """Why pages were searched by words only, although a model for vectors is configured."""
    hits: tuple[PageHit, ...]
    """In the order that was asked for."""


def finds_exact_words_only(index: Index, language: str | None) -> bool:
    """Whether the live index does not analyse a language, given as a BCP 47 tag."""
    languages = index.search_languages.live() if language else None
    return bool(language and languages and base(language) not in languages.analysed)


def search_answer(
    found: SearchResult,
    archive: Archive,
    address: Callable[[Hit], str],
    *,
    exact_words_only: bool = False,
    meaning_error: str | None = None,
) -> SearchAnswer:
    """Return the answer for a result.

    Args:
        found: the result.
        archive: says where images are stored.
        address: returns the address of a hit's page.
        exact_words_only: whether the index does not analyse the language that was asked for.
        meaning_error: why the query has no vector.
    """
    return SearchAnswer(
        total=found.total,
        documents=found.documents,
        all_words=found.all_words,
        corrected=found.corrected,
        suggestions=found.suggestions,
        exact_words_only=exact_words_only,
        by_meaning=found.by_meaning,
        meaning_error=found.meaning_error or meaning_error,
        hits=tuple(_page_hit(hit, archive, address) for hit in found.hits),
    )


def _page_hit(hit: Hit, archive: Archive, address: Callable[[Hit], str]) -> PageHit:
    return PageHit(
        id=hit.id,
        collection=hit.collection,
        document=hit.document,
        page=hit.page_number,
        label=hit.page_label,
        status=hit.status,
        score=hit.score,
        found_by=hit.found_by,
        description=hit.description,
        highlights={
            field: tuple(tuple(Piece(span.text, span.is_match) for span in fragment) for fragment in fragments)
            for field, fragments in hit.highlights.items()
        },
        image=archive.images.location(hit.image_key) if hit.image_key else None,
        address=address(hit),
        explanation=hit.explanation,
        more_pages=tuple(_page_hit(other, archive, address) for other in hit.more),
    )

"""The search by meaning: pages whose vectors are nearest to that of a query, and its fusion with the search by words.

Hits of both searches are fused by reciprocal rank (Cormack, Clarke and Büttcher, SIGIR 2009): a page scores
1 / (60 + rank) in each list. A page that has all words of the query as they were typed counts double, so that no page
is above it by its meaning alone; one that has half of them counts half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.search.results import Hit, SearchResult

Clause = dict[str, Any]
VECTOR_FIELD = "embedding.words"
#: Constant of reciprocal rank fusion, as in its paper.
RANK_CONSTANT = 60
#: Pages by meaning that join a result.
NEAREST = 30
#: Candidates per shard, of which the nearest are chosen. Elasticsearch advises several times `k`.
CANDIDATES = 200
#: Hits up to which both searches are fused. Later ones are those by words.
FUSED = 100
#: Weights of the hits by words: with all of them as typed, with other words instead, with half of them.
EXACT_WEIGHT, CORRECTED_WEIGHT, HALF_WEIGHT = 2.0, 1.0, 0.5


@dataclass(frozen=True, slots=True)
class QueryVector:
    """Vector of a query, or of a page that others should be like."""

    model: str
    """Only pages of this model can be compared."""
    values: Sequence[float]
    least: float | None = None
    """Least cosine of a page; None to take the nearest, however far they are."""
    left_out: tuple[str, str, int] | None = None
    """Collection, document and number of a page that is not a hit."""


def knn_clause(vector: QueryVector, conditions: list[Clause], excluded: list[Clause]) -> Clause:
    """Return the `knn` part of a search request. Conditions apply before the nearest pages are chosen."""
    filters = [*conditions, {"term": {"embedding.model": vector.model}}]
    if vector.left_out is not None:
        names = ("collection", "document.id", "page.number")
        page = [{"term": {name: value}} for name, value in zip(names, vector.left_out, strict=True)]
        excluded = [*excluded, {"bool": {"filter": page}}]
    knn: Clause = {
        "field": VECTOR_FIELD,
        "query_vector": list(vector.values),
        "k": NEAREST,
        "num_candidates": CANDIDATES,
        "filter": {"bool": {"filter": filters, "must_not": excluded}},
    }
    return knn if vector.least is None else knn | {"similarity": vector.least}


def fused(words: SearchResult, meaning: Sequence[Hit], start: int, size: int) -> SearchResult:
    """Return the hits of both searches in the order of their fused ranks.

    Args:
        words: hits by words, from the first one on.
        meaning: hits by meaning, nearest first.
        start: hits to leave out.
        size: hits to return.
    """
    weight = _weight(words)
    scores = {hit.id: weight / (RANK_CONSTANT + rank) for rank, hit in enumerate(words.hits, 1)}
    hits = {hit.id: replace(hit, found_by="words") for hit in words.hits}
    for rank, hit in enumerate(meaning, 1):
        scores[hit.id] = scores.get(hit.id, 0.0) + 1 / (RANK_CONSTANT + rank)
        hits[hit.id] = replace(hits[hit.id], found_by="both") if hit.id in hits else replace(hit, found_by="meaning")
    order = sorted(hits, key=lambda key: -scores[key])
    shown = tuple(replace(hits[key], score=scores[key]) for key in order[start : start + size])
    only_by_meaning = sum(hit.found_by == "meaning" for hit in hits.values())
    suggestions = () if hits else words.suggestions
    return replace(
        words, total=words.total + only_by_meaning, hits=shown, by_meaning=only_by_meaning, suggestions=suggestions
    )


def _weight(words: SearchResult) -> float:
    if not words.all_words:
        return HALF_WEIGHT
    return CORRECTED_WEIGHT if words.corrected else EXACT_WEIGHT

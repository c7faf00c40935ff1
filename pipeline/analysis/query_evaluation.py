"""Scores searches against queries with known pages: nDCG@10, recall@10 and MRR, by way of searching and kind of query.

file of queries ─▶ search each, by words and by meaning ─▶ measure with ir-measures ─▶ by way and kind
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import SettingsError
from pipeline.search import Hit
from pipeline.search.meaning import QueryVector
from pipeline.search.query_builder import Filters
from pipeline.search.query_language import parse, plain_words
from pipeline.search.query_limits import MAX_HITS

if TYPE_CHECKING:
    from pipeline.embedding import Embedder
    from pipeline.search.queries import Queries

#: Hits of a query that are scored.
DEPTH = 10
#: Longest line of a file of queries, in characters.
MAX_LINE = 65_536
ALL = "all"
_FORM = '{"query": "harbour dues", "relevant": ["report.pdf:3", "letter.pdf"], "kind": "exact"}'


class KnownQuery(BaseModel):
    """A query, and the pages or documents that answer it."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    query: str = Field(min_length=1)
    relevant: tuple[str, ...] = Field(min_length=1)
    """Names of documents, each with `:PAGE` or, where any of its pages is right, without."""
    kind: str = ALL


@dataclass(frozen=True, slots=True)
class Score:
    """Means over the queries of one kind."""

    way: str
    """`words`, `meaning` or `both`."""
    kind: str
    queries: int
    ndcg: float
    """nDCG of the first ten hits."""
    recall: float
    """Share of the relevant pages among the first ten hits."""
    mrr: float
    """Mean reciprocal rank of the first relevant hit, of ten."""


def read_queries(file: Path) -> list[KnownQuery]:
    """Return the queries of a file of JSON lines.

    Raises:
        SettingsError: the file cannot be read, or a line has another form; the line is named.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}", remedy=f"Each line is JSON: {_FORM}") from None
    found = [_query(file, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise SettingsError(f"{file} has no queries", remedy=f"Each line is JSON: {_FORM}")
    return found


def _query(file: Path, number: int, line: str) -> KnownQuery:
    if len(line) > MAX_LINE:
        raise SettingsError(f"{file}, line {number}: it has more than {MAX_LINE:,} characters", remedy=f"Write {_FORM}")
    try:
        return KnownQuery.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        cause = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
        raise SettingsError(f"{file}, line {number}: {cause}", remedy=f"Write {_FORM}") from None


def unknown_names(queries: Queries, known: Sequence[KnownQuery], collection: str) -> list[str]:
    """Return the names of `relevant` that no page of the collection has: a search could never find them."""
    names = dict.fromkeys(name for one in known for name in one.relevant)
    return [name for name in names if not _exists(queries, name, collection)]


def _exists(queries: Queries, name: str, collection: str) -> bool:
    for document, page in _readings_of_name(name):
        words = "" if page is None else f"page:{page}"
        found = queries.search(words, Filters(collection=collection, document=document), size=MAX_HITS)
        if any(hit.document.name == document for hit in found.hits):
            return True
    return False


def _readings_of_name(name: str) -> list[tuple[str, int | None]]:
    """Return what a name may mean: a page of a document, or a document whose name has a colon."""
    document, colon, page = name.rpartition(":")
    whole: list[tuple[str, int | None]] = [(name, None)]
    return [*whole, (document, int(page))] if colon and document and page.isdecimal() else whole


def score_queries(
    queries: Queries,
    known: Sequence[KnownQuery],
    filters: Filters,
    embedder: Embedder | None,
    advance: Callable[[], None],
) -> list[Score]:
    """Return the scores of each way of searching that is available, for all queries and for each kind.

    Raises:
        SettingsError: ir-measures is not installed, or no page has a vector although a model for them is available.
        ServiceRefused, ServiceUnavailable: the cluster or the model for vectors fails.
    """
    measure = _measures()
    ranked: dict[str, list[list[str]]] = defaultdict(list)
    for one in known:
        for way, hits in _ways(queries, one.query, filters, embedder):
            ranked[way].append(_keys(hits, one.relevant))
        advance()
    kinds = sorted({one.kind for one in known} - {ALL})
    return [
        _score(measure, way, kind, [pair for pair in zip(known, found, strict=True) if kind in (ALL, pair[0].kind)])
        for way, found in ranked.items()
        for kind in (*kinds, ALL)
    ]


def _ways(
    queries: Queries, words: str, filters: Filters, embedder: Embedder | None
) -> Iterator[tuple[str, Sequence[Hit]]]:
    """Yield the hits of each way of searching."""
    yield "words", queries.search(words, filters, size=DEPTH).hits
    if embedder is not None:
        text = plain_words(parse(words)) or words
        vector = QueryVector(embedder.model.id, embedder.embed_query(text), embedder.model.least_cosine)
        meaning = queries.search("", filters, size=DEPTH, vector=vector)
        if meaning.meaning_error is not None:
            raise SettingsError(
                f"searches by meaning cannot be scored: {meaning.meaning_error}",
                remedy="Run `pagesight embed`, or set PAGESIGHT_EMBED_URL=none to score searches by words only.",
            )
        yield "meaning", meaning.hits
        yield "both", queries.search(words, filters, size=DEPTH, vector=vector).hits


def _keys(hits: Sequence[Hit], relevant: Sequence[str]) -> list[str]:
    """Return the hits by the names that the query uses, each once: a document that is right is found once."""
    found: list[str] = []
    for hit in hits:
        names = (f"{hit.document.name}:{hit.page_number}", hit.document.name)
        wanted = [name for name in names if name in relevant and name not in found]
        found.append(wanted[0] if wanted else hit.id)
    return found


Measure = Callable[[list[tuple[KnownQuery, list[str]]]], tuple[float, float, float]]


def _measures() -> Measure:
    try:
        import ir_measures
        from ir_measures import RR, Qrel, R, ScoredDoc, nDCG
    except ImportError:
        raise SettingsError(
            "scoring searches needs the package ir-measures", remedy="Run `pip install 'pagesight[evaluate]'`."
        ) from None
    wanted = (nDCG @ DEPTH, R @ DEPTH, RR @ DEPTH)

    def measure(pairs: list[tuple[KnownQuery, list[str]]]) -> tuple[float, float, float]:
        qrels = [Qrel(str(at), name, 1) for at, (one, _) in enumerate(pairs) for name in one.relevant]
        run = [
            ScoredDoc(str(at), key, float(DEPTH - rank))
            for at, (_, keys) in enumerate(pairs)
            for rank, key in enumerate(keys)
        ]
        found = ir_measures.calc_aggregate(wanted, qrels, run)
        return found[wanted[0]], found[wanted[1]], found[wanted[2]]

    return measure


def _score(measure: Measure, way: str, kind: str, pairs: list[tuple[KnownQuery, list[str]]]) -> Score:
    ndcg, recall, mrr = measure(pairs)
    return Score(way, kind, len(pairs), round(ndcg, 4), round(recall, 4), round(mrr, 4))

"""Searches in other words and other languages: which of the first ten hits are right, by words, by meaning, by both."""

from __future__ import annotations

from collections.abc import Iterator

from common import Row, node
from known_meanings import paraphrases

from pipeline.core.retry import CancelToken
from pipeline.embedding.local import LocalEmbedder
from pipeline.search import PAGES
from pipeline.search.index import Index
from pipeline.search.meaning import QueryVector
from support import known_items
from support.page_records import page_write

HITS = 10


def rows() -> Iterator[Row]:
    embedder = LocalEmbedder()
    with node() as url, Index(url) as index:
        index.install()
        pages = known_items.records(index.languages)
        index.vectors.require(embedder.model.dimensions)
        vectors = embedder.embed_passages([page["text"] for page in pages]).vectors
        for page, vector in zip(pages, vectors, strict=True):
            page["embedding"] = {"model": embedder.model.id, "words": list(vector or ())}
        index.write(map(page_write, pages), CancelToken())
        index.refresh(PAGES)
        for half, aside in (("", False), (", kept aside", True)):
            for way in ("words", "meaning", "both"):
                yield _row(index, embedder, way, f"paraphrases in other languages{half}", paraphrases(aside))
        for way in ("words", "both"):
            exact = [query for query in known_items.queries() if query.kind == "exact"]
            found = [_rank(index, embedder, way, query) for query in exact]
            mrr = sum(1 / rank for rank in found if rank) / len(found)
            yield Row(f"{way}: exact, {len(exact)} queries", "MRR@10", f"{mrr:.3f}", "both ≥ words")


def _row(index: Index, embedder: LocalEmbedder, way: str, what: str, asked: list[tuple[str, str, int]]) -> Row:
    shares = []
    for tag, words, number in asked:
        hits = _search(index, embedder, way, f"{words} -language:{tag}", words)
        right = [hit for hit in hits if hit.rpartition("-")[2] == str(number)]
        shares.append(len(right) / HITS)
    found = sum(share > 0 for share in shares) / len(shares)
    words = f"{way}: {what}, {len(asked)} queries"
    return Row(words, "precision@10 · found", f"{sum(shares) / len(shares):.3f} · {found:.3f}", "found ≥ 0.85 by both")


def _search(index: Index, embedder: LocalEmbedder, way: str, query: str, words: str) -> list[str]:
    vector = QueryVector(embedder.model.id, embedder.embed_query(words), embedder.model.least_cosine)
    search = index.queries.search
    if way == "words":
        return [hit.document.id for hit in search(query, size=HITS).hits]
    if way == "both":
        return [hit.document.id for hit in search(query, size=HITS, vector=vector).hits]
    own = query.rpartition("-language:")[2]
    near = [hit.document.id for hit in search("", size=3 * HITS, vector=vector).hits]
    return [found for found in near if found.rpartition("-")[0] != own][:HITS]


def _rank(index: Index, embedder: LocalEmbedder, way: str, query: known_items.Query) -> int | None:
    hits = _search(index, embedder, way, query.words, query.words)
    return hits.index(query.document) + 1 if query.document in hits else None

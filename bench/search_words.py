"""Which queries find their page, by kind of query: recall@10 of the known items on a local node as users get it."""

from __future__ import annotations

import collections
from collections.abc import Iterator

from common import Row, node

from pipeline.core.retry import CancelToken
from pipeline.search import PAGES
from pipeline.search.index import Index
from support import known_items
from support.page_records import page_write

HITS = 10
#: Least recall by kind of query.
AIMS = collections.defaultdict(lambda: 0.97, {"misspelt": 0.9, "OCR-confused": 0.9})


def rows() -> Iterator[Row]:
    with node() as url, Index(url) as index:
        index.install()
        pages = known_items.records(index.languages)
        index.write(map(page_write, pages), CancelToken())
        index.refresh(PAGES)
        found: dict[str, list[bool]] = collections.defaultdict(list)
        for query in known_items.queries():
            found[query.kind].append(is_found(index, query))
    for kind, hits in sorted(found.items()):
        recall = sum(hits) / len(hits)
        yield Row(
            f"words: {kind}, {len(hits)} queries, {len(pages)} pages", "recall@10", f"{recall:.3f}", f"≥ {AIMS[kind]}"
        )


def is_found(index: Index, query: known_items.Query) -> bool:
    """Whether the page of a query is among the best hits."""
    hits = index.queries.search(query.words, size=HITS).hits
    return query.document in {hit.document.id for hit in hits}

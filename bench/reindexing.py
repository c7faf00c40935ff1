"""`pagesight reindex` against a bare `streaming_bulk` of the same records: new indices, filled, compared and shown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from common import Row, node, workplace
from elasticsearch import Elasticsearch
from elasticsearch.helpers import streaming_bulk

from pipeline.core.models import Reading
from pipeline.core.retry import CancelToken
from pipeline.core.url_signing import Signer
from pipeline.projection.projector import Projector
from pipeline.projection.rebuild import reindex
from pipeline.projection.records import page_id, page_record
from pipeline.search import PAGES_WRITE
from pipeline.search.index import Index
from support.page_archives import COLLECTION, PAGES, begin, fill
from support.readings import full_reading

DOCUMENTS = 1000
#: Of a page's text. Real pages have about 300; the fewer, the more of the time is ours and the less the server's.
WORDS = (60, 300)
ROUNDS = 5


@dataclass
class Spent:
    """What all pages took: seconds by the clock, and of the processor in this process."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


def rows() -> Iterator[Row]:
    with node() as url, Index(url) as index, Elasticsearch(url) as bare:
        for words in WORDS:
            with workplace() as home:
                archive = begin(home / "archive")
                fill(archive, DOCUMENTS, words)
                yield row(words, Projector(archive, index, CancelToken(), Signer()), bare)


def row(words: int, projector: Projector, bare: Elasticsearch) -> Row:
    mine, theirs = [], []
    projector.index.drop()
    reindex(projector)
    for _ in range(ROUNDS):
        with spent() as one:
            reindex(projector, keep=0)
        mine.append(one)
        theirs.append(write_bare(bare, projector))
    ratios = [other.seconds / one.seconds for one, other in zip(mine, theirs, strict=True)]
    pages = DOCUMENTS * PAGES
    return Row(
        f"re-indexing {pages} pages of {words} words in {DOCUMENTS} documents, differences, comparison and swap among "
        "it, against a bare streaming_bulk of the same records from memory",
        f"{pages / statistics.median(one.seconds for one in mine):.0f} pages/s; processor seconds a 1,000 pages: "
        f"{per_thousand(mine):.2f}, bare {per_thousand(theirs):.2f}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        ">= 0.9",
    )


def per_thousand(spent: list[Spent]) -> float:
    return statistics.median(one.cpu_seconds for one in spent) / (DOCUMENTS * PAGES / 1000)


@contextmanager
def spent() -> Iterator[Spent]:
    """What the block takes."""
    found, began, cpu_began = Spent(), time.monotonic(), time.process_time()
    yield found
    found.seconds, found.cpu_seconds = time.monotonic() - began, time.process_time() - cpu_began


def write_bare(client: Elasticsearch, projector: Projector) -> Spent:
    """What one thread takes to send the records, made before, into an empty index of the same kind."""
    index = projector.index
    index.drop()
    index.install()
    index.require_answers({name: value.kind for name, value in full_reading().values.items()})
    archive = projector.archive
    actions = [
        {
            "_op_type": "index",
            "_index": PAGES_WRITE,
            "_id": page_id(COLLECTION, document, reading.page_number),
            "version": reading.revision,
            "version_type": "external",
            "_source": page_record(reading, index.languages, projector.signer, reading.archived_at),
        }
        for document in archive.documents(COLLECTION)
        for reading in archive.readings(COLLECTION, document).newest()
        if isinstance(reading, Reading)
    ]
    client.indices.put_settings(index=PAGES_WRITE, settings={"index": {"refresh_interval": "-1"}})
    with spent() as found:
        for ok, _ in streaming_bulk(client, actions, chunk_size=500, max_chunk_bytes=8 << 20):
            assert ok
        client.indices.refresh(index=PAGES_WRITE)
    return found

"""`pagesight reindex` against a bare `streaming_bulk` of the same records: new indices, filled, compared and shown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from common import Row, node, workplace
from elasticsearch import Elasticsearch
from elasticsearch.helpers import streaming_bulk

from pipeline.models import Reading
from pipeline.projection import Projector
from pipeline.records import page_id, page_record
from pipeline.reindexing import reindex
from pipeline.retry import Patience
from pipeline.search import PAGES_WRITE, Index
from pipeline.signing import Signer
from support.page_archives import COLLECTION, PAGES, begin, fill
from support.readings import full_reading

DOCUMENTS = 500
ROUNDS = 5


def rows() -> Iterator[Row]:
    with node() as url, Index(url) as index, Elasticsearch(url) as bare, workplace() as home:
        archive = begin(home / "archive")
        fill(archive, DOCUMENTS)
        projector = Projector(archive, index, Patience(), Signer())
        reindex(projector)
        ratios, rates = [], []
        for _ in range(ROUNDS):
            began = time.monotonic()
            reindex(projector, keep=0)
            mine = time.monotonic() - began
            rates.append(DOCUMENTS * PAGES / mine)
            ratios.append(write_bare(bare, projector) / mine)
    yield Row(
        f"re-indexing {DOCUMENTS * PAGES} pages of 60 words in {DOCUMENTS} documents, differences, comparison and swap "
        "among it, against a bare streaming_bulk of the same records from memory",
        f"{statistics.median(rates):.0f} pages/s",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        ">= 0.9",
    )


def write_bare(client: Elasticsearch, projector: Projector) -> float:
    """Seconds that one thread takes to send the records, made before, into an empty index of the same kind."""
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
        for reading in archive.readings(COLLECTION, document)
        if isinstance(reading, Reading)
    ]
    client.indices.put_settings(index=PAGES_WRITE, settings={"index": {"refresh_interval": "-1"}})
    began = time.monotonic()
    for ok, _ in streaming_bulk(client, actions, chunk_size=500, max_chunk_bytes=8 << 20):
        assert ok
    client.indices.refresh(index=PAGES_WRITE)
    return time.monotonic() - began

"""The record writer and the projection from the archive against a bare `streaming_bulk` of the same records."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from common import Row, node, workplace
from elasticsearch import Elasticsearch
from elasticsearch.helpers import streaming_bulk

from pipeline.archive import Archive, Store
from pipeline.core.models import Reading
from pipeline.core.retry import CancelToken
from pipeline.core.url_signing import Signer
from pipeline.projection.projector import Projector
from pipeline.projection.records import page_id, page_record
from pipeline.search import PAGES_WRITE, Write
from pipeline.search.index import Index
from support.readings import NOW, full_reading

RECORDS = 5000
ROUNDS = 5
TEXT = " ".join(f"word{number % 977}" for number in range(300))


def rows() -> Iterator[Row]:
    with node() as url, Index(url) as index, Elasticsearch(url) as bare, workplace() as home:
        archive = Archive(Store(str(home / "archive")))
        readings = list(make_readings(archive))
        index.install()
        rates: dict[str, list[float]] = {"bare": [], "writer": [], "archive": []}
        for _ in range(ROUNDS):
            for name, rate in rates.items():
                index.drop()
                index.install()
                began = time.monotonic()
                if name == "bare":
                    write_bare(bare, readings, index)
                elif name == "writer":
                    written = index.write(writes(readings, index), CancelToken())
                    assert written.written == RECORDS
                else:
                    Projector(archive, index, CancelToken(), Signer()).pages(
                        archive.readings("works", "d" * 64).newest()
                    )
                rate.append(RECORDS / (time.monotonic() - began))
    for name, what in (
        ("writer", "the writer, records from memory"),
        ("archive", "the projection, records from the archive"),
    ):
        ratio = statistics.median(mine / other for mine, other in zip(rates[name], rates["bare"], strict=True))
        yield Row(
            f"{what}, {RECORDS} pages of 300 words, against bare streaming_bulk",
            f"{statistics.median(rates[name]):.0f} records/s",
            f"{ratio:.2f}",
            ">= 0.9" if name == "writer" else "",
        )


def make_readings(archive: Archive) -> Iterator[Reading]:
    # The index of this benchmark is installed without a profile, so it has no field for answers of one.
    update = {"text": TEXT, "revision": 1, "archived_at": NOW, "values": {}}
    model = full_reading().model_copy(update=update)
    for number in range(1, RECORDS + 1):
        reading = model.model_copy(update={"page_number": number})
        archive.readings("works", "d" * 64).page(number).create(reading)
        yield reading


def writes(readings: list[Reading], index: Index) -> Iterator[Write]:
    for reading in readings:
        key = page_id(reading.collection, reading.document.id, reading.page_number)
        yield Write(PAGES_WRITE, key, reading.revision, page_record(reading, index.languages, Signer(), NOW))


def write_bare(client: Elasticsearch, readings: list[Reading], index: Index) -> None:
    actions = (
        {
            "_op_type": "index",
            "_index": PAGES_WRITE,
            "_id": write.id,
            "version": write.version,
            "version_type": "external",
            "_source": write.source,
        }
        for write in writes(readings, index)
    )
    for ok, _ in streaming_bulk(client, actions, chunk_size=500, max_chunk_bytes=8 << 20):
        assert ok

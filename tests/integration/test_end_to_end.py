"""A hundred pages, from files to records: the real command, a real Elasticsearch, the stand-in over real HTTP."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jina_standin.protocol import describe
from pipeline.core.models import Reading
from pipeline.search import BATCHES, DOCUMENTS, PAGES, SOURCES
from pipeline.search.index import Index
from support.pagesight_runs import Ended, Pagesight, make_pdf, make_picture
from support.standin import Standin

MAX_PIXELS = 1_003_520
SUMMARY_KEYS = {
    "batch",
    "collection",
    "language",
    "profile",
    "state",
    "documents",
    "pages",
    "passed_over",
    "descriptions_kept",
    "model_calls",
    "cached_answers",
    "not_climbed",
    "tokens",
    "seconds",
}


def write_a_hundred_pages(folder: Path) -> int:
    """One long PDF, short ones, a TIFF with frames, PNGs and JPEGs; return the number of files."""
    (folder / "letters").mkdir()
    make_pdf(folder / "book.pdf", 60, seed=1)
    for number in range(5):
        make_pdf(folder / "letters" / f"letter-{number}.pdf", 5, seed=10 + number)
    make_picture(folder / "plates.tif", 20, frames=5)
    for number in range(6):
        make_picture(folder / f"plate-{number}.png", 30 + number)
    for number in range(4):
        make_picture(folder / f"photograph-{number}.jpg", 40 + number)
    return 1 + 5 + 1 + 6 + 4


@dataclass(frozen=True, slots=True)
class Hundred:
    """The home in which a hundred pages were indexed, and how that ended."""

    pagesight: Pagesight
    ended: Ended
    requests: list[dict[str, Any]]
    counters: dict[str, Any]
    files: int

    @property
    def standin(self) -> Standin:
        assert self.pagesight.standin is not None
        return self.pagesight.standin


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory, elasticsearch_url: str) -> Iterator[Hundred]:
    with Index(elasticsearch_url) as index:
        index.drop()
    with Standin() as standin:
        pagesight = Pagesight(tmp_path_factory.mktemp("hundred") / "home", elasticsearch_url, standin)
        files = write_a_hundred_pages(pagesight.files)
        ended = pagesight.index()
        yield Hundred(pagesight, ended, standin.requests(), standin.counters(), files)
        pagesight.close()


def test_a_hundred_pages_become_a_hundred_records_with_the_models_own_words(hundred: Hundred):
    assert hundred.ended.code == 0, hundred.ended.stderr
    records = hundred.pagesight.records()
    assert len(records) == 100
    for record in records.values():
        jpeg = hundred.pagesight.archive.images.get(record["image"]["key"])
        assert jpeg is not None
        seen = hashlib.sha256(jpeg).hexdigest()[:8]
        assert record["description"] == describe(seen, ["English"])
        assert record["text"] == f"Stand-in text {seen}"
        assert record["status"] == "described"
        assert record["model"]["name"] == "jina-vlm"
    hundred.pagesight.assert_archive_and_index_agree()
    hundred.pagesight.assert_nothing_left()


def test_every_page_of_every_file_has_its_record(hundred: Hundred):
    pages = Counter(record["document"]["name"] for record in hundred.pagesight.records().values())
    assert pages["book.pdf"] == 60
    assert pages["letter-3.pdf"] == 5
    assert pages["plates.tif"] == 5
    assert pages["plate-0.png"] == pages["photograph-3.jpg"] == 1
    assert len(pages) == hundred.files


def test_the_model_is_asked_as_documented(hundred: Hundred):
    # A system role would have been refused by the stand-in, as by the real endpoint.
    assert hundred.counters["violations"] == {}
    assert hundred.counters["refused"] == {}
    assert hundred.counters["peak_in_flight"] <= 8
    assert len(hundred.requests) == 200
    for request in hundred.requests:
        assert request["width"] * request["height"] <= MAX_PIXELS
        assert request["media_type"] == "image/jpeg"
        assert request["languages"] == ["English"]


def test_the_summary_says_what_was_done(hundred: Hundred):
    summary = hundred.ended.json
    assert set(summary) == SUMMARY_KEYS
    assert summary["state"] == "done"
    assert summary["language"] == "en"
    assert summary["documents"] == {"complete": hundred.files}
    assert summary["pages"] == {"described": 100}
    assert summary["model_calls"] == hundred.counters["answered"] == 200
    assert summary["cached_answers"] == 0
    tokens = [
        reading.model.tokens_in + reading.model.tokens_out
        for reading in hundred.pagesight.newest()
        if isinstance(reading, Reading) and reading.model
    ]
    assert summary["tokens"] == sum(tokens)


def test_a_second_run_asks_nothing_and_changes_no_revision(hundred: Hundred):
    before = hundred.pagesight.records()
    hundred.standin.reset_counters()
    ended = hundred.pagesight.index()
    assert ended.code == 0
    assert ended.json["pages"] == {"described": 100}
    assert ended.json["documents"] == {"complete": hundred.files}
    assert ended.json["model_calls"] == ended.json["tokens"] == 0
    assert hundred.standin.counters()["requests"] == 0
    assert hundred.pagesight.records() == before
    hundred.pagesight.assert_archive_and_index_agree()


def test_a_second_run_writes_again_what_the_index_lost(hundred: Hundred):
    before = hundred.pagesight.records()
    lost = sorted(before)[::9]
    with hundred.pagesight.client() as client:
        # As a minute later: until then the server refuses older versions of what was deleted behind our back.
        client.indices.put_settings(index=PAGES, settings={"index.gc_deletes": "0s"})
        for key in lost:
            client.delete(index=PAGES, id=key)
        client.indices.refresh(index=PAGES)
    assert len(hundred.pagesight.records()) == len(before) - len(lost)
    hundred.standin.reset_counters()
    assert hundred.pagesight.index().code == 0
    assert hundred.standin.counters()["requests"] == 0
    assert _timeless(hundred.pagesight.records()) == _timeless(before)


def test_deleted_indices_are_rebuilt_from_the_archive_alone(hundred: Hundred):
    pagesight = hundred.pagesight
    before = {alias: _timeless(pagesight.records(alias)) for alias in (PAGES, DOCUMENTS, SOURCES, BATCHES)}
    assert len(before[PAGES]) == 100
    with Index(pagesight.url) as index:
        index.drop()
    hundred.standin.reset_counters()
    ended = pagesight.run("reindex", "--json")
    assert ended.code == 0, ended.stderr
    assert (ended.json["pages"], ended.json["refused"]) == (100, {})
    assert {alias: _timeless(pagesight.records(alias)) for alias in before} == before
    assert hundred.standin.counters()["requests"] == 0
    pagesight.assert_archive_and_index_agree()


def _timeless(records: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        key: {name: value for name, value in record.items() if name != "indexed_at"} for key, record in records.items()
    }

"""`pagesight index` over the whole corpus: every file ends in records or in a named reason."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import psutil
import pytest

from pipeline.search import SOURCES, Index
from support.corpus import CORPUS, MEDIA_TYPES, WORDS, accepted, manifest
from support.pagesight_runs import Ended, MakePagesight, Pagesight
from support.standin import Standin

#: What the parent may take at most, against a model's endpoint.
PARENT_BYTES = 300_000_000


class Indexed:
    """The corpus after one run."""

    def __init__(self, pagesight: Pagesight) -> None:
        run = pagesight.start_index(CORPUS)
        self.parent_peak_bytes = 0
        while run.going_on:
            self._look(psutil.Process(run.process.pid))
            run.family()
        self.ended: Ended = run.ended()
        self.requests = pagesight.standin.requests() if pagesight.standin else []
        self.failed: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for failure in pagesight.run("failures", "--json").json["failures"]:
            self.failed[failure["path"].removeprefix(f"{CORPUS}/")].append(failure)
        self.pages: dict[str, int] = defaultdict(int)
        for record in pagesight.records().values():
            for path in record["document"]["path"]:
                self.pages[path.removeprefix(f"{CORPUS}/")] += record["status"] != "failed"

    def _look(self, parent: psutil.Process) -> None:
        try:
            self.parent_peak_bytes = max(self.parent_peak_bytes, parent.memory_info().rss)
        except psutil.NoSuchProcess:
            return

    def word(self, file: str) -> str:
        """What became of a file, as the manifest calls it."""
        failures = self.failed[file]
        if not failures:
            return "ok"
        if self.pages[file]:
            return "ok-partial"
        return WORDS.get(failures[0]["type"], failures[0]["type"])


@pytest.fixture
def indexed(
    make_pagesight: MakePagesight, bare_index: Index, elasticsearch_url: str, standin: Standin
) -> tuple[Pagesight, Indexed]:
    manifest()
    pagesight = make_pagesight(elasticsearch_url, standin)
    return pagesight, Indexed(pagesight)


def test_every_file_of_the_corpus_ends_as_it_should(indexed: tuple[Pagesight, Indexed]) -> None:
    pagesight, run = indexed
    entries = manifest()
    ours = [entry for entry in entries if entry["format"] in MEDIA_TYPES]
    others = [entry for entry in entries if entry["format"] not in MEDIA_TYPES]

    assert run.ended.code == 1
    wrong = {entry["file"]: (run.word(entry["file"]), accepted(entry)) for entry in ours}
    assert {file: pair for file, pair in wrong.items() if pair[0] not in pair[1]} == {}
    assert {entry["file"]: run.word(entry["file"]) for entry in others if entry["format"] != "empty"} == {
        entry["file"]: "unsupported" for entry in others if entry["format"] != "empty"
    }
    assert {run.word(entry["file"]) for entry in others if entry["format"] == "empty"} == {"empty"}

    # Every file is a source, whatever its name.
    sources = {record["path"] for record in pagesight.records(SOURCES).values()}
    assert {str(CORPUS / entry["file"]) for entry in entries} <= sources
    assert run.word("pdf/enc-R2,V1,U=view,O=view.pdf") == "encrypted"
    assert run.pages["pdf/empty#hash.pdf"] == 1

    # What reached the model is what it takes.
    assert run.requests
    assert max(request["width"] * request["height"] for request in run.requests) <= 1_003_520
    assert run.parent_peak_bytes < PARENT_BYTES
    pagesight.assert_archive_and_index_agree()
    pagesight.assert_nothing_left()

"""`pagesight index` over the whole corpus: every file ends in records or in a named reason."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import psutil
import pytest

from pipeline.search import SOURCES
from pipeline.search.index import Index
from support.corpus import CORPUS, WORDS, accepted, manifest
from support.inspections import assert_agrees
from support.pagesight_runs import Ended, MakePagesight, Pagesight
from support.standin import Standin

#: What the parent may take at most, against a model's endpoint.
PARENT_BYTES = 300_000_000
#: Formats, by the manifest's names, whose files have as many pages on every machine.
COUNTED = frozenset("pdf tiff pptx ppt odp iwork djvu".split())
INDEX_SECONDS = 900.0
POLL_SECONDS = 0.05

pytestmark = pytest.mark.timeout(1800)


class Indexed:
    """The corpus after one run."""

    def __init__(self, pagesight: Pagesight) -> None:
        run = pagesight.start_index(CORPUS)
        self.parent_peak_bytes = 0
        while run.going_on:
            self._look(psutil.Process(run.process.pid))
            run.family()
            time.sleep(POLL_SECONDS)
        self.ended: Ended = run.ended(INDEX_SECONDS)
        self.requests = pagesight.standin.requests() if pagesight.standin else []
        self.failed: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.failures = pagesight.run("failures", "--json").json["failures"]
        for failure in self.failures:
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
    pagesight.set(vlm_again_tokens=0)  # the stand-in does not read what it is shown, and would be asked again
    return pagesight, Indexed(pagesight)


def test_every_file_of_the_corpus_ends_as_it_should(indexed: tuple[Pagesight, Indexed]) -> None:
    pagesight, run = indexed
    entries = manifest()

    assert run.ended.code == 1
    ended = {entry["file"]: (run.word(entry["file"]), accepted(entry)) for entry in entries}
    assert {file: pair for file, pair in ended.items() if pair[0] not in pair[1]} == {}
    # How many pages a text has depends on the fonts of the machine; slides and drawings are as many as they are.
    counted = {
        entry["file"]: entry["pages"]
        for entry in entries
        if entry["pages"] and entry["format"] in COUNTED and entry["ext"] != "pages" and run.word(entry["file"]) == "ok"
    }
    assert {file: run.pages[file] for file in counted} == counted

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

    # All of that could have been told before.
    assert_agrees(pagesight.start("inspect", "--json", CORPUS).ended(INDEX_SECONDS).json, run.ended.json, run.failures)
    pagesight.assert_nothing_left()

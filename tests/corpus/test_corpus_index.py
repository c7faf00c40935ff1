"""The whole corpus, indexed and inspected: every file ends in records or in a named reason, in any order.

Among its files are office files and DjVu, so LibreOffice and DjVuLibre have to be there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.core.formats import MediaType, Route
from pipeline.core.settings import Settings
from pipeline.search import SOURCES
from pipeline.search.index import Index
from support.conversions import require_programs
from support.corpus import CORPUS, REFLOWED, accepted, manifest
from support.corpus_runs import IndexedCorpus, InspectedCorpus, inspect_shuffled
from support.inspections import assert_agrees
from support.pagesight_runs import Pagesight
from support.standin import Standin

#: What the parent may take at most, against a model's endpoint.
PARENT_BYTES = 300_000_000
#: Formats, by the manifest's names, whose files have as many pages on every machine.
COUNTED = frozenset("pdf tiff pptx ppt odp iwork djvu xlsx wmf".split())

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def indexed(elasticsearch_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IndexedCorpus]:
    manifest()
    require_programs()
    with Index(elasticsearch_url) as index, Standin() as standin:
        index.drop()
        # The stand-in does not read what it is shown, and would be asked again.
        home = tmp_path_factory.mktemp("corpus") / "home"
        pagesight = Pagesight(home, elasticsearch_url, standin, vlm_again_tokens=0)
        yield IndexedCorpus(pagesight)
        pagesight.close()


@pytest.fixture(scope="module")
def inspected(indexed: IndexedCorpus) -> InspectedCorpus:
    return inspect_shuffled(indexed.pagesight, list(indexed.files()))


def test_every_file_of_the_corpus_ends_as_it_should(indexed: IndexedCorpus) -> None:
    entries = manifest()
    assert indexed.ended.code == 1
    ended = {entry["file"]: (indexed.word(entry["file"]), accepted(entry)) for entry in entries}
    assert {file: pair for file, pair in ended.items() if pair[0] not in pair[1]} == {}

    # Every file is a source, whatever its name.
    sources = {record["path"] for record in indexed.pagesight.records(SOURCES).values()}
    assert {str(CORPUS / entry["file"]) for entry in entries} <= sources
    assert indexed.word("pdf/enc-R2,V1,U=view,O=view.pdf") == "encrypted"
    assert indexed.pages["pdf/empty#hash.pdf"] == 1


def test_pages_are_as_many_as_the_manifest_counts(indexed: IndexedCorpus) -> None:
    entries = [entry for entry in manifest() if entry["pages"] and indexed.word(entry["file"]) == "ok"]
    exact = {entry["file"]: entry["pages"] for entry in entries if _is_counted(entry)}
    assert len(exact) > 100
    assert {file: indexed.pages[file] for file in exact} == exact
    # How many pages a text has depends on the fonts of the machine; slides and drawings are as many as they are.
    reflowed = [entry for entry in entries if entry["format"] in REFLOWED and entry["ext"] != "key"]
    counts = {entry["file"]: (entry["pages"], indexed.pages[entry["file"]]) for entry in reflowed}
    assert counts
    assert all(0.6 * expected - 1 <= pages <= 1.6 * expected + 1 for expected, pages in counts.values()), counts


def _is_counted(entry: dict[str, Any]) -> bool:
    return entry["format"] in COUNTED and entry["ext"] != "pages"


def test_also_a_file_of_which_pages_fail_has_its_pages(inspected: InspectedCorpus) -> None:
    # Of an animation, or of a camera's second picture, only the first frame is a page.
    paged = {entry["file"]: entry["pages"] for entry in manifest() if entry["format"] in ("pdf", "tiff")}
    counts = {file: inspected.record(file)["pages"] for file, pages in paged.items() if pages}
    assert len(counts) > 100
    assert {file: count for file, count in counts.items() if count not in (None, paged[file])} == {}


def test_what_reaches_the_model_is_what_it_takes(indexed: IndexedCorpus) -> None:
    assert indexed.requests
    assert max(request["width"] * request["height"] for request in indexed.requests) <= 1_003_520


def test_the_processes_take_no_more_memory_than_they_may(indexed: IndexedCorpus, inspected: InspectedCorpus) -> None:
    assert 0 < indexed.parent_peak_bytes < PARENT_BYTES
    assert 0 < inspected.sandbox_peak_bytes < Settings.model_fields["sandbox_memory_mb"].default << 20


def test_archive_and_index_agree_and_nothing_is_left(indexed: IndexedCorpus) -> None:
    indexed.pagesight.assert_archive_and_index_agree()
    indexed.pagesight.assert_nothing_left()


def test_all_of_that_could_have_been_told_before(indexed: IndexedCorpus, inspected: InspectedCorpus) -> None:
    assert_agrees(inspected.told, indexed.ended.json, indexed.failures)


def test_no_outcome_depends_on_the_order_of_files(indexed: IndexedCorpus, inspected: InspectedCorpus) -> None:
    """The index came to each page in another order, in other sandboxes, and after other files."""
    assert inspected.shown() == indexed.shown()
    told = Counter(
        (file["path"], failure["message"], number)
        for file in inspected.told["files"]
        if file["status"] != "repeated"
        for failure in file["failures"]
        for number in failure["pages"] or [None]
    )
    assert told == Counter((one["path"], one["message"], one["page_number"]) for one in indexed.failures)


def test_every_page_is_a_sound_picture_with_sound_texts(inspected: InspectedCorpus) -> None:
    assert len(inspected.pages) > 1000
    assert inspected.faults == []


# -- converted files


def test_many_files_are_converted(inspected: InspectedCorpus) -> None:
    types = [MediaType(file["media_type"]) for file in inspected.told["files"] if file["media_type"]]
    assert len([one for one in types if one.route is Route.CONVERTED]) >= 50


def test_notes_lie_beside_the_slides_own_text(inspected: InspectedCorpus) -> None:
    for file in ("powerpoint_sample.pptx", "legacy_sample.ppt", "odf_presentation_01.odp"):
        pages = inspected.pages_of(f"slides/{file}")
        assert [page.notes for page in pages] == [
            None,
            "Some notes on the second slide.",
            "Final notes on the third slide.\nSecond line of notes.",
        ]
        assert not any("notes on" in (page.layer_text or "") for page in pages)
    assert inspected.pages_of("slides/testKeynote2013.key")[1].notes == "A nice note"


def test_a_page_says_what_its_document_was(inspected: InspectedCorpus) -> None:
    files = ("slides/eng_spa_mult.ppt", "office/test.rtf", "djvu/carte.djvu")
    assert [inspected.pages_of(file)[0].original.format for file in files] == ["PPTX", "RTF", "DJVU"]


def test_the_hidden_text_of_a_djvu_is_its_layer(inspected: InspectedCorpus) -> None:
    page = inspected.pages_of("djvu/p6683.djvu")[0]
    assert (page.layer_text or "").startswith("vacillation 6683")
    assert page.facts.layer == "invisible"
    upright, turned = (inspected.pages_of(f"djvu/boy_jb2{name}.djvu")[0] for name in ("", "_rotate90"))
    assert upright.layer_text is None
    assert (upright.width_px < upright.height_px, turned.width_px < turned.height_px) == (True, False)

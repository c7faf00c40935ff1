"""`pagesight index` over slides and sheets: converted once, whatever comes after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.conversions import require_programs
from support.office_files import Slide, odp, ods, pptx
from support.pagesight_runs import Pagesight

DECK = (Slide("The harbour at dawn"), Slide("Left out of the talk", hidden=True), Slide("Thanks", "Thank the crew."))


def conversions(pagesight: Pagesight) -> dict[str, int]:
    """When each PDF in the archive was written."""
    folder = Path(pagesight.archive_folder) / "conversions"
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.rglob("*.pdf")}


def pages(pagesight: Pagesight, name: str) -> list[dict[str, Any]]:
    return sorted(pagesight.page_records(name), key=lambda record: record["page"]["number"])


def test_slides_are_converted_once_and_sheets_again_for_a_higher_limit(pagesight: Pagesight) -> None:
    require_programs()
    files = pagesight.files
    (files / "deck.pptx").write_bytes(pptx(*DECK))
    (files / "talk.odp").write_bytes(odp(Slide("Only one")))
    (files / "rows.ods").write_bytes(ods(400))
    pagesight.set(max_sheet_pages=2)

    assert pagesight.index().code == 0
    deck = pages(pagesight, "deck.pptx")
    assert [record["layer_text"] for record in deck] == [
        "The harbour at dawn",
        "Left out of the talk",
        "Thanks\n\nThank the crew.",
    ]
    assert [record["page"]["hidden"] for record in deck] == [False, True, False]
    assert {record["image"]["original"]["format"] for record in deck} == {"PPTX"}
    assert {record["document"]["media_type"].rpartition(".")[2] for record in deck} == {"presentation"}
    rows = pages(pagesight, "rows.ods")
    assert len(rows) == 2
    assert [record["document"]["pages_left_out"] for record in rows] == [6, 6]
    first = conversions(pagesight)
    assert len(first) == 3

    # A second run opens nothing; another collection opens what is in the archive.
    assert pagesight.index().code == 0
    assert pagesight.index(files, "--collection", "works").code == 0
    assert conversions(pagesight) == first

    pagesight.set(max_sheet_pages=3)
    assert pagesight.index().code == 0
    assert len(pages(pagesight, "rows.ods")) == 3
    assert sum(first[document] != written for document, written in conversions(pagesight).items()) == 1
    pagesight.assert_archive_and_index_agree()

    for collection in ("default", "works"):
        assert pagesight.run("delete", "--collection", collection, "--purge", "--yes").code == 0
    assert conversions(pagesight) == {}
    pagesight.assert_nothing_left()

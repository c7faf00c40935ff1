"""`pagesight plan`: its numbers are those of what `pagesight index` then asks, and it asks and indexes nothing."""

from __future__ import annotations

import os
import shutil

import pytest
from PIL import Image
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from support.pagesight_runs import Pagesight, make_pdf, make_picture
from support.standin import Standin


def write_pages(pagesight: Pagesight) -> None:
    """Twelve pages to be read, a blank one, and a file that is the same as another."""
    make_pdf(pagesight.files / "book.pdf", 9, seed=1)
    for number in range(3):
        make_picture(pagesight.files / f"plate-{number}.png", number)
    Image.new("RGB", (300, 200), "white").save(pagesight.files / "white.png")
    shutil.copy(pagesight.files / "book.pdf", pagesight.files / "same.pdf")


@pytest.mark.slow
def test_what_is_planned_is_what_is_asked(pagesight: Pagesight, standin: Standin) -> None:
    write_pages(pagesight)

    first = pagesight.run("plan", "--json", pagesight.files)
    assert first.code == 0, first.stderr
    totals = first.json["totals"]
    assert totals["pages"] == {"born_digital": 9, "scanned": 3, "mixed": 0, "blank": 1, "failed": 0}
    assert (totals["calls"], totals["answers_archived"], totals["pages_up_to_date"]) == (24, 0, 0)
    assert totals["calls_by_question"] == {"description": 12, "text": 12}
    assert (first.json["measured"], totals["tokens_out"], totals["seconds"]) == (None, None, None)
    assert standin.requests() == []
    assert not pagesight.archive_folder.exists() or pagesight.archived_answers() == set()
    assert pagesight.records() == {}

    begun = pagesight.index(pagesight.files, "--max-pages", "5")
    assert begun.json["model_calls"] == 10
    rest = pagesight.run("plan", "--json", pagesight.files).json
    assert (rest["totals"]["calls"], rest["totals"]["pages_up_to_date"]) == (14, 5)
    assert rest["measured"]["answers"] == 10
    assert rest["totals"]["seconds"] is not None

    done = pagesight.index()
    assert done.code == 0, done.stderr
    assert done.json["model_calls"] == 14
    # Every answer of the stand-in costs nearly the same.
    took = rest["totals"]["tokens_in"] + rest["totals"]["tokens_out"]
    assert took == pytest.approx(done.json["tokens"], rel=0.1)

    # What is up to date is not opened: who did would find bytes that are no PDF.
    book = pagesight.files / "book.pdf"
    state = book.stat()
    with book.open("r+b") as file:
        file.write(b"no longer")
    os.utime(book, ns=(state.st_atime_ns, state.st_mtime_ns))
    after = pagesight.run("plan", "--json", pagesight.files)
    assert after.code == 0, after.stdout
    assert after.json["totals"]["calls"] == 0
    assert after.json["totals"]["pages_up_to_date"] == 13
    pagesight.assert_nothing_left()


@pytest.mark.slow
def test_answers_that_are_there_are_not_planned_for(pagesight: Pagesight, standin: Standin) -> None:
    write_pages(pagesight)
    assert pagesight.index().code == 0
    (pagesight.home / "more").mkdir()
    make_pdf(pagesight.home / "more" / "letter.pdf", 2, seed=5)
    words = (pagesight.files, pagesight.home / "more", "--collection", "other")

    planned = pagesight.run("plan", "--json", *words).json
    old, new = planned["paths"]
    assert (old["calls"], old["answers_archived"], old["pages_up_to_date"]) == (0, 24, 0)
    assert (new["calls"], new["answers_archived"], new["files"]) == (4, 0, 1)
    in_german = pagesight.run("plan", "--json", *words, "--language", "de").json["totals"]

    indexed = pagesight.index(*words)
    assert (indexed.json["model_calls"], indexed.json["cached_answers"]) == (4, planned["totals"]["answers_archived"])
    assert pagesight.index(*words, "--language", "de").json["model_calls"] == in_german["calls"]

    table = pagesight.run("plan", *words).stdout
    assert "up to date" in table
    assert "Measured on" in table
    pagesight.assert_nothing_left()


def test_of_a_dense_page_both_parts_of_the_text_are_planned_until_they_are_there(
    pagesight: Pagesight, standin: Standin
) -> None:
    paper = Canvas(str(pagesight.files / "dense.pdf"), pagesize=A4, invariant=1)
    paper.setFont("Times-Roman", 4)
    for line in range(150):
        paper.drawString(
            40, 800 - 5 * line, f"entry {line} of the register, written in the smallest letters there are " * 2
        )
    paper.save()
    assert pagesight.run("plan", "--json", pagesight.files).json["totals"]["calls_by_question"] == {
        "description": 1,
        "text": 2,
    }
    assert pagesight.index("--profile", "text-only", pagesight.files).code == 0
    rest = pagesight.run("plan", "--json", "--collection", "other", pagesight.files).json["totals"]
    assert (rest["calls_by_question"], rest["answers_archived"]) == ({"description": 1}, 2)

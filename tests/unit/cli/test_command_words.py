"""What the commands of the fleet decide by themselves, without any service."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from pipeline.batches.progress import BatchProgress
from pipeline.cli.enqueue import outermost
from pipeline.cli.exits import ExitCode
from pipeline.cli.failures import write_csv
from pipeline.cli.output import csv_cell, ranges
from pipeline.cli.status_data import outcome, pages_left
from pipeline.search import FailedPage
from support.readings import full_batch

FRESH = BatchProgress(
    sources_found=10,
    walked=True,
    documents={},
    pages={},
    descriptions_kept=0,
    sources_under_way=0,
    pages_under_way=0,
    pages_read=0,
    ended=False,
)


@pytest.mark.parametrize(
    ("roots", "kept"),
    [
        (["file:///a"], ["file:///a"]),
        (["file:///a", "file:///a"], ["file:///a"]),
        (["file:///a/b", "file:///a"], ["file:///a"]),
        # A name that begins with another one does not lie below it, and nothing comes in between.
        (["file:///a/b", "file:///a-b", "file:///a"], ["file:///a", "file:///a-b"]),
        (["file:///a/b.pdf", "file:///a/c.pdf"], ["file:///a/b.pdf", "file:///a/c.pdf"]),
        (["file:///", "file:///a"], ["file:///"]),
        # A folder of a bucket ends with a slash; the object of the same name is another thing.
        (["s3://b/a", "s3://b/a/", "s3://b/a/c"], ["s3://b/a", "s3://b/a/"]),
        (["s3://b/", "s3://b/a", "s3://c/a"], ["s3://b/", "s3://c/a"]),
    ],
)
def test_roots_below_other_roots_are_left_out(roots: list[str], kept: list[str]) -> None:
    assert outermost(roots) == kept
    assert outermost(reversed(roots)) == kept


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(formula: str) -> None:
    assert csv_cell(formula)[0] == "'"


def test_cells_keep_what_they_say_and_steer_no_terminal() -> None:
    assert csv_cell("a=1, b") == "a=1, b"
    assert csv_cell(7) == "7"
    assert csv_cell(None) == ""
    assert csv_cell(False) == "False"
    assert "\x1b" not in csv_cell("scan\x1b]0;title\x07.pdf")
    assert "\u202e" not in csv_cell("scan\u202efdp.exe")


def test_csv_has_one_row_a_failure_whatever_stands_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    failed = FailedPage(
        id="works:1",
        collection="works",
        document_id=None,
        path='=HYPERLINK("http://x","scan"),2.pdf',
        url="file:///in/2.pdf",
        page_number=None,
        batch="b1",
        type="corrupt",
        message='two\nlines, "quoted"',
        remedy="Copy it again.",
        transient=False,
        attempts=1,
    )
    write_csv([failed, replace(failed, path="b.pdf", page_number=3)])
    first, second = csv.DictReader(capsys.readouterr().out.splitlines(keepends=True))
    assert first["path"] == "'" + failed.path
    assert first["message"] == failed.message
    assert first["page_number"] == ""
    assert second["page_number"] == "3"


def test_what_is_left_is_known_once_the_walk_is_complete_and_something_has_ended() -> None:
    assert pages_left(FRESH) is None
    some = replace(FRESH, documents={"complete": 4}, pages={"described": 10, "failed": 2})
    assert pages_left(some) == 6 * 3.0
    assert pages_left(replace(some, walked=False)) is None


def test_pages_of_larger_documents_are_counted_and_not_guessed() -> None:
    book = replace(FRESH, sources_found=1, sources_under_way=1, pages_under_way=500, pages_read=120)
    assert pages_left(book) == 380
    among_others = replace(book, sources_found=10, documents={"complete": 4}, pages={"described": 8})
    assert pages_left(among_others) == 380 + 5 * 2


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"documents": {"complete": 2}, "pages": {"described": 3, "blank": 1}}, ExitCode.OK),
        ({"documents": {"deleted": 1}, "pages": {"deleted": 3}}, ExitCode.OK),
        ({"documents": {"partial": 1}, "pages": {"described": 3, "failed": 1}}, ExitCode.SOME_FAILED),
        ({"documents": {"failed": 1}, "pages": {}}, ExitCode.SOME_FAILED),
        ({"documents": {}, "pages": {}, "state": "cancelled"}, ExitCode.SOME_FAILED),
    ],
)
def test_who_waits_for_a_batch_hears_how_it_ended(changed: dict[str, object], code: ExitCode) -> None:
    assert outcome(full_batch().model_copy(update=changed)) == code


def test_page_numbers_are_written_as_ranges() -> None:
    assert ranges((1, 2, 3, 7, 9, 10)) == "1-3, 7, 9-10"
    assert ranges((5,)) == "5"

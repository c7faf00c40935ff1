"""Others at work at the same time: a second run, a deletion, someone who changes the files."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.models import Tombstone
from pipeline.search import BATCHES, DOCUMENTS, PAGES, SOURCES
from support.pagesight_runs import Pagesight, answered, make_pdf, write_sixty_pages
from support.standin import Standin


def test_two_runs_over_the_same_folder_make_one_record_a_page(sixty: Pagesight, standin: Standin):
    runs = [sixty.start_index(), sixty.start_index()]
    for ended in [run.ended() for run in runs]:
        assert ended.code == 0, ended.stderr
        assert ended.json["pages"] == {"described": 60}
    assert standin.counters()["asked_again"] == 0
    assert answered(standin) == 120
    assert len(sixty.records()) == 60
    assert {batch["state"] for batch in sixty.records(BATCHES).values()} == {"done"}
    sixty.assert_archive_and_index_agree()
    standin.reset_counters()
    assert sixty.index().code == 0
    assert standin.counters()["requests"] == 0
    sixty.assert_nothing_left()


def test_two_runs_in_two_languages_end_with_archive_and_index_agreed(sixty: Pagesight):
    runs = [sixty.start_index(sixty.files, "--language", tag) for tag in ("de", "fr")]
    for ended in [run.ended() for run in runs]:
        assert ended.code == 0, ended.stderr
    assert len(sixty.records()) == 60
    sixty.assert_archive_and_index_agree()
    sixty.assert_nothing_left()


def test_a_collection_deleted_during_a_run_leaves_nothing_behind(sixty: Pagesight, standin: Standin):
    delete_at = random.Random(41).randint(20, 60)
    run = sixty.start_index()
    run.until(lambda: answered(standin) >= delete_at)
    with standin.holding():
        deleted = sixty.run("delete", "--collection", "default", "--yes")
    assert deleted.code == 0, deleted.stderr
    in_time = answered(standin)
    ended = run.ended()
    assert ended.code == 1
    assert "deleted during the run" in ended.stderr
    # Of the 16 pages in hand each may have had both its questions before it.
    assert answered(standin) <= in_time + 32
    for alias in (PAGES, DOCUMENTS, SOURCES):
        assert sixty.records(alias) == {}
    assert all(isinstance(reading, Tombstone) for reading in sixty.newest())
    sixty.assert_archive_and_index_agree()

    standin.reset_counters()
    assert sixty.index().code == 0
    assert len(sixty.records()) == 60
    sixty.assert_archive_and_index_agree()
    sixty.assert_nothing_left()


def test_a_collection_deleted_while_files_are_still_registered_leaves_nothing_behind(
    pagesight: Pagesight, standin: Standin
):
    for number in range(150):
        make_pdf(pagesight.files / f"letter-{number:03}.pdf", 1, seed=number)
    standin.tell(latency_seconds=0.05)
    run = pagesight.start_index()
    run.until(lambda: answered(standin) >= 4)
    with standin.holding():
        assert pagesight.run("delete", "--collection", "default", "--yes").code == 0
    run.ended()
    for alias in (PAGES, DOCUMENTS, SOURCES):
        assert pagesight.records(alias) == {}
    pagesight.assert_archive_and_index_agree()


def test_a_document_deleted_during_a_run_stays_deleted_and_the_others_are_done(sixty: Pagesight, standin: Standin):
    assert sixty.index().code == 0
    standin.reset_counters()
    delete_at = random.Random(47).randint(10, 40)
    run = sixty.start_index(sixty.files, "--language", "de")
    run.until(lambda: answered(standin) >= delete_at)
    with standin.holding():
        assert sixty.run("delete", "book.pdf", "--yes").code == 0
    assert "Traceback" not in run.ended().stderr
    assert sixty.page_records("book.pdf") == []
    assert len(sixty.records()) == 30
    assert {record["language"]["requested"] for record in sixty.records().values()} == {"de"}
    sixty.assert_archive_and_index_agree()

    assert sixty.index().code == 0
    assert len(sixty.page_records("book.pdf")) == 30
    sixty.assert_archive_and_index_agree()
    sixty.assert_nothing_left()


def test_a_collection_purged_during_a_run_leaves_no_image_and_no_answer(sixty: Pagesight, standin: Standin):
    purge_at = random.Random(43).randint(20, 60)
    run = sixty.start_index()
    run.until(lambda: answered(standin) >= purge_at)
    with standin.holding():
        assert sixty.run("delete", "--collection", "default", "--purge", "--yes").code == 0
    run.ended()
    assert sixty.records() == {}
    assert all(isinstance(reading, Tombstone) for reading in sixty.newest())
    left = [path for path in sixty.archive_folder.rglob("*") if path.is_file()]
    assert not [path for path in left if path.parent.parent.name == "answers"]
    assert not [path for path in left if path.suffix in (".jpg", ".webp")]
    assert not [path for path in left if path.parts[-4:-2] == ("readings", "default") and path.stat().st_size > 500]
    sixty.assert_archive_and_index_agree()


def replace(path: Path) -> None:
    made = make_pdf(path.with_suffix(".new"), 5, seed=77)
    made.replace(path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("act", "reason", "afterwards"), [(replace, None, 0), (truncate, "corrupt", 1), (remove, "vanished", 0)]
)
def test_a_file_that_is_no_longer_the_one_identified_is_identified_again(
    pagesight: Pagesight, standin: Standin, act: Callable[[Path], None], reason: str | None, afterwards: int
):
    write_sixty_pages(pagesight)
    late = make_pdf(pagesight.files / "zz-late.pdf", 5, seed=50)
    pagesight.set(vlm_concurrency=2)
    standin.tell(latency_seconds=0.05)
    run = pagesight.start_index()
    run.until(lambda: answered(standin) >= 10 and len(pagesight.archive.sources("default").names()) == 12)
    act(late)
    ended = run.ended()
    if reason is None:
        assert ended.code == 0, ended.stderr
        assert (ended.json["pages"], ended.json["documents"]) == ({"described": 65}, {"complete": 12})
        assert len(pagesight.page_records("zz-late.pdf")) == 5
    else:
        assert ended.code == 1, ended.stderr
        assert (ended.json["pages"], ended.json["documents"]) == ({"described": 60}, {"complete": 11, "failed": 1})
        assert pagesight.failures()["zz-late.pdf"]["type"] == reason
    pagesight.assert_archive_and_index_agree()

    again = pagesight.index()
    assert again.code == afterwards
    assert len(pagesight.failures()) == afterwards
    pagesight.assert_archive_and_index_agree()
    pagesight.assert_nothing_left()


def test_a_long_file_replaced_half_way_is_indexed_anew_and_its_old_pages_lie_there_no_more(
    pagesight: Pagesight, standin: Standin
):
    book = make_pdf(pagesight.files / "book.pdf", 60, seed=1)
    pagesight.set(vlm_concurrency=2)
    standin.tell(latency_seconds=0.05)
    run = pagesight.start_index()
    run.until(lambda: len(pagesight.newest()) >= 20)
    old = pagesight.archive.documents("default")
    replace(book)
    ended = run.ended()
    assert ended.code == 0, ended.stderr
    assert (ended.json["pages"], ended.json["documents"]) == ({"described": 5}, {"complete": 1})
    assert pagesight.failures() == {}
    now = pagesight.page_records("book.pdf")
    assert len(now) == 5
    assert {record["document"]["id"] for record in now}.isdisjoint(old)
    pagesight.assert_archive_and_index_agree(complete=False)


def test_a_folder_that_vanishes_during_a_run_costs_its_files_only(pagesight: Pagesight, standin: Standin):
    write_sixty_pages(pagesight)
    folder = pagesight.files / "zz-folder"
    folder.mkdir()
    for number in range(4):
        make_pdf(folder / f"note-{number}.pdf", 1, seed=60 + number)
    pagesight.set(vlm_concurrency=2)
    standin.tell(latency_seconds=0.05)
    run = pagesight.start_index()
    run.until(lambda: answered(standin) >= 10 and len(pagesight.archive.sources("default").names()) == 15)
    shutil.rmtree(folder)
    ended = run.ended()
    assert ended.code == 1
    assert ended.json["pages"] == {"described": 60}
    assert {failure["type"] for failure in pagesight.failures().values()} == {"vanished"}
    pagesight.assert_archive_and_index_agree()

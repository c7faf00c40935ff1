"""What a later run does: nothing where nothing changed, and no more than what changed."""

from __future__ import annotations

import shutil

import pytest

from pipeline.core.models import Tombstone
from support.pagesight_runs import Pagesight, make_pdf, make_picture
from support.standin import Standin


@pytest.fixture
def filled(pagesight: Pagesight) -> Pagesight:
    """A home with a report of three pages and a picture, indexed; the stand-in's counters are at zero."""
    make_pdf(pagesight.files / "report.pdf", 3, seed=1)
    make_picture(pagesight.files / "plate.png", 2)
    assert pagesight.index().code == 0
    assert pagesight.standin is not None
    pagesight.standin.reset_counters()
    return pagesight


def revisions(pagesight: Pagesight, name: str, collection: str = "default") -> list[int]:
    return [record["_version"] for record in pagesight.page_records(name, collection)]


def test_a_renamed_file_costs_no_call_and_is_found_under_its_new_name(filled: Pagesight, standin: Standin):
    (filled.files / "report.pdf").rename(filled.files / "report of the year.pdf")
    ended = filled.index()
    assert ended.code == 0
    assert ended.json["model_calls"] == 0
    assert standin.counters()["requests"] == 0
    records = filled.page_records("report of the year.pdf")
    assert [record["document"]["path"] for record in records] == [[str(filled.files / "report of the year.pdf")]] * 3
    assert len(filled.records()) == 4
    filled.assert_archive_and_index_agree()


def test_a_removed_file_leaves_its_pages_without_a_place(filled: Pagesight, standin: Standin):
    (filled.files / "report.pdf").unlink()
    assert filled.index().code == 0
    assert filled.page_records("report.pdf") == []
    assert len(filled.records()) == 4
    assert len(filled.records("sources")) == 1
    filled.assert_archive_and_index_agree()
    make_pdf(filled.files / "report.pdf", 3, seed=1)
    assert filled.index().code == 0
    assert len(filled.page_records("report.pdf")) == 3
    assert standin.counters()["requests"] == 0
    filled.assert_archive_and_index_agree()


def test_a_run_over_one_file_says_nothing_of_the_others(filled: Pagesight):
    (filled.files / "plate.png").rename(filled.home / "elsewhere.png")
    assert filled.index(filled.files / "report.pdf").code == 0
    assert len(filled.page_records("plate.png")) == 1
    filled.assert_archive_and_index_agree()


def test_a_duplicate_costs_no_call_and_each_page_has_one_record_with_both_places(filled: Pagesight, standin: Standin):
    (filled.files / "copies").mkdir()
    shutil.copy(filled.files / "report.pdf", filled.files / "copies" / "again.pdf")
    assert filled.index().code == 0
    assert standin.counters()["requests"] == 0
    records = filled.page_records("again.pdf")
    assert len(records) == 3
    both = [str(filled.files / "copies" / "again.pdf"), str(filled.files / "report.pdf")]
    assert all(record["document"]["path"] == both for record in records)
    filled.assert_archive_and_index_agree()


def test_two_copies_in_one_run_are_asked_about_once(pagesight: Pagesight, standin: Standin):
    for name in ("a.pdf", "b.pdf"):
        make_pdf(pagesight.files / name, 3, seed=1)
    ended = pagesight.index()
    assert ended.code == 0
    assert standin.counters()["requests"] == 6
    assert [len(record["document"]["path"]) for record in pagesight.page_records("a.pdf")] == [2, 2, 2]
    assert len(pagesight.records()) == 3
    pagesight.assert_archive_and_index_agree()


def test_the_same_files_in_a_second_collection_cost_no_call(filled: Pagesight, standin: Standin):
    ended = filled.index(filled.files, "--collection", "works")
    assert ended.code == 0
    assert ended.json["model_calls"] == 0
    assert ended.json["cached_answers"] == 8
    assert standin.counters()["requests"] == 0
    assert len(filled.records(collection="works")) == 4
    filled.assert_archive_and_index_agree("works")
    filled.assert_archive_and_index_agree("default")


def test_a_changed_file_is_a_new_document_and_the_old_one_lies_there_no_more(filled: Pagesight, standin: Standin):
    old = {record["document"]["id"] for record in filled.page_records("report.pdf")}
    make_pdf(filled.files / "report.pdf", 2, seed=7)
    ended = filled.index()
    assert ended.code == 0
    assert ended.json["model_calls"] == standin.counters()["requests"] == 4
    now = filled.page_records("report.pdf")
    assert len(now) == 2
    assert not {record["document"]["id"] for record in now} & old
    left = [record for record in filled.records().values() if record["document"]["id"] in old]
    assert [record["document"].get("path", []) for record in left] == [[], [], []]
    filled.assert_archive_and_index_agree()


def test_a_file_that_was_only_touched_costs_no_call(filled: Pagesight, standin: Standin):
    before = revisions(filled, "report.pdf")
    (filled.files / "report.pdf").touch()
    assert filled.index().code == 0
    assert standin.counters()["requests"] == 0
    assert revisions(filled, "report.pdf") == before
    filled.assert_archive_and_index_agree()


def test_another_language_is_asked_for_anew_and_stays_that_of_the_collection(filled: Pagesight, standin: Standin):
    ended = filled.index(filled.files, "--language", "de")
    assert ended.code == 0
    assert ended.json["language"] == "de"
    assert ended.json["model_calls"] == 8
    assert {tuple(request["languages"]) for request in standin.requests()} == {("German",)}
    assert revisions(filled, "report.pdf") == [2, 2, 2]
    assert all(record["description"].startswith("Eine Seite") for record in filled.records().values())
    filled.assert_archive_and_index_agree()
    standin.reset_counters()
    again = filled.index()
    assert again.json["language"] == "de"
    assert standin.counters()["requests"] == 0


def test_another_revision_of_the_model_is_asked_anew(filled: Pagesight, standin: Standin):
    filled.set(vlm_model_revision="2026-08")
    assert filled.index().json["model_calls"] == 8
    assert revisions(filled, "report.pdf") == [2, 2, 2]
    filled.assert_archive_and_index_agree()


def test_a_deleted_document_is_gone_until_someone_indexes_it_again(filled: Pagesight, standin: Standin):
    ended = filled.run("delete", "report.pdf", "--yes", "--json")
    assert ended.code == 0, ended.stderr
    assert ended.json["pages"] == 3
    assert filled.page_records("report.pdf") == []
    assert len(filled.records()) == 1
    filled.assert_archive_and_index_agree()
    rebuilt = filled.run("reindex", "--json")
    assert rebuilt.code == 0
    assert len(filled.records()) == 1

    assert filled.index().code == 0
    assert standin.counters()["requests"] == 0
    assert revisions(filled, "report.pdf") == [3, 3, 3]
    filled.assert_archive_and_index_agree()


def test_a_deleted_collection_leaves_the_others_alone(filled: Pagesight):
    assert filled.index(filled.files, "--collection", "works").code == 0
    ended = filled.run("delete", "--collection", "works", "--yes", "--json")
    assert ended.code == 0
    assert ended.json["pages"] == 4
    assert filled.records(collection="works") == {}
    assert filled.records("documents", "works") == {}
    assert filled.records("sources", "works") == {}
    assert len(filled.records()) == 4
    filled.assert_archive_and_index_agree("works")
    filled.assert_archive_and_index_agree("default")


def test_a_whole_collection_is_not_deleted_without_a_yes(filled: Pagesight):
    ended = filled.run("delete", "--collection", "default")
    assert ended.code != 0
    assert len(filled.records()) == 4


def test_what_was_purged_is_nowhere_in_the_archive_and_is_asked_for_anew(filled: Pagesight, standin: Standin):
    document = filled.page_records("report.pdf")[0]["document"]["id"]
    images = [record["image"]["key"] for record in filled.page_records("report.pdf")]
    words = [record["text"].encode() for record in filled.page_records("report.pdf")]
    ended = filled.run("delete", "report.pdf", "--purge", "--yes", "--json")
    assert ended.code == 0, ended.stderr
    assert ended.json["purged"]
    archived = [path for path in filled.archive_folder.rglob("*") if path.is_file()]
    assert not [path for path in archived if any(word in path.read_bytes() for word in words)]
    assert not [path for path in archived if str(path.relative_to(filled.archive_folder)) in images]
    assert len(filled.archived_answers()) == 2
    left = [path for path in archived if f"readings/default/{document}" in str(path)]
    assert len(left) == 3
    assert all(isinstance(reading, Tombstone) for reading in filled.archive.readings("default", document).newest())
    assert max(path.stat().st_size for path in left) < 500

    assert filled.index().code == 0
    assert standin.counters()["requests"] == 6
    assert revisions(filled, "report.pdf") == [3, 3, 3]
    filled.assert_archive_and_index_agree()


def test_a_purge_keeps_what_another_collection_shows(filled: Pagesight, standin: Standin):
    assert filled.index(filled.files, "--collection", "works").code == 0
    assert filled.run("delete", "--collection", "works", "--purge", "--yes").code == 0
    filled.assert_archive_and_index_agree("works")
    filled.assert_archive_and_index_agree("default")
    for record in filled.records().values():
        assert filled.archive.images.get(record["image"]["key"]) is not None
        assert filled.archive.images.get(record["image"]["thumbnail_key"]) is not None

"""The commands as a person types them: output, JSON, exit codes, remedies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.search.index import Index
from support import in_process
from support.pagesight_runs import MakePagesight, Pagesight, make_pdf, make_picture
from support.standin import Standin

COMMANDS = [
    ["index"],
    ["search"],
    ["show"],
    ["status"],
    ["enqueue"],
    ["batches"],
    ["cancel"],
    ["pause"],
    ["resume"],
    ["failures"],
    ["retry"],
    ["repair"],
    ["delete"],
    ["reindex"],
    ["doctor"],
    ["elasticsearch", "start"],
    ["elasticsearch", "stop"],
    ["elasticsearch", "status"],
]
#: A port that nobody listens on (discard).
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def filled(pagesight: Pagesight) -> Pagesight:
    make_pdf(pagesight.files / "report.pdf", 3, seed=1)
    make_picture(pagesight.files / "plate.png", 2)
    assert pagesight.index().code == 0
    return pagesight


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_shows_examples_and_exit_codes(words: list[str], tmp_path: Path):
    shown = in_process.run([*words, "--help"], {"COLUMNS": "200"}, tmp_path)
    assert shown.code == 0
    assert f"pagesight {' '.join(words)}" in shown.stdout
    assert "Examples" in shown.stdout
    assert "Exit codes" in shown.stdout


def test_search_finds_pages_and_says_where_their_images_lie(filled: Pagesight):
    found = filled.run("search", "stand-in description", "--size", "2", "--json").json
    assert found["total"] == 4
    assert len(found["hits"]) == 2
    for hit in found["hits"]:
        assert {"id", "document", "page", "score", "highlights", "image"} <= set(hit)
        assert Path(hit["image"]).read_bytes().startswith(b"\xff\xd8")
        assert hit["id"] == f"default:{hit['document']['id']}:{hit['page']:05d}"
        assert hit["score"] > 0
        assert any(piece["match"] for piece in hit["highlights"]["description"][0])


def test_search_keeps_to_collection_and_language_and_finding_nothing_is_no_error(filled: Pagesight):
    assert filled.index(filled.files / "plate.png", "--collection", "works", "--language", "de").code == 0
    assert filled.run("search", "stand-in", "--json").json["total"] == 5
    assert filled.run("search", "stand-in", "--collection", "works", "--json").json["total"] == 1
    assert filled.run("search", "stand-in", "--language", "de", "--json").json["total"] == 1
    ended = filled.run("search", "nonesuch", "--json")
    assert (ended.code, ended.json["total"], ended.json["hits"], ended.json["suggestions"]) == (0, 0, [], [])
    assert "Nothing found" in filled.run("search", "nonesuch").stdout


def test_show_gives_a_document_or_one_page_with_everything_known(filled: Pagesight):
    document = filled.run("show", "report.pdf", "--json").json
    assert [page["page"]["number"] for page in document["pages"]] == [1, 2, 3]
    page = filled.run("show", "report.pdf:2", "--json").json["pages"]
    assert [record["page"]["number"] for record in page] == [2]
    assert Path(page[0]["image"]["location"]).is_file()
    assert Path(page[0]["image"]["thumbnail_location"]).is_file()
    by_id = filled.run("show", document["document"]["document"]["id"][:10], "--json")
    assert by_id.json == document
    shown = filled.run("show", "report.pdf:2").stdout
    assert "description: A page, described by the stand-in as" in shown
    for unknown in ("report.pdf:4", "nonesuch.pdf"):
        ended = filled.run("show", unknown)
        assert ended.code == 2
        assert "remedy: " in ended.stderr


def test_status_counts_and_names_the_last_batches(filled: Pagesight):
    status = filled.run("status", "--json").json
    assert status["pages"]["described"] == 4
    assert status["documents"]["complete"] == 2
    assert [batch["state"] for batch in status["batches"]] == ["done"]
    assert status["archive"] == str(filled.archive_folder)
    assert "4 described" in filled.run("status").stdout


def test_an_index_run_for_people_ends_with_a_table_and_writes_nothing_else_to_stdout(pagesight: Pagesight):
    make_pdf(pagesight.files / "report.pdf", 2, seed=1)
    ended = pagesight.run("index", pagesight.files)
    assert ended.code == 0
    assert "2 described" in ended.stdout
    assert ended.stderr == ""


def test_doctor_finds_everything_fine(pagesight: Pagesight, standin: Standin):
    ended = pagesight.run("doctor", "--json")
    assert ended.code == 0, ended.stdout
    assert all(check["fine"] for check in ended.json["checks"])
    assert standin.key not in ended.stdout
    assert pagesight.run("doctor").code == 0


def test_doctor_names_everything_that_is_not_fine(pagesight: Pagesight, tmp_path: Path):
    (tmp_path / "file").touch()
    pagesight.set(vlm_api_key="wrong-key-wrong", elasticsearch_url=NOBODY, archive=tmp_path / "file" / "archive")
    ended = pagesight.run("doctor", "--json")
    assert ended.code == 3
    wrong = {check["name"]: check for check in ended.json["checks"] if not check["fine"]}
    assert set(wrong) == {"archive", "elasticsearch", "reader"}
    assert "wrong-key-wrong" not in ended.stdout
    assert wrong["archive"]["remedy"]
    assert "PAGESIGHT_VLM_API_KEY" in wrong["reader"]["remedy"]


def test_an_unknown_setting_ends_with_the_nearest_known_one(pagesight: Pagesight):
    pagesight.set(vlm_concurency=3)
    ended = pagesight.run("index", pagesight.files)
    assert ended.code == 2
    assert "PAGESIGHT_VLM_CONCURRENCY" in ended.stderr
    pagesight.set(vlm_concurency=None)
    (pagesight.home / "pagesight.toml").write_text("langauge = 'de'\n")
    ended = pagesight.run("status")
    assert ended.code == 2
    assert "language" in ended.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["index", "no-such-folder"],
        ["index", "files", "--language", "klingonese"],
        ["index", "files", "--collection", "No Slug"],
        ["index"],
        ["index", "files", "--no-such-option"],
        ["delete"],
        ["delete", "--collection", "nonesuch", "--yes"],
        ["reindex", "--collection", "nonesuch"],
        ["search"],
        ["search", "words", "--size", "0"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_an_error_of_usage(pagesight: Pagesight, words: list[str]):
    ended = pagesight.run(*words)
    assert ended.code == 2, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def test_a_cluster_that_is_away_at_the_start_is_named_with_a_remedy(pagesight: Pagesight):
    make_pdf(pagesight.files / "report.pdf", 1, seed=1)
    pagesight.set(elasticsearch_url=NOBODY)
    for words in (["index", "files"], ["search", "x"], ["status"], ["failures"], ["show", "x"], ["reindex"]):
        ended = pagesight.run(*words)
        assert ended.code == 3
        assert "cannot be reached" in ended.stderr
        assert "remedy: " in ended.stderr
        assert "Traceback" not in ended.stderr


def test_searching_before_anything_was_indexed_says_what_to_do(pagesight: Pagesight, bare_index: Index):
    ended = pagesight.run("search", "x")
    assert ended.code == 3
    assert "pagesight setup" in ended.stderr


def test_a_wrong_key_stops_the_run_and_the_right_one_goes_on(pagesight: Pagesight, standin: Standin):
    make_pdf(pagesight.files / "report.pdf", 3, seed=1)
    pagesight.set(vlm_api_key="wrong-key-wrong")
    ended = pagesight.index()
    assert ended.code == 3
    assert ended.json["state"] == "halted"
    assert "PAGESIGHT_VLM_API_KEY" in ended.stderr
    assert "wrong-key-wrong" not in ended.stdout + ended.stderr
    assert pagesight.records() == {}
    pagesight.assert_nothing_left()

    pagesight.set(vlm_api_key=standin.key)
    assert pagesight.index().code == 0
    assert len(pagesight.records()) == 3
    pagesight.assert_archive_and_index_agree()


def test_the_model_of_another_name_stops_the_run(pagesight: Pagesight):
    make_pdf(pagesight.files / "report.pdf", 1, seed=1)
    pagesight.set(vlm_model="jina-vlm-xl")
    ended = pagesight.index()
    assert ended.code == 3
    assert "PAGESIGHT_VLM_MODEL" in ended.stderr


def test_without_a_model_pages_are_read_here_and_the_loss_is_said_plainly(
    make_pagesight: MakePagesight, bare_index: Index, elasticsearch_url: str
):
    pytest.importorskip("rapidocr", reason="needs the extra `local`")
    pagesight = make_pagesight(elasticsearch_url)
    make_pdf(pagesight.files / "report.pdf", 2, seed=1)
    make_picture(pagesight.files / "plate.png", 2)
    ended = pagesight.index()
    assert ended.code == 0, ended.stderr
    assert "JINA_API_KEY" in ended.stderr
    assert "does not describe" in ended.stderr
    assert ended.json["pages"] == {"text_only": 3}
    assert ended.json["model_calls"] == ended.json["tokens"] == 0
    records = pagesight.records()
    assert {record["status"] for record in records.values()} == {"text_only"}
    assert {record["model"]["name"] for record in records.values()} == {"local-reader"}
    first = pagesight.page_records("report.pdf")[0]
    assert "Volume 1, sheet 1" in first["text"]
    assert first["trust"]["text_source"] == "layer"
    assert pagesight.run("search", "volume", "--json").json["total"] == 2
    assert "JINA_API_KEY" in json.dumps(pagesight.run("doctor", "--json").json)
    pagesight.assert_archive_and_index_agree()
    pagesight.assert_nothing_left()
    # Nothing but our own state: no cache of a library, no identifier of its telemetry.
    assert {path.name for path in pagesight.home.iterdir() if path.name.startswith(".")} == set()


def test_a_model_takes_over_what_the_local_reader_read(
    make_pagesight: MakePagesight, bare_index: Index, elasticsearch_url: str, standin: Standin
):
    pytest.importorskip("rapidocr", reason="needs the extra `local`")
    pagesight = make_pagesight(elasticsearch_url)
    make_pdf(pagesight.files / "report.pdf", 2, seed=1)
    assert pagesight.index().code == 0
    pagesight.set(vlm_url=standin.url, vlm_api_key=standin.key)
    ended = pagesight.index()
    assert ended.json["pages"] == {"described": 2}
    assert [record["_version"] for record in pagesight.page_records("report.pdf")] == [2, 2]
    pagesight.assert_archive_and_index_agree()


def test_collections_are_listed_with_their_documents_and_failed_files(filled: Pagesight):
    (filled.files / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing else")
    assert filled.index("--collection", "works", filled.files).code == 1
    listed = filled.run("collections", "--json").json
    by_name = {entry["name"]: entry for entry in listed["collections"]}
    assert by_name["default"]["documents"] == {"complete": 2, "partial": 0, "failed": 0, "working": 0}
    assert by_name["default"]["pages"]["described"] == 4
    assert by_name["default"]["failed_files"] == 0
    assert by_name["works"]["failed_files"] == 1
    assert by_name["works"]["bytes"] == by_name["default"]["bytes"] > 0
    assert listed["not_indexed"] == []
    assert "works" in filled.run("collections").stdout


def test_documents_are_listed_by_size_and_by_part_of_a_name(filled: Pagesight):
    largest = filled.run("documents", "--sort", "size", "--limit", "1", "--json").json
    assert largest["total"] == 2
    (only,) = largest["documents"]
    sizes = {path.name: path.stat().st_size for path in filled.files.iterdir()}
    assert only["document"]["name"] == max(sizes, key=sizes.__getitem__)
    assert "report.pdf" in filled.run("documents", "REPO").stdout
    assert filled.run("documents", "--status", "failed").stdout == "No documents found.\n"


@pytest.mark.parametrize(
    "words",
    [
        ["failures"],
        ["documents"],
        ["show", "report.pdf"],
        ["status"],
        ["batches"],
        ["retry"],
        ["repair"],
        ["reindex"],
        ["redescribe"],
        ["delete", "--yes"],
        ["review"],
    ],
    ids=" ".join,
)
def test_a_collection_that_does_not_exist_is_an_error_with_the_names_there_are(filled: Pagesight, words: list[str]):
    refused = filled.run(*words, "--collection", "typo")
    assert refused.code == 2
    assert "collection 'typo' does not exist" in refused.stderr
    assert "There are: default." in refused.stderr

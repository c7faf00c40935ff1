"""Files that cannot be had, and names that nobody expects: an outcome each, and nothing that steers a terminal."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from support.pagesight_runs import Pagesight, make_pdf, make_picture
from support.standin import Standin

SAMPLES = Path(__file__).parents[2] / "samples"

STRANGE_NAMES = (
    b"empty#hash.pdf",
    b"enc-R2,V1,U=view,O=view.pdf",
    b"100%25 ready?.pdf",
    b"not-\xff-utf8.pdf",
    b"new\nline.pdf",
    b"escape-\x1b[31m\x1b]0;title\x07.pdf",
    b"[bold]markup[red].pdf",
    "rechts-\u202egnp.pdf".encode(),
    b" leading and trailing .pdf",
)


def test_every_file_that_cannot_be_had_is_listed_with_its_reason_and_a_remedy(pagesight: Pagesight, tmp_path: Path):
    files = pagesight.files
    make_pdf(files / "good.pdf", 2, seed=1)
    (files / "empty.pdf").touch()
    (files / "notes.docx").write_bytes(b"PK\x03\x04 no picture and no PDF")
    for name in ("prose.pdf", "prose.txt"):  # what claims a format and has none is damaged rather than unwanted
        (files / name).write_text(f"a name is not a format: {name}")
    (files / "locked.pdf").write_bytes((SAMPLES / "encrypted.pdf").read_bytes())
    (files / "half.pdf").write_bytes((SAMPLES / "truncated.pdf").read_bytes())
    (files / "half.png").write_bytes(make_picture(tmp_path / "whole.png", 3).read_bytes()[:60])
    outside = make_pdf(tmp_path / "outside.pdf", 1, seed=2)
    (files / "outside.pdf").symlink_to(outside)
    (files / "nowhere.pdf").symlink_to(files / "no such file")
    os.mkfifo(files / "pipe.pdf")

    ended = pagesight.index()

    assert ended.code == 1, ended.stderr
    assert ended.json["pages"]["described"] == 2
    assert ended.json["documents"] == {"complete": 1, "failed": 10}
    assert "pagesight failures" in ended.stderr
    failures = pagesight.failures()
    assert {name: failure["type"] for name, failure in failures.items()} == {
        "empty.pdf": "empty",
        "notes.docx": "corrupt",
        "prose.pdf": "corrupt",
        "prose.txt": "unsupported",
        "locked.pdf": "encrypted",
        "half.pdf": "corrupt",
        "half.png:1": "corrupt",
        "outside.pdf": "outside_link",
        "nowhere.pdf": "outside_link",
        "pipe.pdf": "unsupported",
    }
    assert all(failure["message"] and failure["remedy"] for failure in failures.values())
    pagesight.assert_archive_and_index_agree()

    told = pagesight.run("failures")
    assert told.code == 0
    for failure in failures.values():
        assert f"/{failure['path'].rsplit('/', 1)[-1]}" in told.stdout
        assert failure["remedy"] in told.stdout


def test_a_second_run_opens_no_failed_file_again_and_still_says_that_some_failed(pagesight: Pagesight):
    (pagesight.files / "empty.pdf").touch()
    assert pagesight.index().code == 1
    before = pagesight.records("sources")
    ended = pagesight.index()
    assert ended.code == 1
    assert ended.json["documents"] == {"failed": 1}
    assert pagesight.records("sources") == before


def test_a_file_that_was_mended_fails_no_more(pagesight: Pagesight):
    (pagesight.files / "report.pdf").touch()
    assert pagesight.index().code == 1
    make_pdf(pagesight.files / "report.pdf", 2, seed=1)
    assert pagesight.index().code == 0
    assert pagesight.failures() == {}
    pagesight.assert_archive_and_index_agree()


def test_a_broken_file_that_was_removed_is_listed_no_more(pagesight: Pagesight):
    make_pdf(pagesight.files / "report.pdf", 1, seed=1)
    (pagesight.files / "empty.pdf").touch()
    assert pagesight.index().code == 1
    (pagesight.files / "empty.pdf").unlink()
    assert pagesight.index().code == 0
    assert pagesight.failures() == {}
    pagesight.assert_archive_and_index_agree()


def test_an_empty_folder_is_taken_for_a_disk_that_is_not_mounted(pagesight: Pagesight):
    report = make_pdf(pagesight.files / "report.pdf", 1, seed=1)
    assert pagesight.index().code == 0
    before = pagesight.records()
    report.rename(pagesight.home / "elsewhere.pdf")
    assert pagesight.index().code == 0
    assert pagesight.records() == before
    pagesight.assert_archive_and_index_agree()


def test_a_raised_limit_makes_what_it_stopped_be_tried_again(pagesight: Pagesight):
    make_pdf(pagesight.files / "long.pdf", 5, seed=1)
    pagesight.set(max_pages=3)
    assert pagesight.index().code == 1
    assert pagesight.failures()["long.pdf"]["type"] == "limit"
    pagesight.set(max_pages=5)
    assert pagesight.index().code == 0
    assert len(pagesight.page_records("long.pdf")) == 5


def test_files_of_every_name_come_through_and_no_name_steers_the_terminal(pagesight: Pagesight):
    for number, name in enumerate(STRANGE_NAMES):
        make_pdf(pagesight.home / "made.pdf", 1, seed=number).rename(pagesight.files / os.fsdecode(name))
    (pagesight.files / "failed-\x1b[2J.pdf").touch()

    ended = pagesight.run("index", pagesight.files)

    assert ended.code == 1
    records = pagesight.records()
    assert len(records) == len(STRANGE_NAMES)
    names = {record["document"]["name"] for record in records.values()}
    assert {"empty#hash.pdf", "enc-R2,V1,U=view,O=view.pdf", "not-\ufffd-utf8.pdf", "new\nline.pdf"} <= names
    assert pagesight.index().json["model_calls"] == 0
    pagesight.assert_archive_and_index_agree()
    shown = [ended, pagesight.run("failures"), pagesight.run("search", "stand-in", "--size", "50")]
    shown += [pagesight.run("show", name) for name in ("escape-", "empty#hash.pdf", "[bold]markup[red].pdf")]
    assert [output.code for output in shown] == [1, 0, 0, 0, 0, 0]  # one file has failed
    for output in shown:
        assert not any(steering in output.stdout + output.stderr for steering in "\x1b\x07\u202e")
    assert "[bold]markup[red].pdf" in shown[-1].stdout
    assert "[31m" in shown[3].stdout


def test_what_a_page_says_is_shown_as_text_whatever_it_says(pagesight: Pagesight, standin: Standin):
    make_pdf(pagesight.files / "report.pdf", 1, seed=1)
    assert pagesight.index().code == 0
    image = standin.requests()[0]["image_sha256"]
    hostile = "granite \x1b[31mred\x1b]8;;http://x\x07 [bold]loud[/bold] [link=file:///etc]x[/] \u202eyad </em> \r gone"
    standin.tell(answers={image: {"description": hostile, "text": hostile}})
    pagesight.set(vlm_model_revision="2")
    assert pagesight.index().code == 0

    for words in (["search", "granite"], ["show", "report.pdf"], ["show", "report.pdf:1"]):
        output = pagesight.run(*words).stdout
        assert "[bold]loud[/bold]" in output
        assert not any(steering in output for steering in "\x1b\x07\r\u202e")
    hit = pagesight.run("search", "granite", "--json").json["hits"][0]
    shown = "granite red [bold]loud[/bold] [link=file:///etc]x[/] yad </em> \n gone"
    assert hit["description"] == shown
    (fragment,) = hit["highlights"]["description"]
    assert "".join(piece["text"] for piece in fragment) == shown
    assert [piece["text"] for piece in fragment if piece["match"]] == ["granite"]


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="only a tmpfs keeps such times")  # noqa: PTH112
def test_a_file_with_a_time_that_no_date_can_hold_is_indexed(pagesight: Pagesight):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for seed, seconds in enumerate((400_000_000_000, -70_000_000_000, 1_700_000_000)):
            path = make_pdf(Path(folder) / f"{seed}.pdf", 1, seed)
            os.utime(path, ns=(seconds * 10**9,) * 2)
            if path.stat().st_mtime != seconds:
                pytest.skip("this file system does not keep such times")
        ended = pagesight.run("index", folder, "--json")
        assert ended.code == 0, ended.stderr
        assert pagesight.run("reindex", "--json").code == 0
        assert pagesight.run("index", folder, "--json").json["pages"] == {"described": 3}
    times = sorted(str(record.get("modified")) for record in pagesight.records("sources").values())
    assert times == ["2023-11-14T22:13:20+00:00", "None", "None"]
    times = sorted(str(record["document"].get("modified")) for record in pagesight.records().values())
    assert [time[:4] for time in times] == ["2023", "None", "None"]

"""Damaged files in the archive, through commands: each is named, no command ends in a traceback, the next run heals."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.pagesight_runs import Pagesight, make_pdf
from support.standin import Standin

#: What a power cut leaves, and what no decoder takes.
DAMAGE = {"empty": b"", "cut": b'{"revision": 1, "na', "zeros": b"\x00" * 300, "another type": b"[1]"}


def archived(pagesight: Pagesight) -> list[Path]:
    return sorted(pagesight.archive_folder.rglob("*.json"))


def newest_of(pagesight: Pagesight, folder: str) -> Path:
    """The newest file of a kind, by its name."""
    return sorted((pagesight.archive_folder / folder).rglob("*.json"))[-1]


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_one_damaged_file_of_each_kind_is_named_and_read_anew(
    pagesight: Pagesight, standin: Standin, damage: bytes
) -> None:
    make_pdf(pagesight.files / "book.pdf", 3, seed=1)
    make_pdf(pagesight.files / "letter.pdf", 2, seed=2)
    assert pagesight.index().code == 0
    damaged = [newest_of(pagesight, folder) for folder in ("readings", "sources", "answers", "batches")]
    for path in damaged:
        path.write_bytes(damage)
    names = sorted(str(path.relative_to(pagesight.archive_folder)) for path in damaged)

    checked = pagesight.run("archive", "check", "--json")
    assert checked.code == 1
    assert sorted(finding["name"] for finding in checked.json["findings"] if finding["flaw"] == "unreadable") == names
    for words, code in (
        (["status"], 0),
        (["batches", "--json"], 0),
        (["plan", str(pagesight.files)], 0),
        (["reindex", "--dry-run"], 0),
        (["search", "signal"], 0),
        (["redescribe", "--dry-run"], 0),
    ):
        ended = pagesight.run(*words)
        assert ended.code == code, (words, ended.stdout, ended.stderr)
        assert "Traceback" not in ended.stderr

    again = pagesight.index()
    assert again.code == 0, again.stderr
    assert sum(again.json["pages"].values()) == 5
    asked = standin.counters()["requests"]
    assert asked <= 11  # two questions for each page, and the answer that was damaged
    pagesight.assert_archive_and_index_agree()
    assert pagesight.index().code == 0
    assert standin.counters()["requests"] == asked


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_an_archive_of_damaged_files_alone_ends_no_command_in_a_traceback(pagesight: Pagesight, damage: bytes) -> None:
    make_pdf(pagesight.files / "book.pdf", 1, seed=1)
    assert pagesight.index().code == 0
    files = [path for path in archived(pagesight) if path.name != "archive.json"]
    for path in files:
        path.write_bytes(damage)

    checked = pagesight.run("archive", "check", "--json")
    assert len(checked.json["findings"]) == len(files)
    for words in (["status"], ["batches"], ["plan", str(pagesight.files)], ["reindex", "--dry-run"]):
        ended = pagesight.run(*words)
        assert "Traceback" not in ended.stderr, (words, ended.stderr)
    refused = pagesight.index()
    assert refused.code == 3
    assert "collections/default/1.json" in refused.stderr
    healed = pagesight.index("--language", "en", "--profile", "standard", pagesight.files)
    assert healed.code == 0, healed.stderr
    assert healed.json["pages"] == {"described": 1}

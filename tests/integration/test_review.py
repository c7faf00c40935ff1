"""`pagesight review` and `evaluate`: what was read is shown and scored, what was not is read and not indexed."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from html import unescape
from pathlib import Path
from typing import Any

from support.pagesight_runs import MakePagesight, Pagesight, answered, make_pdf, make_picture
from support.standin import Standin

SAMPLES = Path(__file__).parents[2] / "samples"
NOWHERE = "http://127.0.0.1:1"


def identities(pagesight: Pagesight, name: str = "review.html") -> list[dict[str, Any]]:
    """What the page says of each reading that it shows."""
    html = (pagesight.home / name).read_text(encoding="utf-8")
    return [json.loads(unescape(found)) for found in re.findall(r'data-identity="([^"]*)"', html)]


def test_files_are_read_by_two_profiles_side_by_side_and_nothing_is_indexed(
    make_pagesight: MakePagesight, standin: Standin
) -> None:
    pagesight = make_pagesight(NOWHERE, standin)
    make_pdf(pagesight.files / "deep.pdf", 2, seed=5)
    make_picture(pagesight.files / "plate.png", 1)
    ended = pagesight.run("review", pagesight.files, "--profile", "standard", "--profile", "accessible")
    assert ended.code == 0, ended.stderr
    assert "3 of 3 pages" in ended.stdout
    shown = ("document_name", "page_number", "profile", "revision")
    told = [tuple(one[name] for name in shown) for one in identities(pagesight)]
    assert told == [
        (name, page, profile, None)
        for name, page in (("deep.pdf", 1), ("deep.pdf", 2), ("plate.png", 1))
        for profile in ("standard", "accessible")
    ]
    assert pagesight.archive.collections.names() == []
    assert pagesight.newest() == []
    asked = answered(standin)
    again = pagesight.run("review", pagesight.files, "--profile", "standard", "--profile", "accessible")
    assert again.code == 0, again.stderr
    assert answered(standin) == asked  # every answer was archived
    pagesight.assert_nothing_left()


def test_a_page_whose_answers_cannot_be_trusted_is_asked_about_in_parts_as_when_it_is_indexed(
    make_pagesight: MakePagesight, standin: Standin
) -> None:
    pagesight = make_pagesight(NOWHERE, standin)
    make_pdf(pagesight.files / "deep.pdf", 1, seed=5)
    standin.have("looping", prompt_has="word for word", times=3)
    ended = pagesight.run("review", pagesight.files)
    assert ended.code == 0, ended.stderr
    asked = Counter(request["image_sha256"] for request in standin.requests())
    assert sorted(asked.values()) == [1, 1, 4]  # two halves, and the page: its description, its text three times


def test_what_cannot_be_opened_is_left_out_and_said(make_pagesight: MakePagesight, standin: Standin) -> None:
    pagesight = make_pagesight(NOWHERE, standin)
    make_pdf(pagesight.files / "deep.pdf", 1, seed=5)
    shutil.copy(SAMPLES / "truncated.pdf", pagesight.files)
    ended = pagesight.run("review", pagesight.files)
    assert ended.code == 1
    assert "truncated.pdf" in ended.stderr
    assert [one["document_name"] for one in identities(pagesight)] == ["deep.pdf"]


def test_where_there_is_no_page_nothing_is_written(make_pagesight: MakePagesight) -> None:
    pagesight = make_pagesight(NOWHERE)
    for words, cause in (
        (("review",), "collection 'default' does not exist"),
        (("review", pagesight.files), "no pages found in"),
    ):
        ended = pagesight.run(*words)
        assert ended.code == 2
        assert cause in ended.stderr
        assert "remedy:" in ended.stderr
    assert not (pagesight.home / "review.html").exists()


def test_who_interrupts_gets_no_half_page_and_the_answers_so_far_are_kept(
    make_pagesight: MakePagesight, standin: Standin
) -> None:
    pagesight = make_pagesight(NOWHERE, standin, vlm_concurrency=1)
    make_pdf(pagesight.files / "deep.pdf", 12, seed=5)
    standin.tell(latency_seconds=0.3)
    run = pagesight.start("review", pagesight.files)
    run.until(lambda: answered(standin) >= 2)
    run.interrupt()
    assert run.ended().code == 130
    assert not (pagesight.home / "review.html").exists()
    assert len(pagesight.archived_answers()) >= 2
    pagesight.assert_nothing_left()


def test_a_key_that_is_refused_ends_it(make_pagesight: MakePagesight, standin: Standin) -> None:
    pagesight = make_pagesight(NOWHERE, standin, vlm_api_key="wrong")
    make_pdf(pagesight.files / "deep.pdf", 12, seed=5)
    ended = pagesight.run("review", pagesight.files)
    assert ended.code == 3
    assert "remedy:" in ended.stderr
    assert not (pagesight.home / "review.html").exists()


def test_a_profile_needs_files_and_a_model(make_pagesight: MakePagesight) -> None:
    pagesight = make_pagesight(NOWHERE)
    assert "Name the files" in pagesight.run("review", "--profile", "standard").stderr
    assert "JINA_API_KEY" in pagesight.run("review", pagesight.files, "--profile", "standard").stderr


def test_pages_of_a_collection_are_those_that_were_read(pagesight: Pagesight, standin: Standin) -> None:
    make_pdf(pagesight.files / "deep.pdf", 3, seed=5)
    assert pagesight.index().code == 0
    asked = answered(standin)
    make_picture(pagesight.files / "plate.png", 1)

    whole = pagesight.run("review", "--output", "whole.html")
    assert whole.code == 0, whole.stderr
    assert [(one["page_number"], one["revision"]) for one in identities(pagesight, "whole.html")] == [
        (1, 1),
        (2, 1),
        (3, 1),
    ]
    two = pagesight.run("review", "--sample", "2", "--output", "two.html")
    assert "2 of 3 pages" in two.stdout
    assert len(identities(pagesight, "two.html")) == 2
    assert answered(standin) == asked

    files = pagesight.run("review", pagesight.files, "--output", "files.html")
    assert files.code == 0, files.stderr
    told = [(one["document_name"], one["revision"]) for one in identities(pagesight, "files.html")]
    assert told == [("deep.pdf", 1)] * 3 + [("plate.png", None)]
    assert answered(standin) > asked  # about the picture alone
    assert len(pagesight.newest()) == 3


def test_expected_texts_are_scored(pagesight: Pagesight) -> None:
    make_pdf(pagesight.files / "deep.pdf", 2, seed=5)
    assert pagesight.index().code == 0
    expected = pagesight.home / "expected"
    expected.mkdir()

    def evaluated(*words: str) -> Any:
        return pagesight.run("evaluate", expected, *words)

    nothing = evaluated()
    assert nothing.code == 2
    assert "there is no .txt file" in nothing.stderr

    (expected / "other.pdf.txt").write_text("harbour")
    unmatched = evaluated()
    assert unmatched.code == 2
    assert "report.pdf.3.txt" in unmatched.stderr

    first, second = pagesight.page_records("deep.pdf")
    (expected / "deep.pdf.1.txt").write_text(first["text"], encoding="utf-8")
    (expected / "deep.pdf.2.txt").write_text(f"{second['text']} and a word besides", encoding="utf-8")
    some = evaluated("--json")
    assert some.code == 1
    texts = {one["file"]: one for one in some.json["texts"]}
    assert (texts["deep.pdf.1.txt"]["recall"], texts["deep.pdf.1.txt"]["error_rate"]) == (1.0, 0.0)
    assert 0 < texts["deep.pdf.2.txt"]["recall"] < 1
    assert some.json["unmatched"] == [{"file": "other.pdf.txt", "reason": "no document has this name"}]
    assert some.json["total"]["texts"] == 2

    (expected / "other.pdf.txt").unlink()
    all_scored = evaluated()
    assert all_scored.code == 0, all_scored.stderr
    assert "deep.pdf" in all_scored.stdout

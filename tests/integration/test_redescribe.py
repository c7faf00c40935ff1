"""`pagesight redescribe`: exactly the pages that are not as they would be read today, and of them what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from support.fleet_runs import Fleet
from support.pagesight_runs import Pagesight, make_pdf, make_picture
from support.standin import Standin


def write_files(pagesight: Pagesight) -> None:
    make_pdf(pagesight.files / "book.pdf", 9, seed=1)
    for number in range(3):
        make_picture(pagesight.files / f"plate-{number}.png", number)


def told(pagesight: Pagesight, *words: str) -> dict[str, Any]:
    ended = pagesight.run("redescribe", "--json", "--dry-run", *words)
    assert ended.code == 0, ended.stderr
    (collection,) = ended.json["collections"]
    return dict(collection)


def revisions(pagesight: Pagesight) -> dict[str, int]:
    return {key: record["_version"] for key, record in pagesight.records().items()}


@pytest.mark.slow
def test_after_another_model_revision_exactly_the_stale_pages_are_asked(pagesight: Pagesight, standin: Standin) -> None:
    write_files(pagesight)
    assert pagesight.index().code == 0
    assert told(pagesight)["stale"] == 0
    pagesight.set(vlm_model_revision="2")
    for number in range(3):
        assert pagesight.index(pagesight.files / f"plate-{number}.png").code == 0
    before = revisions(pagesight)
    standin.reset_counters()

    found = told(pagesight)
    assert (found["pages"], found["stale"], found["reasons"]) == (12, 9, {"revision": 9})
    assert told(pagesight, "--where", "reason=language")["stale"] == 0
    assert told(pagesight, "--where", "document=plate")["stale"] == 0
    assert standin.requests() == []
    assert revisions(pagesight) == before

    book = pagesight.files / "book.pdf"
    aside = book.rename(pagesight.home / "book.pdf")
    missing = pagesight.run("redescribe", "--local", "--json")
    assert (missing.code, missing.json["batches"], missing.json["collections"][0]["away_left"]) == (0, [], 9)
    assert revisions(pagesight) == before
    aside.rename(book)

    some = pagesight.run("redescribe", "--local", "--json", "--max-pages", "4")
    assert some.code == 0, some.stderr
    assert [batch["pages"] for batch in some.json["batches"]] == [{"described": 4}]
    assert standin.counters()["answered"] == 8
    assert told(pagesight)["stale"] == 5

    rest = pagesight.run("redescribe", "--local", "--json", "--budget-tokens", "1000000")
    assert rest.code == 0, rest.stderr
    assert standin.counters()["answered"] == 18
    now = revisions(pagesight)
    assert sum(now[page] != revision for page, revision in before.items()) == 9
    assert told(pagesight)["stale"] == 0
    again = pagesight.run("redescribe", "--local", "--json")
    assert (again.code, again.json["batches"]) == (0, [])
    pagesight.assert_archive_and_index_agree()
    pagesight.assert_nothing_left()


@pytest.mark.slow
def test_the_fleet_works_exactly_what_is_stale(fleet: Fleet, standin: Standin) -> None:
    pagesight = fleet.pagesight
    write_files(pagesight)
    assert pagesight.index().code == 0
    pagesight.set(vlm_model_revision="2")
    assert pagesight.index(pagesight.files / "plate-0.png").code == 0
    standin.reset_counters()
    assert pagesight.run("redescribe", "--budget-tokens", "1000").code == 2
    fleet.start_worker()
    ended = pagesight.run("redescribe", "--json", "--where", "document=plate")
    assert ended.code == 0, ended.stderr
    (batch,) = ended.json["batches"]
    done = fleet.until_ended(batch["id"])
    assert (done.state, done.pages, done.documents) == ("done", {"described": 2}, {"complete": 2})
    assert standin.counters()["answered"] == 4
    assert told(pagesight)["stale"] == 9
    pagesight.assert_archive_and_index_agree()
    fleet.assert_quiet()
    fleet.assert_nothing_left()


def test_what_is_no_condition_is_refused(pagesight: Pagesight) -> None:
    for word in ("suspect", "reason=", "reason=lazy", "colour=red"):
        ended = pagesight.run("redescribe", "--where", word)
        assert ended.code == 2
        assert "Use one of" in ended.stderr

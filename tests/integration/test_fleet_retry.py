"""What failed in a batch is tried again by `pagesight retry --batch`: exactly that, and nothing else is asked."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from support.fleet_runs import Fleet
from support.pagesight_runs import Pagesight, make_pdf, make_picture
from support.standin import Standin


def versions(pagesight: Pagesight) -> dict[str, int]:
    return {key: record["_version"] for key, record in pagesight.records().items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "where", "error"),
    [
        ("status", {"status": 400, "every": 9}, "answer_refused"),
        ("garbled", {"prompt_has": "Describe"}, "answer_unusable"),
    ],
)
def test_exactly_the_pages_that_failed_are_tried_again(
    fleet: Fleet, standin: Standin, fault: str, where: dict[str, Any], error: str
) -> None:
    pagesight = fleet.pagesight
    make_pdf(pagesight.files / "book.pdf", 20, seed=1)
    make_picture(pagesight.files / "plate.png", 2)
    (pagesight.files / "torn.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    (pagesight.home / "other").mkdir()
    (pagesight.home / "other" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    (pagesight.home / "earlier").mkdir()
    make_picture(pagesight.home / "earlier" / "seal.png", 3)
    fleet.start_worker()
    fleet.until_ended(fleet.enqueue(pagesight.home / "earlier"))
    standin.have(fault, **where)  # only now: a model that never answered about a page would halt the fleet
    other = fleet.until_ended(fleet.enqueue(pagesight.home / "other"))
    batch = fleet.until_ended(fleet.enqueue())
    failed = {name: failure["type"] for name, failure in pagesight.failures().items() if ":" in name}
    assert failed, fleet.said()
    assert set(failed.values()) == {error}
    assert batch.documents["failed"] >= 1
    assert {"described": 0} | batch.pages == {"described": 21 - len(failed), "failed": len(failed)}

    standin.be_well()
    standin.reset_counters()
    revisions = versions(pagesight)
    retried = pagesight.run("retry", "--batch", batch.id, "--json")
    assert retried.code == 0, retried.stderr
    (told,) = retried.json["batches"]
    ended = fleet.until_ended(told["id"])
    # The file that cannot be opened is of this batch too; the one of the other batch is left alone.
    assert ended.documents["failed"] == 1
    assert ended.pages == {"described": len(failed)}
    # Of its two questions the one that failed, and the other where that had not been asked yet.
    assert len(failed) <= standin.counters()["requests"] <= 2 * len(failed)
    now = versions(pagesight)  # this refreshes the index, so that failures are those of now
    assert set(pagesight.failures()) == {"torn.pdf", "torn.png"}
    assert other.documents == {"failed": 1}
    assert sum(now[page] != revision for page, revision in revisions.items()) == len(failed)
    pagesight.assert_archive_and_index_agree()
    fleet.assert_quiet()

    standin.reset_counters()
    assert pagesight.run("retry", "--batch", batch.id, "--error", error, "--json").json["batches"] == []
    assert standin.counters()["requests"] == 0
    fleet.assert_nothing_left()


def test_a_link_that_replaced_a_file_is_not_followed_by_a_retry(fleet: Fleet, standin: Standin) -> None:
    pagesight = fleet.pagesight
    swapped = make_picture(pagesight.files / "swapped.png", 2)
    make_picture(pagesight.files / "kept.png", 3)
    outside = make_picture(pagesight.home / "outside.png", 4)
    theirs = hashlib.sha256(outside.read_bytes()).hexdigest()
    standin.have("status", status=400, prompt_has="Describe")
    fleet.start_worker()
    fleet.until_ended(fleet.enqueue())
    assert {failure["type"] for failure in pagesight.failures().values()} == {"answer_refused"}
    standin.be_well()
    swapped.unlink()
    swapped.symlink_to(outside)

    (told,) = pagesight.run("retry", "--json").json["batches"]
    ended = fleet.until_ended(told["id"])

    assert (ended.documents, ended.pages) == ({"complete": 1, "failed": 1}, {"described": 1}), fleet.said()
    assert pagesight.failures()["swapped.png"]["type"] == "outside_link"
    assert theirs not in pagesight.archive.documents("default")
    pagesight.assert_archive_and_index_agree()

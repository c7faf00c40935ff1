"""Urgent work goes first: behind a backfill that has taken every place it is read before the rest of that."""

from __future__ import annotations

import pytest

from pipeline.core.models import Reading
from support.fleet_runs import Fleet
from support.pagesight_runs import answered, make_pdf, make_picture
from support.standin import Standin


@pytest.mark.slow
def test_an_urgent_document_ends_long_before_the_backfill_in_front_of_it(fleet: Fleet, standin: Standin) -> None:
    pagesight = fleet.pagesight
    standin.tell(latency_seconds=1)
    (pagesight.home / "urgent").mkdir()
    make_picture(pagesight.home / "urgent" / "plate.png", 1)
    for number in range(3):
        make_pdf(pagesight.files / f"volume-{number}.pdf", 32, seed=number)
    worker = fleet.start_worker("--concurrency", "2")
    backfill = fleet.enqueue(pagesight.files, "--lane", "backfill")
    # Both places are taken, and the other messages wait.
    fleet.until(lambda: answered(standin) >= 8 and fleet.queued()["unacked"] == 2 and fleet.queued()["backfill"] > 0)
    urgent = fleet.enqueue(pagesight.home / "urgent", "--lane", "urgent", "--collection", "now")
    assert fleet.until_ended(urgent).pages == {"described": 1}, worker.stderr
    assert fleet.batch(backfill).state == "working"
    ended = fleet.until_ended(backfill)
    assert (ended.documents, ended.pages) == ({"complete": 3}, {"described": 96}), worker.stderr

    answers = sorted(_answered_at(fleet, "now") + _answered_at(fleet, "default"))
    last_urgent = max(place for place, (_, collection) in enumerate(answers) if collection == "now")
    # Of 194 answers the two urgent ones are among the first, with those before them that were in flight or in hand.
    assert last_urgent < len(answers) / 3
    counters = standin.counters()
    assert (counters["answered"], counters["asked_again"]) == (194, 0)
    pagesight.assert_archive_and_index_agree()
    pagesight.assert_archive_and_index_agree("now")
    fleet.assert_quiet()
    fleet.assert_nothing_left()


def _answered_at(fleet: Fleet, collection: str) -> list[tuple[str, str]]:
    """When the answers that a collection rests on were asked for, and the collection."""
    archive = fleet.pagesight.archive
    found = []
    for reading in fleet.pagesight.newest(collection):
        assert isinstance(reading, Reading)
        for key in reading.answers:
            answer = archive.answers.get(key)
            assert answer is not None
            found.append((answer.asked_at.isoformat(), collection))
    return found

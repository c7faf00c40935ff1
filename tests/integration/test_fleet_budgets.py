"""A budget belongs to its batch: over all workers, over a Redis that forgets, and over whoever resumes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.search import BATCHES
from support.fleet_runs import Fleet
from support.pagesight_runs import make_pdf, make_picture
from support.standin import Standin

EXHAUSTED = 4


def write_twelve_pages(folder: Path) -> None:
    make_pdf(folder / "book.pdf", 9, seed=1)
    for number in range(3):
        make_picture(folder / f"plate-{number}.png", number)


def tokens_spent(fleet: Fleet) -> int:
    """What every archived answer cost."""
    answers = map(fleet.pagesight.archive.answers.get, fleet.pagesight.archived_answers())
    return sum(answer.tokens_in + answer.tokens_out for answer in answers if answer)


@pytest.mark.slow
def test_it_holds_over_workers_and_a_redis_that_came_back_empty_until_it_is_raised(fleet: Fleet, standin: Standin):
    pagesight = fleet.pagesight
    write_twelve_pages(pagesight.files)
    standin.tell(latency_seconds=0.1)
    fleet.start_workers(2)
    batch = fleet.enqueue(pagesight.files, "--budget-tokens", "20000")
    fleet.until(lambda: standin.counters()["answered"] >= 2)
    fleet.redis.flushall()
    pagesight.run("repair", "--json")
    waited = pagesight.run("status", batch, "--watch", "--json")
    assert waited.code == EXHAUSTED, waited.stderr
    assert (waited.json["state"], waited.json["cause"]) == ("paused", "the budget of 20,000 tokens is used up")
    assert f"pagesight resume {batch}" in waited.stderr
    assert 10_000 < waited.json["drawn"]["tokens"] <= 20_000
    fleet.assert_quiet()
    assert 10_000 < tokens_spent(fleet) <= 20_000
    fleet.until(lambda: pagesight.records(BATCHES)[batch].get("cause") == waited.json["cause"])

    asked = standin.counters()["answered"]
    assert pagesight.run("repair", "--json").json["batches"] == []
    assert (standin.counters()["answered"], fleet.batch(batch).state) == (asked, "paused")

    assert pagesight.run("resume", batch, "--budget-tokens", "500000").code == 0
    ended = fleet.until_ended(batch)
    assert (ended.state, ended.cause, ended.pages) == ("done", None, {"described": 12})
    counters = standin.counters()
    assert (counters["answered"], counters["asked_again"]) == (24, 0)

    # Their answers are archived, so in another collection they cost no token; a number of pages holds there as well.
    few = pagesight.run("enqueue", pagesight.files, "--collection", "few", "--max-pages", "5", "--wait", "--json")
    assert (few.code, few.json["state"], few.json["budget"]) == (EXHAUSTED, "paused", {"tokens": None, "pages": 5})
    fleet.assert_quiet()
    assert len(pagesight.records(collection="few")) == 5
    fleet.assert_nothing_left()

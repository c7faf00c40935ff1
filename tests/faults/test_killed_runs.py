"""Runs that are killed or interrupted, and sandboxes that are: the same command goes on, and nothing is paid twice."""

from __future__ import annotations

import random
import signal

import pytest

from pipeline.search import BATCHES
from support.pagesight_runs import Pagesight, answered, asked_although_archived
from support.standin import Standin

CALLS = 120


def test_a_run_that_was_killed_goes_on_and_asks_for_no_archived_answer_again(sixty: Pagesight, standin: Standin):
    kill_at = random.Random(31).randint(30, 90)
    run = sixty.start_index()
    run.until(lambda: answered(standin) >= kill_at)
    run.kill()
    assert run.left_over() == []
    archived = sixty.archived_answers()
    assert 0 < len(archived) < CALLS
    standin.reset_counters()

    ended = sixty.index()

    assert ended.code == 0, ended.stderr
    assert ended.json["pages"] == {"described": 60}
    assert asked_although_archived(sixty, archived, standin.requests()) == []
    assert standin.counters()["requests"] == ended.json["model_calls"] == CALLS - len(archived)
    assert len(sixty.records()) == 60
    assert sorted(batch["state"] for batch in sixty.records(BATCHES).values()) == ["done", "killed"]
    sixty.assert_archive_and_index_agree()
    sixty.assert_nothing_left(killed=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_finishes_what_is_in_flight_and_says_how_to_go_on(
    sixty: Pagesight, standin: Standin, number: signal.Signals
):
    interrupt_at = random.Random(int(number)).randint(30, 90)
    run = sixty.start_index()
    run.until(lambda: answered(standin) >= interrupt_at)
    run.interrupt(number)
    ended = run.ended()
    assert ended.code == 130
    assert ended.json["state"] == "interrupted"
    assert "Run the same command again" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert 0 < ended.json["pages"]["described"] < 60
    assert answered(standin) == len(sixty.archived_answers()) == ended.json["model_calls"]
    sixty.assert_archive_and_index_agree(complete=False)

    again = sixty.index()

    assert again.code == 0, again.stderr
    assert again.json["pages"] == {"described": 60}
    counters = standin.counters()
    assert counters["asked_again"] == 0
    assert counters["answered"] == CALLS
    sixty.assert_archive_and_index_agree()
    sixty.assert_nothing_left()


def test_a_second_interrupt_ends_a_run_at_once(sixty: Pagesight, standin: Standin):
    run = sixty.start_index()
    run.until(lambda: answered(standin) >= 20)
    standin.have("hanging")
    run.interrupt()
    run.until(lambda: "press Ctrl-C again to stop at once" in run.stderr)
    assert run.going_on
    run.interrupt()
    assert run.ended(seconds=60).code == 130
    assert run.left_over() == []

    standin.be_well()
    assert sixty.index().code == 0
    assert len(sixty.records()) == 60
    sixty.assert_archive_and_index_agree()
    sixty.assert_nothing_left(killed=True)


def test_an_interrupt_ends_a_wait_for_a_service(sixty: Pagesight, standin: Standin):
    standin.have("cold", retry_after="3600")
    run = sixty.start_index()
    run.until(lambda: standin.counters()["requests"] >= 8)
    run.interrupt()
    ended = run.ended()
    assert ended.code == 130
    assert ended.json["state"] == "interrupted"
    sixty.assert_nothing_left()


def test_a_sandbox_that_is_killed_costs_nobody_a_page(sixty: Pagesight, standin: Standin):
    chance = random.Random(17)
    kill_at = chance.randint(20, 60)
    run = sixty.start_index()
    run.until(lambda: answered(standin) >= kill_at and bool(run.sandboxes()))
    chance.choice(sorted(run.sandboxes(), key=lambda child: child.pid)).kill()
    ended = run.ended()

    assert ended.code == 0, ended.stderr
    assert ended.json["pages"] == {"described": 60}
    sixty.assert_archive_and_index_agree()
    sixty.assert_nothing_left()

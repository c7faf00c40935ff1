"""Services that are cold, limit, hang, hang up, refuse or go away in the middle of a run."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable

import pytest

from pipeline.local.elasticsearch import LocalNode
from pipeline.search.index import Index
from pipeline.vision.endpoint.trivial import CANARY_PROMPT
from support.faulty_elasticsearch import Request, answers, faulty
from support.pagesight_runs import Ended, MakePagesight, Pagesight, write_sixty_pages
from support.standin import Standin

CALLS = 120


@pytest.fixture
def sixty(pagesight: Pagesight, standin: Standin) -> Pagesight:
    write_sixty_pages(pagesight)
    standin.tell(latency_seconds=0.05)
    return pagesight


def trivial_questions(standin: Standin) -> int:
    """Answers to the question that shows whether a page or the service fails. It is asked once at most, here."""
    asked = sum(request["prompt"] == CANARY_PROMPT and request["status"] == 200 for request in standin.requests())
    assert asked <= 1
    return asked


def assert_all_are_described_and_none_was_asked_twice(pagesight: Pagesight, ended: Ended, standin: Standin) -> None:
    assert ended.code == 0, ended.stderr
    assert ended.json["pages"] == {"described": 60}
    counters = standin.counters()
    assert counters["answered"] - trivial_questions(standin) == CALLS
    assert counters["asked_again"] == 0
    assert len(pagesight.records()) == 60
    pagesight.assert_archive_and_index_agree()
    pagesight.assert_nothing_left()


@pytest.mark.slow
def test_a_model_that_is_cold_limits_hangs_and_hangs_up_is_waited_for(sixty: Pagesight, standin: Standin):
    sixty.set(vlm_read_seconds=5)
    standin.have("cold", retry_after="1")
    run = sixty.start_index()
    run.until(lambda: "waiting" in run.stderr and "jina-vlm" in run.stderr)
    standin.be_well()
    standin.have("limited", times=6, retry_after="1")
    standin.have("hanging", times=2)
    standin.have("closing", times=2)
    standin.have("garbled", times=1)
    assert_all_are_described_and_none_was_asked_twice(sixty, run.ended(), standin)
    struck = Counter(request["fault"] for request in standin.requests())
    assert struck["cold"] >= 8
    assert {kind: struck[kind] for kind in ("limited", "hanging", "closing", "garbled")} == {
        "limited": 6,
        "hanging": 2,
        "closing": 2,
        "garbled": 1,
    }


def test_a_model_that_limits_its_callers_is_left_alone_for_as_long_as_it_says(sixty: Pagesight, standin: Standin):
    standin.have("limited", every=20, retry_after="1")
    assert_all_are_described_and_none_was_asked_twice(sixty, sixty.index(), standin)
    assert standin.counters()["by_status"]["429"] >= 6


def test_a_model_that_takes_fewer_calls_than_we_make_gets_fewer(sixty: Pagesight, standin: Standin):
    standin.tell(max_in_flight=6)
    standin.have("limited", times=1, retry_after="1")
    sixty.set(vlm_concurrency=6)
    assert_all_are_described_and_none_was_asked_twice(sixty, sixty.index(), standin)
    assert standin.counters()["peak_in_flight"] <= 6


@pytest.mark.parametrize(("fault", "remedy"), [("broke", "balance"), ("bad_key", "PAGESIGHT_VLM_API_KEY")])
def test_a_model_that_refuses_in_the_middle_stops_the_run_and_the_rest_is_done_later(
    sixty: Pagesight, standin: Standin, fault: str, remedy: str
):
    refuse_at = random.Random(len(fault)).randint(30, 90)
    run = sixty.start_index()
    run.until(lambda: standin.counters()["answered"] >= refuse_at)
    standin.have(fault)
    ended = run.ended()
    assert ended.code == 3
    assert ended.json["state"] == "halted"
    assert remedy in ended.stderr
    assert standin.key not in ended.stdout + ended.stderr
    assert len(sixty.archived_answers()) == standin.counters()["answered"]
    sixty.assert_archive_and_index_agree(complete=False)
    assert [batch["state"] for batch in sixty.run("status", "--json").json["batches"]] == ["halted"]

    standin.be_well()
    assert_all_are_described_and_none_was_asked_twice(sixty, sixty.index(), standin)


def test_a_run_that_is_refused_while_elasticsearch_is_busy_for_a_moment_still_writes_what_it_read(
    make_pagesight: MakePagesight, index: Index, elasticsearch_url: str, standin: Standin
):
    with faulty(elasticsearch_url) as server:
        pagesight = make_pagesight(server.url, standin)
        write_sixty_pages(pagesight)
        standin.tell(latency_seconds=0.05)
        run = pagesight.start_index()
        run.until(lambda: standin.counters()["answered"] >= 40)
        server.faults[:] = [answers(503)] * 2
        standin.have("bad_key")
        assert run.ended().code == 3
        pagesight.set(elasticsearch_url=elasticsearch_url)
        pagesight.assert_archive_and_index_agree(complete=False)


def test_an_interrupt_while_elasticsearch_is_away_loses_nothing(
    make_pagesight: MakePagesight, index: Index, elasticsearch_url: str, standin: Standin
):
    with faulty(elasticsearch_url, Request.pass_on, *[answers(503)] * 1000) as server:
        pagesight = make_pagesight(server.url, standin)
        write_sixty_pages(pagesight)
        run = pagesight.start_index()
        run.until(lambda: len(pagesight.newest()) >= 16)
        run.interrupt()
        ended = run.ended()
        assert ended.code == 130
        assert ended.json["state"] == "interrupted"
        assert "Run the same command again" in ended.stderr
        pagesight.set(elasticsearch_url=elasticsearch_url)
        assert_all_are_described_and_none_was_asked_twice(pagesight, pagesight.index(), standin)


@pytest.mark.slow
def test_an_elasticsearch_that_is_killed_in_the_middle_is_waited_for(
    make_pagesight: MakePagesight, make_node: Callable[..., LocalNode], standin: Standin
):
    node = make_node()
    pagesight = make_pagesight(node.start(), standin)
    write_sixty_pages(pagesight)
    standin.tell(latency_seconds=0.1)
    kill_at = random.Random(53).randint(30, 90)
    run = pagesight.start_index()
    run.until(lambda: standin.counters()["answered"] >= kill_at)
    pid = node.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    run.until(lambda: "waiting" in run.stderr and "elasticsearch" in run.stderr)
    node.start()
    assert_all_are_described_and_none_was_asked_twice(pagesight, run.ended(), standin)

"""Faults of services one by one, in whole runs, for `make soak`.

Every fault is tested at the client in `tests/integration/test_vision_standin.py`, and one scripted run of each runner
goes through the most common ones in `make test`. These runs take what a real endpoint would: its own waiting times.
"""

from __future__ import annotations

import pytest

from pipeline.search.index import Index
from support.fleet_runs import Fleet, assert_sixty
from support.pagesight_runs import Ended, MakePagesight, Pagesight, answered, make_pdf, write_sixty_pages
from support.standin import Standin

CALLS = 120
#: Calls that a worker may have in flight when it is killed.
IN_FLIGHT = 8

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def sixty(pagesight: Pagesight, standin: Standin) -> Pagesight:
    write_sixty_pages(pagesight)
    standin.tell(latency_seconds=0.05)
    return pagesight


def assert_all_are_described_and_none_was_asked_twice(pagesight: Pagesight, ended: Ended, standin: Standin) -> None:
    assert ended.code == 0, ended.stderr
    assert ended.json["pages"] == {"described": 60}
    counters = standin.counters()
    assert counters["answered"] == CALLS
    assert counters["asked_again"] == 0
    assert len(pagesight.records()) == 60
    pagesight.assert_archive_and_index_agree()
    pagesight.assert_nothing_left()


def test_a_model_that_is_cold_for_forty_seconds_is_waited_for(sixty: Pagesight, standin: Standin):
    standin.have("cold", seconds=40, retry_after="2")
    run = sixty.start_index()
    run.until(lambda: "waiting" in run.stderr and "jina-vlm" in run.stderr)
    assert_all_are_described_and_none_was_asked_twice(sixty, run.ended(), standin)
    assert standin.counters()["by_status"]["503"] > 8


def test_a_cold_model_that_names_no_time_is_waited_for_by_our_own_schedule(sixty: Pagesight, standin: Standin):
    standin.have("cold", times=3)
    assert_all_are_described_and_none_was_asked_twice(sixty, sixty.index(), standin)
    assert standin.counters()["by_status"] == {"503": 3, "200": CALLS}


def test_answers_that_hang_are_asked_for_again_and_the_page_that_always_hangs_fails_alone(
    sixty: Pagesight, standin: Standin, make_pagesight: MakePagesight, bare_index: Index
):
    poison = make_pdf(sixty.files / "poison.pdf", 1, seed=99)
    scout = make_pagesight(sixty.url, standin)
    assert scout.index(poison, "--collection", "scout").code == 0
    image = standin.requests()[0]["image_sha256"]
    bare_index.drop()  # these indices were the scout's archive's
    standin.reset_counters()
    sixty.set(vlm_read_seconds=1)
    standin.have("hanging", images=[image])
    standin.have("hanging", times=4)

    ended = sixty.index()

    assert ended.code == 1, ended.stderr
    assert ended.json["pages"] == {"described": 60, "failed": 1}
    failures = sixty.failures()
    assert list(failures) == ["poison.pdf:1"]
    assert failures["poison.pdf:1"]["type"] == "answer_timeout"
    assert failures["poison.pdf:1"]["transient"]
    assert standin.counters()["answered"] == CALLS
    sixty.assert_archive_and_index_agree()

    standin.be_well()
    again = sixty.index()
    assert again.code == 0
    assert again.json["pages"] == {"described": 61}
    assert again.json["model_calls"] == 2
    assert sixty.failures() == {}
    sixty.assert_archive_and_index_agree()
    sixty.assert_nothing_left()


def test_a_model_that_hangs_up_in_the_middle_of_its_answer_is_asked_again(sixty: Pagesight, standin: Standin):
    standin.have("closing", times=3)
    standin.have("garbled", times=2)
    assert_all_are_described_and_none_was_asked_twice(sixty, sixty.index(), standin)


def test_a_model_that_is_cold_is_waited_for(sixty_queued: Fleet, standin: Standin):
    standin.have("cold", seconds=25, retry_after="2")
    sixty_queued.start_workers(2)
    assert_sixty(sixty_queued, sixty_queued.enqueue(), standin)
    assert standin.counters()["by_status"]["503"] > 8


def test_a_storm_of_429_makes_everyone_pause(sixty_queued: Fleet, standin: Standin):
    standin.have("limited", every=15, retry_after="1")
    sixty_queued.start_workers(2)
    assert_sixty(sixty_queued, sixty_queued.enqueue(), standin)
    assert standin.counters()["by_status"]["429"] >= 6


def test_calls_that_hang_are_asked_again(sixty_queued: Fleet, standin: Standin):
    sixty_queued.pagesight.set(vlm_read_seconds=2)
    standin.have("hanging", times=6)
    sixty_queued.start_workers(2)
    assert_sixty(sixty_queued, sixty_queued.enqueue(), standin)


def test_workers_killed_from_outside_again_and_again_cost_no_page(sixty_queued: Fleet, standin: Standin):
    batch = sixty_queued.enqueue()
    for kill_at in (20, 50, 80):
        worker = sixty_queued.start_worker()
        worker.until(lambda kill_at=kill_at: answered(standin) >= kill_at)
        worker.kill()
    sixty_queued.start_worker()
    assert_sixty(sixty_queued, batch, standin, repeated=3 * IN_FLIGHT, killed=True)


def test_a_wrong_key_halts_the_fleet_until_it_is_resumed(sixty_queued: Fleet, standin: Standin):
    sixty_queued.start_workers(2)
    batch = sixty_queued.enqueue()
    sixty_queued.until(lambda: answered(standin) >= 30)
    standin.have("bad_key")
    pagesight = sixty_queued.pagesight
    sixty_queued.until(lambda: (fleet := pagesight.archive.fleet.newest()) is not None and fleet.state == "halted")
    shown = pagesight.run("status")
    assert "PAGESIGHT_VLM_API_KEY" in shown.stdout
    assert standin.key not in shown.stdout + shown.stderr
    standin.be_well()
    assert pagesight.run("resume").code == 0
    assert_sixty(sixty_queued, batch, standin)

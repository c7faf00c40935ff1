"""What people decide while a fleet works, and what loses its queue: cancelled stays cancelled, repair adds nothing."""

from __future__ import annotations

import pytest

from support.containers import page, zipped
from support.fleet_runs import CALLS, SHORT_MINUTES, Fleet, assert_sixty, repair
from support.pagesight_runs import answered
from support.standin import Standin

#: Calls that a worker may have in flight.
IN_FLIGHT = 8

pytestmark = pytest.mark.timeout(900)


@pytest.mark.slow
def test_a_cancelled_batch_stays_cancelled_whatever_is_lost_and_repaired(sixty_queued: Fleet, standin: Standin):
    standin.tell(latency_seconds=1)  # so that the command comes in the middle
    sixty_queued.start_workers(2)
    batch = sixty_queued.enqueue()
    sixty_queued.until(lambda: answered(standin) >= 10)
    assert sixty_queued.pagesight.run("cancel", batch).code == 0
    sixty_queued.until(lambda: not any(sixty_queued.queued().values()))
    asked = standin.counters()["requests"]
    assert asked < CALLS
    assert sixty_queued.batch(batch).state == "cancelled"
    sixty_queued.server.restart(empty=True)
    for _ in range(2):
        repair(sixty_queued)
    sixty_queued.until(lambda: not any(sixty_queued.queued().values()))
    assert standin.counters()["requests"] == asked
    assert sixty_queued.batch(batch).state == "cancelled"
    sixty_queued.pagesight.assert_archive_and_index_agree(complete=False)

    standin.tell(latency_seconds=0.1)
    assert_sixty(sixty_queued, sixty_queued.enqueue(), standin)


def test_a_paused_batch_rests_and_goes_on_where_it_was(sixty_queued: Fleet, standin: Standin):
    standin.tell(latency_seconds=1)
    sixty_queued.start_worker()
    batch = sixty_queued.enqueue()
    sixty_queued.until(lambda: answered(standin) >= 10)
    assert sixty_queued.pagesight.run("pause", batch).code == 0
    sixty_queued.until(lambda: not any(sixty_queued.queued().values()))
    assert standin.counters()["requests"] < CALLS
    standin.tell(latency_seconds=0.1)
    assert sixty_queued.pagesight.run("resume", batch).code == 0
    assert_sixty(sixty_queued, batch, standin)


@pytest.mark.slow
def test_two_beats_close_what_a_lost_queue_left_open(sixty_queued: Fleet, standin: Standin):
    sixty_queued.customise_workers(SHORT_MINUTES)
    beats = [sixty_queued.pagesight.start_with(sixty_queued.environment, "beat") for _ in range(2)]
    sixty_queued.start_worker()
    batch = sixty_queued.enqueue()
    sixty_queued.until(lambda: answered(standin) >= 30)
    sixty_queued.server.restart(empty=True)
    sixty_queued.until_ended(batch)
    for beat in beats:
        beat.interrupt()
        assert beat.ended(60).code == 0
    # A tick right after the loss publishes what is in hand, too, and the leases of calls in flight are lost.
    assert_sixty(sixty_queued, batch, standin, repeated=IN_FLIGHT)


@pytest.mark.slow
def test_what_lies_in_containers_is_found_again_when_redis_is_lost(fleet: Fleet, standin: Standin):
    files = fleet.pagesight.files
    for box in range(3):
        scans = {f"{number}.pdf": page(f"scan {box}.{number}") for number in range(20)}
        (files / f"box-{box}.zip").write_bytes(zipped(scans))
    standin.tell(latency_seconds=0.2)
    worker = fleet.start_worker()
    batch = fleet.enqueue()
    fleet.until(lambda: answered(standin) >= 20)
    fleet.kill_group(worker)
    fleet.server.restart(empty=True)
    fleet.start_worker()
    assert "batch_lost" in fleet.pagesight.run("repair").stdout
    ended = fleet.until_ended(batch)
    assert (ended.documents, ended.pages) == ({"complete": 63}, {"described": 60}), fleet.said()
    fleet.pagesight.assert_archive_and_index_agree()
    fleet.assert_quiet()
    fleet.assert_nothing_left(killed=True)

"""Five faults at random moments against a fleet under a supervisor, for `make soak`: 600 pages in 60 documents.

Two workers and a beat, as an operator would run them. Whatever happens, the batch ends with every page there once, and
nothing is asked again but what was in flight at the moment of a fault. SEED=… repeats one; ROUNDS=… makes it longer.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pipeline.batches.progress import UNENDED
from pipeline.local.elasticsearch import LocalNode
from support.fleet_runs import Fleet, assert_all_there, repair
from support.pagesight_runs import Run, answered, make_pdf, make_picture
from support.standin import Standin

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SEED = int(os.environ.get("SEED", str(time.time_ns() % 1_000_000)))
DOCUMENTS = 60
PAGES = 600
FAULTS_A_ROUND = 5
WORKERS = 2
#: Longer than the budget of a range in these tests.
AWAY_SECONDS = 10.0
#: Calls that the fleet may have in flight, and so may ask again after each fault.
IN_FLIGHT = 8
ROUND_SECONDS = 600.0

log = logging.getLogger(__name__)


@dataclass
class Service:
    """All that a fault can strike."""

    fleet: Fleet
    node: LocalNode
    standin: Standin
    batch: str
    chance: random.Random

    def worker(self) -> Run:
        return self.chance.choice([worker for worker in self.fleet.workers if worker.going_on])


def worker_killed(service: Service) -> None:
    service.worker().kill()


def group_killed(service: Service) -> None:
    service.fleet.kill_group(service.worker())


def worker_terminated(service: Service) -> None:
    service.fleet.stop(service.worker())


def redis_emptied(service: Service) -> None:
    service.fleet.server.restart(empty=True)
    repair(service.fleet)


def redis_away(service: Service) -> None:
    service.fleet.server.stop()
    time.sleep(AWAY_SECONDS)
    service.fleet.server.start()


def elasticsearch_killed(service: Service) -> None:
    pid = service.node.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    time.sleep(service.chance.random() * AWAY_SECONDS)
    service.node.start()


def cold_model(service: Service) -> None:
    service.standin.have("cold", seconds=AWAY_SECONDS, retry_after="1")


def storm_of_429(service: Service) -> None:
    service.standin.have("limited", every=10, seconds=AWAY_SECONDS, retry_after="1")


def batch_paused(service: Service) -> None:
    _paused(service, service.batch)


def fleet_paused(service: Service) -> None:
    _paused(service)


def _paused(service: Service, *batch: str) -> None:
    if service.fleet.batch(service.batch).state != "working":
        return
    assert service.fleet.pagesight.run("pause", *batch).code == 0
    time.sleep(service.chance.random() * AWAY_SECONDS)
    assert service.fleet.pagesight.run("resume", *batch).code == 0


FAULTS: list[Callable[[Service], None]] = [
    worker_killed,
    group_killed,
    worker_terminated,
    redis_emptied,
    redis_away,
    elasticsearch_killed,
    cold_model,
    storm_of_429,
    batch_paused,
    fleet_paused,
]


@pytest.fixture
def redis_appendonly() -> bool:
    """It keeps what it holds while it is away, but for the fault that empties it."""
    return True


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
def test_random_faults_against_a_fleet(
    fleet: Fleet, make_node: Callable[..., LocalNode], standin: Standin, seed: int
) -> None:
    chance = random.Random(seed)
    moments = sorted(chance.sample(range(20, 2 * PAGES - 100), FAULTS_A_ROUND))
    faults = chance.sample(FAULTS, FAULTS_A_ROUND)
    node = make_node()
    fleet.pagesight.url = node.start()
    fleet.pagesight.set(elasticsearch_url=fleet.pagesight.url)
    write_600_pages(fleet)
    standin.tell(latency_seconds=0.2)
    beat = fleet.pagesight.start("beat")
    fleet.start_workers(WORKERS)
    service = Service(fleet, node, standin, fleet.enqueue(), chance)
    for moment, fault in zip(moments, faults, strict=True):
        supervise(service, lambda moment=moment: answered(standin) >= moment)
        log.warning("seed %d: %s after %d calls", seed, fault.__name__, moment)
        fault(service)
    supervise(service, lambda: fleet.batch(service.batch).state not in UNENDED)
    beat.interrupt()
    assert beat.ended(60).code == 0

    assert_all_there(
        fleet,
        service.batch,
        standin,
        documents=DOCUMENTS,
        pages=PAGES,
        repeated=IN_FLIGHT * FAULTS_A_ROUND,
        killed=True,
    )


def supervise(service: Service, until: Callable[[], bool]) -> None:
    """Start workers again that died, as a service manager would, until something is true."""
    deadline = time.monotonic() + ROUND_SECONDS
    while not until():
        for _ in range(WORKERS - sum(worker.going_on for worker in service.fleet.workers)):
            service.fleet.start_worker()
        for worker in service.fleet.workers:
            worker.going_on and worker.family()
        assert time.monotonic() < deadline, service.fleet.said()
        time.sleep(0.1)


def write_600_pages(fleet: Fleet) -> None:
    """Ten long documents, 25 that fit into one range, and as many pictures of two frames."""
    files = fleet.pagesight.files
    for number in range(10):
        make_pdf(files / f"book-{number}.pdf", 30, seed=100 + number)
    for number in range(25):
        make_pdf(files / f"letter-{number}.pdf", 10, seed=200 + number)
        make_picture(files / f"plate-{number}.tiff", seed=300 + number, frames=2)

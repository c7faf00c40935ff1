"""An archive whose disk fills up while a fleet works: a loud halt, nothing half-written, and every message kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.search.index import Index
from support.fleet_runs import Fleet, assert_sixty
from support.pagesight_runs import answered, write_sixty_pages
from support.redis_server import RedisServer
from support.small_disk import OnSmallDisk, SmallDisk, assert_everything_in_it_is_whole, needs_mounts
from support.standin import Standin

#: Answers that came when there was no room for them: one for each page that a worker had in hand, at most.
LOST_ANSWERS = 16

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    needs_mounts(tmp_path)
    disk = SmallDisk(tmp_path / "disk", megabytes=24)
    yield disk
    disk.close()


@pytest.fixture
def fleet_on_disk(
    disk: SmallDisk,
    tmp_path: Path,
    bare_index: Index,
    elasticsearch_url: str,
    standin: Standin,
    redis_server: RedisServer,
) -> Iterator[Fleet]:
    pagesight = OnSmallDisk(
        tmp_path / "home", disk, tmp_path / "disk", elasticsearch_url, standin, range_seconds=8, vlm_read_seconds=10
    )
    write_sixty_pages(pagesight)
    standin.tell(latency_seconds=0.2)
    yield Fleet(pagesight, redis_server)
    pagesight.close()


@pytest.mark.slow
def test_a_full_disk_halts_the_fleet_until_there_is_room(
    fleet_on_disk: Fleet, disk: SmallDisk, standin: Standin
) -> None:
    fleet = fleet_on_disk
    pagesight = fleet.pagesight
    fleet.start_worker()
    batch = fleet.enqueue()
    fleet.until(lambda: answered(standin) >= 30)
    disk.fill()
    fleet.until(lambda: "halted" in fleet.said())
    fleet.until(lambda: fleet.queued()["unacked"] == 0)
    assert fleet.queued()["normal"] > 0
    asked = standin.counters()["requests"]
    time.sleep(5)
    assert standin.counters()["requests"] == asked < 120
    assert fleet.batch(batch).state == "working"
    (worker,) = pagesight.run("status", "--json").json["workers"]
    assert worker["state"] == "halted"
    assert "No space left on device" in worker["waiting"]["cause"]
    said = fleet.said()
    assert "No space left on device" in said
    assert "Free space" in said
    assert "Traceback" not in said
    assert_everything_in_it_is_whole(pagesight.archive_folder)

    disk.make_room()
    fleet.until(lambda: (state := pagesight.archive.fleet.newest()) is not None and state.state == "halted")
    shown = pagesight.run("status")
    assert shown.code == 3
    assert "Free space" in shown.stdout
    assert pagesight.run("resume").code == 0
    assert_sixty(fleet, batch, standin, repeated=LOST_ANSWERS)
    assert_everything_in_it_is_whole(pagesight.archive_folder)

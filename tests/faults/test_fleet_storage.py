"""An archive whose disk fills up while a fleet works: workers wait and say why, and go on by themselves."""

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
LOST_ANSWERS = 0
RANGE_SECONDS = 8

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
    index: Index,
    elasticsearch_url: str,
    standin: Standin,
    redis_server: RedisServer,
) -> Iterator[Fleet]:
    pagesight = OnSmallDisk(
        tmp_path / "home",
        disk,
        tmp_path / "disk",
        elasticsearch_url,
        standin,
        range_seconds=RANGE_SECONDS,
        vlm_read_seconds=10,
    )
    write_sixty_pages(pagesight)
    standin.tell(latency_seconds=0.2)
    yield Fleet(pagesight, redis_server)
    pagesight.close()


@pytest.mark.slow
def test_workers_wait_for_room_on_a_full_disk_and_go_on_by_themselves(
    fleet_on_disk: Fleet, disk: SmallDisk, standin: Standin
) -> None:
    fleet = fleet_on_disk
    pagesight = fleet.pagesight
    worker = fleet.start_worker()
    batch = fleet.enqueue()
    fleet.until(lambda: answered(standin) >= 30)
    disk.fill()
    fleet.until(lambda: "Waiting for the archive" in fleet.said())
    fleet.until(lambda: pagesight.run("status", "--json").json["workers"][0]["waiting"] is not None)
    (shown,) = pagesight.run("status", "--json").json["workers"]
    assert shown["waiting"]["service"] == "archive"
    assert "No space left on device" in shown["waiting"]["cause"]
    time.sleep(RANGE_SECONDS)  # messages hand back their rest meanwhile
    asked = standin.counters()["requests"]
    time.sleep(5)
    assert standin.counters()["requests"] == asked < 120
    assert fleet.batch(batch).state == "working"
    said = fleet.said()
    assert "Free space" in said
    assert "halted" not in said
    assert "Traceback" not in said
    assert worker.going_on

    disk.make_room()
    assert_sixty(fleet, batch, standin, repeated=LOST_ANSWERS)
    assert_everything_in_it_is_whole(pagesight.archive_folder)

"""An archive whose disk is not mounted: nothing is paid again, no message is dropped, and all goes on by itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support.fleet_runs import CALLS, Fleet, assert_sixty
from support.pagesight_runs import Pagesight, answered, make_pdf
from support.standin import Standin


def unmount(folder: Path, empty_mount_point: bool) -> Path:
    away = folder.with_name("archive-away")
    folder.rename(away)
    if empty_mount_point:
        folder.mkdir()
    return away


def mount(folder: Path, away: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    away.rename(folder)


@pytest.mark.parametrize("empty_mount_point", [True, False])
def test_a_command_refuses_a_missing_archive_and_asks_no_model(
    pagesight: Pagesight, standin: Standin, empty_mount_point: bool
) -> None:
    make_pdf(pagesight.files / "book.pdf", 3, seed=1)
    assert pagesight.index().code == 0
    asked = standin.counters()["requests"]
    away = unmount(pagesight.archive_folder, empty_mount_point)

    for words in (["index", pagesight.files], ["status"], ["batches"], ["plan", pagesight.files], ["archive", "check"]):
        ended = pagesight.run(*words)
        assert ended.code == 3, (words, ended.stdout, ended.stderr)
        assert "archive adopt" in ended.stderr
        assert "Traceback" not in ended.stderr
    assert standin.counters()["requests"] == asked
    assert list(pagesight.archive_folder.glob("*")) == []

    mount(pagesight.archive_folder, away)
    ended = pagesight.index()
    assert (ended.code, ended.json["pages"]) == (0, {"described": 3})
    assert standin.counters()["requests"] == asked


def test_an_adopted_location_is_a_new_archive(pagesight: Pagesight, standin: Standin) -> None:
    make_pdf(pagesight.files / "book.pdf", 1, seed=1)
    assert pagesight.index().code == 0
    unmount(pagesight.archive_folder, empty_mount_point=True)
    assert pagesight.run("status").code == 3

    adopted = pagesight.run("archive", "adopt")

    assert adopted.code == 0, adopted.stderr
    assert pagesight.run("status").code == 0


def test_indices_know_their_archive_where_no_home_and_no_redis_does(
    pagesight: Pagesight, standin: Standin, tmp_path: Path
) -> None:
    make_pdf(pagesight.files / "book.pdf", 2, seed=1)
    assert pagesight.index().code == 0
    asked = standin.counters()["requests"]
    known = json.loads((pagesight.archive_folder / "archive.json").read_text())["id"]
    other = tmp_path / "other-archive"
    pagesight.set(home=tmp_path / "new-home", archive=other)

    for words in (["index", pagesight.files], ["reindex"]):
        ended = pagesight.run(*words)
        assert ended.code == 3, (words, ended.stdout, ended.stderr)
        assert "archive is missing" in ended.stderr
        assert known in ended.stderr
    assert [path for path in other.rglob("*") if path.is_file()] == []
    assert standin.counters()["requests"] == asked

    assert pagesight.run("archive", "adopt").code == 0
    another = json.loads((other / "archive.json").read_text())["id"]
    assert pagesight.index().code == 0
    pagesight.set(home=tmp_path / "newest-home", archive=pagesight.archive_folder)
    ended = pagesight.run("reindex")
    assert ended.code == 3, ended.stderr
    assert known in ended.stderr
    assert another in ended.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize("empty_mount_point", [True, False])
def test_workers_wait_for_an_archive_that_is_missing_at_their_start(
    sixty_queued: Fleet, standin: Standin, empty_mount_point: bool, tmp_path: Path
) -> None:
    fleet, pagesight = sixty_queued, sixty_queued.pagesight
    batch = fleet.enqueue()
    queued = fleet.queued()
    away = unmount(pagesight.archive_folder, empty_mount_point)

    # The home of the worker's machine has never seen the archive: Redis remembers it.
    pagesight.set(home=tmp_path / "other-home", archive=pagesight.archive_folder)
    worker = pagesight.start("worker")
    fleet.workers.append(worker)
    worker.until(lambda: worker.stderr.count("waiting for the archive") >= 2)
    assert fleet.queued() == queued
    assert answered(standin) == 0
    ended = pagesight.run("enqueue", pagesight.files)
    assert ended.code == 3, ended.stderr
    assert fleet.queued() == queued

    mount(pagesight.archive_folder, away)
    assert_sixty(fleet, batch, standin)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("empty_mount_point", [True, False])
def test_an_archive_that_goes_away_under_workers_costs_no_message_and_no_call(
    sixty_queued: Fleet, standin: Standin, empty_mount_point: bool
) -> None:
    fleet, pagesight = sixty_queued, sixty_queued.pagesight
    worker = fleet.start_worker()
    batch = fleet.enqueue()
    fleet.until(lambda: answered(standin) >= 30)
    away = unmount(pagesight.archive_folder, empty_mount_point)
    fleet.until(lambda: "archive is missing" in fleet.said())
    fleet.until(lambda: (found := fleet.queued())["normal"] + found["unacked"] > 0)
    assert "halted" not in worker.stderr
    assert "Traceback" not in worker.stderr
    assert worker.going_on

    mount(pagesight.archive_folder, away)
    # A writer that the archive was taken from has left its temporary file, as one that is killed does.
    assert_sixty(fleet, batch, standin, killed=True)
    assert answered(standin) == CALLS

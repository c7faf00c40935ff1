"""An archive on a disk that is full: a clear end, nothing half-written, and the same command goes on."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from support.pagesight_runs import PROGRAM, Pagesight, write_sixty_pages
from support.small_disk import NAMESPACE, assert_everything_in_it_is_whole, needs_mounts
from support.standin import Standin


def test_a_run_on_a_full_disk_ends_with_the_reason_and_goes_on_once_there_is_room(
    sixty: Pagesight, standin: Standin, tmp_path: Path
):
    needs_mounts(tmp_path)
    sixty.archive_folder.mkdir(parents=True)
    archive, index = map(shlex.quote, (str(sixty.archive_folder), f"{PROGRAM} index --json files"))
    script = f"""
        mount -t tmpfs -o size=1m none {archive}
        {shlex.split(index)[0]} > first.json 2> first.err; echo $? > first.code
        cp -a {archive} first-archive
        mount -o remount,size=100m {archive}
        {shlex.split(index)[0]} > second.json 2> second.err; echo $? > second.code
        cp -a {archive} second-archive
    """
    subprocess.run([*NAMESPACE, "sh", "-c", script], cwd=sixty.home, env=sixty.environment, check=True, timeout=150)

    told = (sixty.home / "first.err").read_text()
    assert (sixty.home / "first.code").read_text() == "3\n"
    assert "No space left on device" in told
    assert "remedy: Free space" in told
    assert "Traceback" not in told
    assert_everything_in_it_is_whole(sixty.home / "first-archive")
    first_answers = list((sixty.home / "first-archive").glob("answers/*/*/*.json"))
    assert first_answers

    assert (sixty.home / "second.code").read_text() == "0\n"
    assert json.loads((sixty.home / "second.json").read_text())["pages"] == {"described": 60}
    assert_everything_in_it_is_whole(sixty.home / "second-archive")
    # An answer that came when there was no room for it is lost, one for each call in flight at most.
    assert standin.counters()["asked_again"] <= 8
    sixty.archive_folder.rmdir()
    (sixty.home / "second-archive").rename(sixty.archive_folder)
    assert len(sixty.records()) == 60
    sixty.assert_archive_and_index_agree()


@pytest.fixture
def sixty(pagesight: Pagesight) -> Pagesight:
    write_sixty_pages(pagesight)
    return pagesight

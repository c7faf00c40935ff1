"""An archive on a disk that is full: the run waits and says why, nothing is half-written, and it goes on by itself."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from support.pagesight_runs import PROGRAM, Pagesight, write_sixty_pages
from support.small_disk import NAMESPACE, assert_everything_in_it_is_whole, needs_mounts
from support.standin import Standin


def test_a_run_on_a_full_disk_waits_and_goes_on_once_there_is_room(sixty: Pagesight, standin: Standin, tmp_path: Path):
    needs_mounts(tmp_path)
    sixty.archive_folder.mkdir(parents=True)
    archive, index = map(shlex.quote, (str(sixty.archive_folder), f"{PROGRAM} index --json files"))
    script = f"""
        mount -t tmpfs -o size=1m none {archive}
        {shlex.split(index)[0]} > run.json 2> run.err & run=$!
        until grep -q "Waiting for the archive" run.err; do sleep 0.1; done
        sleep 2
        kill -0 $run && cp -a {archive} first-archive
        mount -o remount,size=100m {archive}
        wait $run; echo $? > run.code
        cp -a {archive} second-archive
    """
    subprocess.run([*NAMESPACE, "sh", "-c", script], cwd=sixty.home, env=sixty.environment, check=True, timeout=150)

    told = (sixty.home / "run.err").read_text()
    assert "No space left on device" in told
    assert "Free space" in told
    assert "Traceback" not in told
    assert list((sixty.home / "first-archive").glob("answers/*/*/*.json"))

    assert (sixty.home / "run.code").read_text() == "0\n"
    assert json.loads((sixty.home / "run.json").read_text())["pages"] == {"described": 60}
    assert_everything_in_it_is_whole(sixty.home / "second-archive")
    assert standin.counters()["asked_again"] == 0
    sixty.archive_folder.rmdir()
    (sixty.home / "second-archive").rename(sixty.archive_folder)
    assert len(sixty.records()) == 60
    sixty.assert_archive_and_index_agree()


@pytest.fixture
def sixty(pagesight: Pagesight) -> Pagesight:
    write_sixty_pages(pagesight)
    return pagesight

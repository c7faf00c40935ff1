"""However pytest ends, nothing that the tests started goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

TESTS = Path(__file__).parents[1]
#: A test that starts a child with its own environment and session, as servers are started, and one that inherits it.
ENDLESS = """
import subprocess, sys, time
from pathlib import Path

import pytest

CODE = "import time; time.sleep(600)"


@pytest.mark.parametrize("number", range(2))
def test_endless(number):
    server = subprocess.Popen([sys.executable, "-c", CODE], env={}, start_new_session=True)
    time.sleep(5)
    child = subprocess.Popen([sys.executable, "-c", CODE], start_new_session=True)
    Path(f"pids-{number}.new").write_text(f"{server.pid} {child.pid}")
    Path(f"pids-{number}.new").rename(f"pids-{number}")
    server.wait()
"""
STARTED_SECONDS = 60.0
GONE_SECONDS = 60.0


@pytest.mark.parametrize(
    ("number", "jobs"),
    [(signal.SIGINT, 2), (signal.SIGTERM, 0), (signal.SIGKILL, 2)],
    ids=["ctrl-c", "sigterm", "kill"],
)
def test_a_pytest_that_is_ended_leaves_no_process(number: signal.Signals, jobs: int, tmp_path: Path) -> None:
    (tmp_path / "test_endless.py").write_text(ENDLESS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        str(jobs),
        "-p",
        "support.guardian",
        "--rootdir",
        tmp_path,
        tmp_path,
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(TESTS)
    with (tmp_path / "output").open("wb") as output:
        run = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=output, stderr=output)
    started = [process for file in range(max(1, jobs)) for process in processes(tmp_path / f"pids-{file}", run)]
    run.send_signal(number)
    run.wait(60)
    _, alive = psutil.wait_procs(started, timeout=GONE_SECONDS)
    for process in alive:
        process.kill()
    assert alive == []


def processes(file: Path, run: subprocess.Popen[bytes]) -> list[psutil.Process]:
    deadline = time.monotonic() + STARTED_SECONDS
    while not file.exists():
        assert run.poll() is None, (file.parent / "output").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [psutil.Process(int(pid)) for pid in file.read_text().split()]

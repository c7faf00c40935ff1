"""Coverage-guided fuzzing of what reads foreign bytes, for `make soak`: it reaches what blind mutation does not.

MINUTES=… CPU-minutes for each target; SEED=… repeats a run. KEEP=… has the inputs that broke a rule, and the corpus,
from which the next run goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

MINUTES = float(os.environ.get("MINUTES", "10"))
SEED = int(os.environ.get("SEED", str(time.time_ns() % 1_000_000)))
KEEP = Path(os.environ.get("KEEP", Path(tempfile.gettempdir()) / "pagesight-coverage-fuzzing"))
SCRIPT = Path(__file__).parents[1] / "support" / "coverage_fuzzing.py"
TARGETS = ("heads", "archives", "envelopes", "mail", "outlook", "conditions", "messages", "answers")


@pytest.mark.timeout(0)
@pytest.mark.parametrize("target", TARGETS)
def test_foreign_bytes_raise_documented_errors_within_bounds(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = KEEP / target
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with log.open("wb") as out:
        command = [sys.executable, str(SCRIPT), target, str(folder), f"-seed={SEED}"]
        fuzzer = psutil.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        status = end_after(fuzzer, 60 * MINUTES)
    said = log.read_text(errors="replace")
    with capsys.disabled():
        sys.stdout.write(f"\n{target}: SEED={SEED} {last_progress(said)}\n")
    assert status is None, f"{said[-4000:]}\nThe input is in {folder}."


def end_after(fuzzer: psutil.Popen, cpu_seconds: float) -> int | None:
    """End a fuzzer after CPU time. Return its exit status if it ended before, by an input that broke a rule."""
    while (status := fuzzer.poll()) is None:
        used = fuzzer.cpu_times()
        if used.user + used.system >= cpu_seconds:
            fuzzer.kill()
            fuzzer.wait()
            return None
        time.sleep(0.2)
    return int(status)


def last_progress(said: str) -> str:
    """Return libFuzzer's last line of progress: inputs, coverage, features, corpus, speed."""
    return next((line for line in reversed(said.splitlines()) if line.startswith("#")), "no input was tried")

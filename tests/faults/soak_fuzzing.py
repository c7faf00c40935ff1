"""Damaged files against every decoder, for `make soak`: too long for every run of the tests, and never the same twice.

MINUTES=… CPU-minutes for each format, SEED=… repeats a run. KEEP=… is where files go that broke a rule, or were the
first to crash a decoder in some way.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pipeline.models import MediaType
from support.fuzzing import Fuzzer, cpu_seconds, seed_files

MINUTES = float(os.environ.get("MINUTES", "10"))
SEED = int(os.environ.get("SEED", str(time.time_ns() % 1_000_000)))
KEEP = Path(os.environ.get("KEEP", Path(tempfile.gettempdir()) / "pagesight-fuzzing"))


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", MediaType, ids=lambda kind: kind.name.lower())
def test_damaged_files(
    kind: MediaType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind not in seed_files():
        pytest.skip("no small file of this format is here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    began, started = cpu_seconds(), time.monotonic()

    def going_on(_: int) -> bool:
        # What a converter's killed processes have taken is not told: twice the time by the clock is enough.
        return cpu_seconds() - began < 60 * MINUTES and time.monotonic() - started < 120 * MINUTES

    fuzzer = Fuzzer(page_seconds=20, keep=KEEP)
    fuzzed = fuzzer.fuzz(kind, random.Random(SEED), going_on)
    with capsys.disabled():
        sys.stdout.write(f"\nSEED={SEED} {fuzzed}\n")
    assert fuzzed.broken == []

"""Damaged files against every decoder, for `make soak`: too long for every run of the tests, and never the same twice.

MINUTES=… CPU-minutes for each decoder, shared by its formats; SEED=… repeats a run. KEEP=… is where files go that broke
a rule, or were the first to crash a decoder in some way.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.formats import MediaType, Route
from support.fuzzing import Fuzzer, cpu_seconds, seed_files

MINUTES = float(os.environ.get("MINUTES", "10"))
SEED = int(os.environ.get("SEED", str(time.time_ns() % 1_000_000)))
KEEP = Path(os.environ.get("KEEP", Path(tempfile.gettempdir()) / "pagesight-fuzzing"))
DECODERS = {
    "pdfium": [MediaType.PDF],
    "openjpeg": [MediaType.JP2],
    "libheif": [MediaType.HEIF, MediaType.AVIF],
    "pillow": [
        kind
        for kind in MediaType
        if kind.route is Route.IMAGE and kind not in (MediaType.JP2, MediaType.HEIF, MediaType.AVIF)
    ],
    "djvulibre": [MediaType.DJVU],
    "zipfile": [MediaType.ZIP],
    "py7zr": [MediaType.SEVEN_ZIP],
    "tarfile": [MediaType.TAR, MediaType.GZIP, MediaType.BZIP2, MediaType.XZ],
    "mail": [MediaType.EML],
    "olefile": [MediaType.MSG],
    "libreoffice": [kind for kind in MediaType if kind.route is Route.CONVERTED and kind is not MediaType.DJVU],
}


def test_every_format_has_its_decoder() -> None:
    assert sorted(kind for kinds in DECODERS.values() for kind in kinds) == sorted(MediaType)


def for_minutes(minutes: float, kind: MediaType) -> Callable[[int], bool]:
    """Return whether a format has had fewer CPU-minutes than these so far."""
    began, started = cpu_seconds(), time.monotonic()

    def going_on(_: int) -> bool:
        # What a converter's killed processes have taken is not told: four times the time by the clock is enough.
        in_time = kind.route is not Route.CONVERTED or time.monotonic() - started < 240 * minutes
        return cpu_seconds() - began < 60 * minutes and in_time

    return going_on


@pytest.mark.timeout(0)
@pytest.mark.parametrize("decoder", DECODERS)
def test_damaged_files(
    decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = [kind for kind in DECODERS[decoder] if kind in seed_files()]
    assert kinds, "no small file of its formats is here"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fuzzer = Fuzzer(page_seconds=20, keep=KEEP)
    broken = []
    for kind in kinds:
        fuzzed = fuzzer.fuzz(kind, random.Random(SEED), for_minutes(MINUTES / len(kinds), kind))
        with capsys.disabled():
            sys.stdout.write(f"\n{decoder}: SEED={SEED} {fuzzed}\n")
        broken += fuzzed.broken
    assert broken == []

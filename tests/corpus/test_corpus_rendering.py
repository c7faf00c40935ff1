"""Every file of the corpus that this version renders ends as its manifest allows, in any order, within limits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.core.errors import OutcomeError
from pipeline.core.models import RenderedPage
from pipeline.rendering.host.pool import SandboxPool
from pipeline.rendering.protocol import RenderLimits
from support.corpus import CORPUS, MEDIA_TYPES, WORDS, accepted, renderable

LIMITS = RenderLimits(
    page_seconds=60,
    wall_seconds=300,
    memory_mb=2048,
    max_pages=20_000,
    max_pixels=300_000_000,
    max_members=1_000,
    max_expansion=100,
)


@dataclass(frozen=True)
class Outcome:
    """What became of a file: its pages' pixels, or what was said instead of them."""

    pages: int | None
    results: tuple[str, ...]
    failures: tuple[str, ...]

    @property
    def word(self) -> str:
        if not self.failures:
            return "ok"
        return "ok-partial" if self.results else WORDS[self.failures[0].partition(":")[0]]


@dataclass(frozen=True)
class Run:
    outcomes: dict[str, Outcome]
    largest_child_bytes: int


def check_page(page: RenderedPage) -> None:
    assert 0 < page.width_px * page.height_px <= 1_003_520
    assert max(page.width_px, page.height_px) <= 200 * min(page.width_px, page.height_px)
    assert page.jpeg.startswith(b"\xff\xd8")
    assert page.thumbnail.startswith(b"RIFF")
    assert 0 <= page.facts.ink_share <= 1
    texts = (page.layer_text, page.label, *page.exif, *page.exif.values(), page.original.camera)
    for text in texts:
        assert text is None or ("\0" not in text and text.encode("utf-8"))


def render_all(pool: SandboxPool, entry: dict[str, Any]) -> Outcome:
    results, failures, pages = [], [], None
    try:
        with (CORPUS / entry["file"]).open("rb") as file, pool.open(file, MEDIA_TYPES[entry["format"]]) as document:
            pages = document.pages
            for number in range(1, pages + 1):
                try:
                    page = document.render(number)
                    check_page(page)
                    results.append(page.pixels_sha256 + str(hash(page.layer_text)))
                except OutcomeError as error:
                    failures.append(f"{error.code}: {error}")
    except OutcomeError as error:
        failures.append(f"{error.code}: {error}")
    return Outcome(pages, tuple(results), tuple(failures))


def run(entries: Sequence[dict[str, Any]]) -> Run:
    pool = SandboxPool(2, LIMITS)
    try:
        with ThreadPoolExecutor(2) as threads:
            outcomes = list(threads.map(lambda entry: render_all(pool, entry), entries))
        peaks = [_peak_bytes(child.pid) for child in psutil.Process().children()]
    finally:
        pool.close()
    return Run({entry["file"]: outcome for entry, outcome in zip(entries, outcomes, strict=True)}, max(peaks))


def _peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024


@pytest.fixture(scope="module")
def entries() -> list[dict[str, Any]]:
    return renderable()


@pytest.fixture(scope="module")
def in_order(entries: list[dict[str, Any]]) -> Run:
    return run(entries)


def test_every_file_ends_as_the_manifest_allows(entries: list[dict[str, Any]], in_order: Run) -> None:
    wrong = {
        entry["file"]: (in_order.outcomes[entry["file"]], accepted(entry))
        for entry in entries
        if in_order.outcomes[entry["file"]].word not in (accepted(entry))
    }
    assert not wrong


def test_page_counts_are_those_of_the_manifest(entries: list[dict[str, Any]], in_order: Run) -> None:
    # Of an animation, or of a camera's second picture, only the first frame is a page.
    paged = [entry for entry in entries if entry["format"] in ("pdf", "tiff") and entry["pages"]]
    counts = {entry["file"]: in_order.outcomes[entry["file"]].pages for entry in paged}
    assert len(counts) > 100
    expected = {entry["file"]: entry["pages"] for entry in paged}
    assert {file: count for file, count in counts.items() if count not in (None, expected[file])} == {}


def test_no_outcome_depends_on_the_order_of_files(entries: list[dict[str, Any]], in_order: Run) -> None:
    shuffled = random.Random(3).sample(entries, len(entries))
    assert run(shuffled).outcomes == in_order.outcomes


def test_children_stay_far_below_their_limit(in_order: Run) -> None:
    assert in_order.largest_child_bytes < LIMITS.memory_mb << 20

"""Rendering in the sandbox against a bare loop of pypdfium2 and Pillow over the same pages, one process each."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pypdfium2 as pdfium
from common import Row, make_pdf, workplace

from pipeline.core.formats import MediaType
from pipeline.rendering.host.pool import SandboxPool
from pipeline.rendering.protocol import RenderLimits
from pipeline.rendering.sandbox.pdf.document import PdfFile

MAX_PIXELS = 1_003_520
PAGES = 100
ROUNDS = 5


def rows() -> Iterator[Row]:
    limits = RenderLimits(
        page_seconds=60,
        wall_seconds=300,
        memory_mb=2048,
        max_pages=20_000,
        max_pixels=300_000_000,
        max_members=1_000,
        max_expansion=100,
    )
    with workplace() as home, closing(SandboxPool(1, limits)) as pool:
        document = make_pdf(home / "pages.pdf", PAGES, seed=1)
        sandboxed(pool, document)
        ways = (lambda: bare(document), lambda: same_work(document, limits), lambda: sandboxed(pool, document))
        times = [[timed(way) for way in ways] for _ in range(ROUNDS)]
    pages_per_second = PAGES / statistics.median(sandbox for _, _, sandbox in times)
    for against, place, aim in (
        ("a bare loop of pypdfium2 and JPEG, which makes no thumbnail, hashes, text layer and measures", 0, ">= 0.9"),
        ("the same work without a sandbox", 1, ""),
    ):
        ratio = statistics.median(round_[place] / round_[2] for round_ in times)
        what = f"render {PAGES} pages of 45 lines in one sandbox, against {against}"
        yield Row(what, f"{pages_per_second:.0f} pages/s", f"{ratio:.2f}", aim)


def bare(document: Path) -> None:
    with pdfium.PdfDocument(document) as opened:
        for page in opened:
            width, height = page.get_size()
            bitmap = page.render(scale=(MAX_PIXELS / (width * height)) ** 0.5)
            bitmap.to_pil().convert("RGB").save(io.BytesIO(), "JPEG", quality=90)
            bitmap.close()
            page.close()


def sandboxed(pool: SandboxPool, document: Path) -> None:
    with document.open("rb") as file, pool.open(file, MediaType.PDF) as opened:
        for number in range(1, opened.pages + 1):
            opened.render(number)


def same_work(document: Path, limits: RenderLimits) -> None:
    """What a sandbox does, in this process."""
    with document.open("rb") as file:
        opened = PdfFile(file.fileno(), limits)
        for number in range(1, opened.pages + 1):
            opened.render(number)
        opened.close()


def timed(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began

"""Rendering in the sandbox against a bare loop of pypdfium2 and Pillow over the same pages, one process each."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pypdfium2 as pdfium
from common import Row, make_pdf, workplace

from pipeline.models import MediaType
from pipeline.rendering import RenderLimits, SandboxPool

MAX_PIXELS = 1_003_520
PAGES = 100
ROUNDS = 5


def rows() -> Iterator[Row]:
    limits = RenderLimits(page_seconds=60, memory_mb=2048, max_pages=20_000, max_pixels=300_000_000)
    with workplace() as home, SandboxPoolClosing(1, limits) as pool:
        document = make_pdf(home / "pages.pdf", PAGES, seed=1)
        sandboxed(pool, document)
        pairs = [(timed(bare, document), timed(sandboxed, pool, document)) for _ in range(ROUNDS)]
    ratio = statistics.median(bare_seconds / seconds for bare_seconds, seconds in pairs)
    mine = statistics.median(seconds for _, seconds in pairs)
    yield Row(
        f"render and encode {PAGES} pages: a bare pypdfium2 + JPEG loop against the sandbox, which also makes thumbnail, "
        "hashes, text layer and measures",
        f"{PAGES / mine:.0f} pages/s in one sandbox",
        f"{ratio:.2f}",
        ">= 0.9",
    )


class SandboxPoolClosing(SandboxPool):
    def __enter__(self) -> SandboxPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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


def timed(work: object, *arguments: object) -> float:
    began = time.monotonic()
    work(*arguments)  # type: ignore[operator]
    return time.monotonic() - began

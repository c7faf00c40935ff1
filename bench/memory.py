"""Peak memory of the whole process tree while a PDF of 2,000 pages is indexed."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pypdfium2 as pdfium
from common import Peak, Row, make_pdf, node, settings, standin, watched, workplace

PAGES = 2000
#: OCR takes a second and a half a page: enough pages for its peak to show.
SCANNED_PAGES = 30


def rows() -> Iterator[Row]:
    yield model_endpoint()
    yield local_reader()


def model_endpoint() -> Row:
    """Index a long PDF; memory has to be flat over its second half."""
    with node() as url, workplace() as home, standin(0.2) as model:
        document = make_pdf(home / "pages.pdf", PAGES, seed=2)
        settings(home, url, model, vlm_concurrency=16)
        peak = run(document)
    early = statistics.mean(peak.samples[len(peak.samples) // 4 : len(peak.samples) // 2])
    late = statistics.mean(peak.samples[3 * len(peak.samples) // 4 :])
    return Row(
        f"peak memory of the tree, {PAGES}-page PDF, model endpoint, 16 in flight",
        f"{peak.tree:.0f} MB (parent {peak.parent:.0f} MB)",
        f"{late / early:.2f} last quarter to second",
        "<= 400 MB, flat",
    )


def local_reader() -> Row:
    """Read scans with OCR. It has a node of its own: the indices of another archive are refused."""
    with node() as url, workplace() as home:
        document = make_scans(home / "scans.pdf", SCANNED_PAGES)
        settings(home, url, None)
        peak = run(document)
    return Row(
        f"peak memory of the tree, {SCANNED_PAGES} scanned pages, local reader",
        f"{peak.tree:.0f} MB (parent {peak.parent:.0f} MB)",
        "",
        "<= 1,200 MB",
    )


def run(document: Path) -> Peak:
    command = [str(Path(sys.executable).parent / "pagesight"), "index", str(document), "-c", "memory", "--json"]
    with (
        subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
        watched(process.pid) as peak,
    ):
        process.wait()
    assert process.returncode == 0
    return peak


def make_scans(path: Path, pages: int) -> Path:
    """Pages that are pictures of text only."""
    printed = make_pdf(path.with_suffix(".printed.pdf"), pages, seed=3)
    with pdfium.PdfDocument(printed) as opened:
        first, *rest = [page.render(scale=150 / 72).to_pil() for page in opened]
    first.save(path, "PDF", save_all=True, append_images=rest, resolution=150)
    return path

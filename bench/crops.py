"""Which pages are read better in crops: the words that OCR finds on the page image, and on two and three sharper bands.

The OCR stands in for a model that sees at most 1,003,520 pixels of a picture, as jina-vlm does. It reads the scans of
the corpus that have truth texts, and scans made of pages of known type sizes. Recall is the share of the truth's words
that are in the text, or of its lines where the truth holds only some; surplus are words that are there more often than
in the truth, for each word of it, as those of doubled lines are.
"""

from __future__ import annotations

import io
import random
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pypdfium2
from common import WORDS, settings, workplace
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from pipeline.analysis.inspect import Inspector
from pipeline.analysis.text_metrics import line_recall, word_recall, words
from pipeline.core.errors import OutcomeError
from pipeline.core.models import RenderedCrop, RenderedPage
from pipeline.core.retry import CancelToken
from pipeline.documents.opening import OpenPages
from pipeline.pages.registration import identified_source
from pipeline.services import open_archive, open_inspector, open_reader
from pipeline.sources import FoundFile, display_path, source_url
from pipeline.vision.quality.stitching import merge
from pipeline.vision.reader import Reader
from support.corpus import CORPUS, manifest

COLUMNS = ("document", "pages", "glyph_px", "whole page", "halves", "thirds", "surplus", "seams found")
#: Type sizes of the pages that are made, in points, and how finely they are scanned.
POINTS = (4, 5, 6, 7, 8, 10, 12)
#: Lines on each of them, evenly over the page: with as few as that OCR takes seconds.
MADE_LINES = 24
SCAN_DPI = 300
_COMMENT = re.compile("<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    document: str
    pages: str
    glyph_px: str
    whole: str
    halves: str
    thirds: str
    surplus: str
    seams: str


@dataclass(frozen=True)
class Document:
    """A scan and the words on it."""

    name: str
    path: Path
    truth: str
    complete: bool
    """Whether the truth holds all words."""


@dataclass(frozen=True)
class Read:
    """A document's text, read in so many bands."""

    text: str
    seams: tuple[int | None, ...]


def rows() -> Iterator[Row]:
    with workplace() as home:
        cancel, chosen = CancelToken(), settings(home, "http://127.0.0.1:9", None)
        with (
            open_inspector(chosen, cancel) as inspector,
            closing(open_reader(chosen, open_archive(chosen))) as reader,
        ):
            for document in (*made(home), *scans()):
                try:
                    yield from measure(document, inspector, reader, cancel)
                except OutcomeError as error:
                    yield Row(document.name, "", "", "", "", "", "", f"{error.code}: {error}")


def made(home: Path) -> Iterator[Document]:
    """Yield scans of A4 pages from top to bottom of which there is text."""
    for points in POINTS:
        chance = random.Random(points)
        pdf, lines = io.BytesIO(), []
        canvas = Canvas(pdf, pagesize=(595, 842))
        canvas.setFont("Times-Roman", points)
        for y in range(790, 50, -740 // MADE_LINES):
            lines.append(" ".join(f"{chance.choice(WORDS)} {chance.randrange(1000)}" for _ in range(60 // points)))
            canvas.drawString(50, y, lines[-1])
        canvas.save()
        path = home / f"{points}.jpg"
        with pypdfium2.PdfDocument(pdf.getvalue()) as drawn:
            drawn[0].render(scale=SCAN_DPI / 72).to_pil().convert("L").save(path, dpi=(SCAN_DPI, SCAN_DPI))
        yield Document(f"made, {points} pt", path, "\n".join(lines), complete=True)


def scans() -> Iterator[Document]:
    """Yield the files of the corpus that have a truth text and may be scans."""
    for entry in manifest():
        if not entry.get("truth") or not entry["file"].startswith(("images/", "pdf/")) or "password" in entry:
            continue
        (truth,) = entry["truth"]
        wanted = _COMMENT.sub("", (CORPUS / truth["file"]).read_text(encoding="utf-8"))
        yield Document(entry["file"], CORPUS / entry["file"], wanted, truth["kind"] != "must-contain")


def measure(document: Document, inspector: Inspector, reader: Reader, cancel: CancelToken) -> Iterator[Row]:
    """Read a document in all ways; of one that is no scan nothing is told.

    Raises:
        OutcomeError: it ends in no pages.
    """
    url, files, opener = source_url(document.path), inspector.files, inspector.opener
    opening = identified_source(FoundFile(url), files.state(url), opener, files, inspector.max_file_bytes)
    with (
        opening as (file, document_id, media_type),
        opener.open(file, document_id, display_path(url), media_type, cancel) as opened,
    ):
        pages = [opened.render(number, with_pixels=True) for number in range(1, opened.pages + 1)]
        if all(page.facts.is_vector for page in pages):
            return
        whole = "\n".join(text_of(page, reader, cancel) for page in pages)
        halves, thirds = (read_in(bands, opened, pages, reader, cancel) for bands in (2, 3))
    yield row(document, pages, (Read(whole, ()), halves, thirds))


def read_in(bands: int, opened: OpenPages, pages: Sequence[RenderedPage], reader: Reader, cancel: CancelToken) -> Read:
    """Read each page in so many bands."""
    merged = [
        merge([text_of(as_page(page, crop), reader, cancel) for crop in opened.render_crops(page.page_number, bands)])
        for page in pages
    ]
    return Read("\n".join(page.text for page in merged), tuple(seam for page in merged for seam in page.seams))


def as_page(page: RenderedPage, crop: RenderedCrop) -> RenderedPage:
    """Return a crop as if it were a page."""
    rgb = Image.open(io.BytesIO(crop.jpeg)).convert("RGB").tobytes()
    return replace(page, rgb=rgb, width_px=crop.width_px, height_px=crop.height_px, pixels_sha256=crop.pixels_sha256)


def text_of(page: RenderedPage, reader: Reader, cancel: CancelToken) -> str:
    """Read a picture of text."""
    return reader.read(replace(page, layer_text=None), "en", cancel).text or ""


def row(document: Document, pages: Sequence[RenderedPage], read: Sequence[Read]) -> Row:
    """Compare what was read with the truth."""
    glyphs = [page.facts.glyph_px for page in pages if page.facts.glyph_px is not None]
    recall = word_recall if document.complete else line_recall
    seams = [seam for way in read for seam in way.seams]
    return Row(
        document.name,
        str(len(pages)),
        f"{statistics.mean(glyphs):.1f}" if glyphs else "–",
        *(f"{recall(document.truth, way.text) or 0:.2f}" for way in read),
        " / ".join(f"{surplus(document.truth, way.text):.2f}" for way in read) if document.complete else "–",
        f"{sum(seam is not None for seam in seams)} of {len(seams)}",
    )


def surplus(truth: str, text: str) -> float:
    """Return how many words too many there are, for each word of the truth."""
    wanted = Counter(words(truth))
    return (Counter(words(text)) - wanted).total() / wanted.total()

"""Draws docs/samples.jpg, the samples' pages side by side, for the README: `make samples`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pypdfium2 as pdfium
from PIL import Image, ImageOps, ImageSequence

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("annual-report.pdf", "scanned-letter.pdf", "ledger-scans.tif", "bericht.pdf", "anakoinosi.pdf", "harbour.jpg")
CELL = (230, 300)
COLUMNS = 6
GAP = 10
GROUND = "#e8eaed"


def pages(path: Path) -> Iterator[Image.Image]:
    if path.suffix == ".pdf":
        with pdfium.PdfDocument(path) as document:
            yield from (page.render(scale=1).to_pil() for page in document)
    else:
        with Image.open(path) as picture:
            yield from (ImageOps.exif_transpose(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture))


def main() -> None:
    pictures = [page for name in SHOWN for page in pages(ROOT / "samples" / name)]
    rows = math.ceil(len(pictures) / COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (CELL[0] + GAP) + GAP, rows * (CELL[1] + GAP) + GAP), GROUND)
    for place, picture in enumerate(pictures):
        picture.thumbnail(CELL, Image.Resampling.LANCZOS)
        left = GAP + place % COLUMNS * (CELL[0] + GAP) + (CELL[0] - picture.width) // 2
        top = GAP + place // COLUMNS * (CELL[1] + GAP) + (CELL[1] - picture.height) // 2
        sheet.paste(picture, (left, top))
    sheet.save(ROOT / "docs" / "samples.jpg", quality=80)


if __name__ == "__main__":
    main()

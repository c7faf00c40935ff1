"""Measures the share of a PDF page under pictures. Runs in the sandbox process."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from PIL import Image

from pipeline.rendering.sandbox.pdf.objects import matrix_of, objects_of, product

_GRID = 128


def picture_share(page: pdfium.PdfPage) -> float:
    """Return the share of the page's box under its image objects, on a grid of 128 x 128."""
    left, bottom, right, top = page.get_bbox()
    across, up = _GRID / max(right - left, 1e-6), _GRID / max(top - bottom, 1e-6)
    grid = Image.new("L", (_GRID, _GRID))
    for x0, y0, x1, y1 in image_boxes(page):
        cells = ((x0 - left) * across, (y0 - bottom) * up, (x1 - left) * across, (y1 - bottom) * up)
        if all(map(math.isfinite, cells)):
            grid.paste(1, tuple(min(_GRID, max(0, round(cell))) for cell in cells))
    return grid.histogram()[1] / _GRID**2


def image_boxes(page: pdfium.PdfPage) -> Iterator[tuple[float, float, float, float]]:
    """Yield the boxes (left, bottom, right, top, in the page's units) of image objects, also those within forms."""
    for raw, to_page, _ in objects_of(page):
        if pdfium_c.FPDFPageObj_GetType(raw) == pdfium_c.FPDF_PAGEOBJ_IMAGE:
            a, b, c, d, e, f = product(matrix_of(raw), to_page)
            # An image is the unit square under its matrix.
            xs, ys = (e, e + a, e + c, e + a + c), (f, f + b, f + d, f + b + d)
            yield min(xs), min(ys), max(xs), max(ys)

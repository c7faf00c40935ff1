"""Measures the share of a PDF page under pictures. Runs in the sandbox process."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from PIL import Image

#: Objects that are examined: pages with 100,000 objects exist.
_MAX_OBJECTS = 4_000
_MAX_FORM_DEPTH = 3
_GRID = 128

Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: Matrix = (1, 0, 0, 1, 0, 0)


def picture_share(page: pdfium.PdfPage) -> float:
    """Return the share of the page's box under its image objects, on a grid of 128 x 128."""
    left, bottom, right, top = page.get_bbox()
    across, up = _GRID / max(right - left, 1e-6), _GRID / max(top - bottom, 1e-6)
    grid = Image.new("L", (_GRID, _GRID))
    for x0, y0, x1, y1 in _image_boxes(page):
        cells = ((x0 - left) * across, (y0 - bottom) * up, (x1 - left) * across, (y1 - bottom) * up)
        if all(map(math.isfinite, cells)):
            grid.paste(1, tuple(min(_GRID, max(0, round(cell))) for cell in cells))
    return grid.histogram()[1] / _GRID**2


def _image_boxes(page: pdfium.PdfPage) -> Iterator[tuple[float, float, float, float]]:
    """Yield the boxes (left, bottom, right, top, in the page's units) of image objects, also those within forms."""
    for raw, to_page in _objects(page):
        if pdfium_c.FPDFPageObj_GetType(raw) == pdfium_c.FPDF_PAGEOBJ_IMAGE:
            a, b, c, d, e, f = _product(_matrix(raw), to_page)
            # An image is the unit square under its matrix.
            xs, ys = (e, e + a, e + c, e + a + c), (f, f + b, f + d, f + b + d)
            yield min(xs), min(ys), max(xs), max(ys)


def _objects(page: pdfium.PdfPage) -> Iterator[tuple[object, Matrix]]:
    """Yield the page's objects, each with the matrix from its space to the page's, as far as the bound allows."""
    budget = _MAX_OBJECTS
    pending = [(page, _IDENTITY, 0)]
    while pending:
        parent, to_page, depth = pending.pop()
        count, get = (
            (pdfium_c.FPDFFormObj_CountObjects, pdfium_c.FPDFFormObj_GetObject)
            if depth
            else (pdfium_c.FPDFPage_CountObjects, pdfium_c.FPDFPage_GetObject)
        )
        for index in range(min(count(parent), budget)):
            raw = get(parent, index)
            yield raw, to_page
            budget -= 1
            if depth < _MAX_FORM_DEPTH and pdfium_c.FPDFPageObj_GetType(raw) == pdfium_c.FPDF_PAGEOBJ_FORM:
                pending.append((raw, _product(_matrix(raw), to_page), depth + 1))


def _matrix(raw: object) -> Matrix:
    matrix = pdfium_c.FS_MATRIX()
    pdfium_c.FPDFPageObj_GetMatrix(raw, matrix)
    return (matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f)


def _product(first: Matrix, second: Matrix) -> Matrix:
    """Return the matrix that applies `first`, then `second`."""
    a, b, c, d, e, f = first
    p, q, r, s, t, u = second
    return (a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u)

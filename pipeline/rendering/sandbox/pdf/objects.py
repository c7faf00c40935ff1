"""Walks over the objects of a PDF page, also those within forms. Runs in the sandbox process."""

from __future__ import annotations

from collections.abc import Iterator

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

#: Objects that are examined: pages with 100,000 objects exist.
_MAX_OBJECTS = 4_000
_MAX_FORM_DEPTH = 3

Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: Matrix = (1, 0, 0, 1, 0, 0)


def objects_of(page: pdfium.PdfPage) -> Iterator[tuple[object, Matrix, object | None]]:
    """Yield the page's objects, as far as the bound allows.

    Each comes with the matrix from its space to the page's, and the form that it belongs to (None for the page itself).
    """
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
            yield raw, to_page, parent if depth else None
            budget -= 1
            if depth < _MAX_FORM_DEPTH and pdfium_c.FPDFPageObj_GetType(raw) == pdfium_c.FPDF_PAGEOBJ_FORM:
                pending.append((raw, product(matrix_of(raw), to_page), depth + 1))


def matrix_of(raw: object) -> Matrix:
    """Return the matrix of an object, from its own space to its parent's."""
    matrix = pdfium_c.FS_MATRIX()
    pdfium_c.FPDFPageObj_GetMatrix(raw, matrix)
    return (matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f)


def product(first: Matrix, second: Matrix) -> Matrix:
    """Return the matrix that applies `first`, then `second`."""
    a, b, c, d, e, f = first
    p, q, r, s, t, u = second
    return (a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u)

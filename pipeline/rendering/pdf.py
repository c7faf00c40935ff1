"""PDF pages, by PDFium. Runs in the sandbox process; one document at a time, since PDFium is not thread-safe."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from PIL import Image

from pipeline.errors import CorruptFile, EncryptedFile, LimitExceeded
from pipeline.rendering.page_image import Canvas, DecodedPage, PageImage, finish_page, fit
from pipeline.rendering.protocol import RenderLimits
from pipeline.rendering.text import clean_line, clean_text

POINTS_PER_INCH = 72
#: Sides beyond these are no page's: PDFium hands out 0 for boxes it cannot make sense of, and boxes of 2,147,483,648
#: points exist, on which a letter would be far less than a pixel. The upper one is 3.5 km.
_SIDE_POINTS = (1e-3, 1e7)
#: About 300 dense pages' worth on one page; what lies beyond is cut off.
MAX_TEXT_CHARS = 1_000_000
MAX_TITLE_CHARS = 500
MAX_LABEL_CHARS = 50
#: Objects looked at for the share of pictures: pages with 100,000 of them exist.
_MAX_OBJECTS = 4_000
_MAX_FORM_DEPTH = 3
_GRID = 128
#: A page with a larger share of pictures was scanned or photographed.
_SCANNED_SHARE = 0.5

Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: Matrix = (1, 0, 0, 1, 0, 0)


class PdfFile:
    """An open PDF."""

    members = 0

    def __init__(self, descriptor: int, limits: RenderLimits, passwords: Sequence[str] = ()) -> None:
        """Open the file behind a descriptor.

        Raises:
            CorruptFile: not a PDF that can be read, or one without pages.
            EncryptedFile: it wants a password, or is encrypted in a way that PDFium does not know.
            LimitExceeded: it has more pages than `limits` allow.
        """
        self._pdf = pdfium.PdfDocument(_load(descriptor))
        # Before anything else touches the document, as PDFium wants it, else form fields stay empty.
        self._pdf.init_forms()
        self.pages = len(self._pdf)
        if self.pages < 1:
            raise CorruptFile("no pages can be found in the PDF")
        if self.pages > limits.max_pages:
            raise LimitExceeded(f"the PDF has {self.pages} pages, the limit is {limits.max_pages}")
        title = _utf16(lambda buffer, size: pdfium_c.FPDF_GetMetaText(self._pdf, b"Title", buffer, size))
        self.title = clean_line(title, MAX_TITLE_CHARS)

    def render(self, page_number: int) -> DecodedPage:
        """Draw and measure a page.

        Raises:
            CorruptFile: PDFium cannot load the page, or it has no area.
        """
        page = self._page(page_number)
        try:
            width, height = page.get_size()
            if not all(_SIDE_POINTS[0] <= side <= _SIDE_POINTS[1] for side in (width, height)):
                raise CorruptFile(f"page {page_number} has no usable size: {width:g} x {height:g} points")
            canvas = fit(width, height, enlarge=True)
            share = _picture_share(page)
            return DecodedPage(
                image=_draw(page, canvas),
                dpi=canvas.content[0] * POINTS_PER_INCH / width,
                original={"format": "PDF", "rotation": page.get_rotation()},
                is_vector=share < _SCANNED_SHARE,
                picture_share=share,
                label=self._label(page_number - 1),
                layer_text=_layer_text(page),
            )
        finally:
            page.close()

    def close(self) -> None:
        """Give the document's memory back."""
        self._pdf.close()

    def _page(self, page_number: int) -> pdfium.PdfPage:
        try:
            return self._pdf[page_number - 1]  # PDFium counts from 0; nothing else here does
        except pdfium.PdfiumError as error:
            raise CorruptFile(f"page {page_number} cannot be loaded") from error

    def _label(self, index: int) -> str | None:
        label = _utf16(lambda buffer, size: pdfium_c.FPDF_GetPageLabel(self._pdf, index, buffer, size))
        return clean_line(label, MAX_LABEL_CHARS)


def _load(descriptor: int) -> pdfium_c.FPDF_DOCUMENT:
    """Open a document by descriptor.

    Not through `pdfium.PdfDocument`, which resolves the link under /proc to a name that may mean another file by now,
    and reports a PDF without pages with the error of whatever failed before it.
    """
    document = pdfium_c.FPDF_LoadDocument(f"/proc/self/fd/{descriptor}".encode(), None)
    if document:
        return document
    error = pdfium_c.FPDF_GetLastError()
    if error == pdfium_c.FPDF_ERR_PASSWORD:
        raise EncryptedFile("the PDF wants a password")
    if error == pdfium_c.FPDF_ERR_SECURITY:
        raise EncryptedFile("the PDF is encrypted in a way that cannot be read")
    raise CorruptFile("the PDF is damaged beyond reading")


def _draw(page: pdfium.PdfPage, canvas: Canvas) -> PageImage:
    """Draw a page, its annotations and form fields on white, in RGB, at the size it is kept in."""
    bitmap = pdfium.PdfBitmap.new_native(*canvas.size, pdfium_c.FPDFBitmap_BGR, rev_byteorder=True)
    try:
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, *canvas.size)
        flags = pdfium_c.FPDF_ANNOT | pdfium_c.FPDF_REVERSE_BYTE_ORDER
        target = (bitmap, page, 0, 0, *canvas.content, 0, flags)
        pdfium_c.FPDF_RenderPageBitmap(*target)
        if page.formenv:
            pdfium_c.FPDF_FFLDraw(page.formenv, *target)
        assert bitmap.stride == 3 * bitmap.width  # PDFium pads no rows of a bitmap that is not its own
        image = Image.frombuffer("RGB", canvas.size, bitmap.buffer, "raw", "RGB", bitmap.stride, 1)
        return finish_page(image, memoryview(bitmap.buffer))
    finally:
        bitmap.close()


def _layer_text(page: pdfium.PdfPage) -> str | None:
    """Return the text within the page's box in PDFium's order, None where there is none."""
    textpage = page.get_textpage()
    try:
        text = clean_text(textpage.get_text_bounded()[:MAX_TEXT_CHARS])
    finally:
        textpage.close()
    return text if text.strip() else None


def _utf16(read: Callable[[object, int], int]) -> str:
    """Read a string by PDFium's way: asked for the size in bytes first, UTF-16 with a NUL at its end."""
    size = read(None, 0)
    buffer = ctypes.create_string_buffer(size)
    read(buffer, size)
    return buffer.raw[: max(0, size - 2)].decode("utf-16-le", errors="ignore")


def _picture_share(page: pdfium.PdfPage) -> float:
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

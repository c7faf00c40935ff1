"""PDF pages, by PDFium. Runs in the sandbox process; one document at a time, since PDFium is not thread-safe."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property, partial
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from PIL import Image

from pipeline.core.errors import CorruptFile, EncryptedFile, LimitExceeded
from pipeline.core.text import clean_line
from pipeline.rendering.protocol import RenderLimits
from pipeline.rendering.sandbox.page_image.build import Canvas, DecodedPage, build_page_image, fit
from pipeline.rendering.sandbox.page_image.crops import DecodedCrop, cut, page_size
from pipeline.rendering.sandbox.pdf.attachments import Attachments, count_attachments
from pipeline.rendering.sandbox.pdf.encryption import first_that_opens, pdf_forms
from pipeline.rendering.sandbox.pdf.outline import Outline
from pipeline.rendering.sandbox.pdf.pictures import picture_share
from pipeline.rendering.sandbox.pdf.text import layer_text, letter_height, load_textpage
from pipeline.rendering.sandbox.pdf.text_layer_quality import LayerState, state_of
from pipeline.rendering.sandbox.pdf.visibility import visibility
from pipeline.rendering.text import utf16

POINTS_PER_INCH = 72
#: Bounds of a page's sides, the upper one 3.5 km: PDFium returns 0 for invalid boxes, and boxes of 2,147,483,648 points
#: exist, on which a letter would be far smaller than a pixel.
_SIDE_POINTS = (1e-3, 1e7)
MAX_TITLE_CHARS = 500
MAX_LABEL_CHARS = 50
#: A page with a larger share of pictures was scanned or photographed.
_SCANNED_SHARE = 0.5
#: Annotations that are examined: pages with 32,768 of them exist.
_MAX_ANNOTATIONS = 1_000
#: Annotations whose words are visible on the page.
_WORDED = {pdfium_c.FPDF_ANNOT_WIDGET, pdfium_c.FPDF_ANNOT_FREETEXT, pdfium_c.FPDF_ANNOT_STAMP}
_XFA = (pdfium_c.FORMTYPE_XFA_FULL, pdfium_c.FORMTYPE_XFA_FOREGROUND)


_ReadBlock = dict(pdfium_c.FPDF_FILEACCESS._fields_)["m_GetBlock"]


class _BlockReader:
    """A file as PDFium reads it, block by block. It must outlive the document that is loaded from it."""

    def __init__(self, descriptor: int) -> None:
        def read(_: Any, position: int, buffer: Any, size: int) -> int:
            block = (ctypes.c_ubyte * size).from_address(ctypes.addressof(buffer.contents))
            return os.preadv(descriptor, [block], position) == size

        self.access = pdfium_c.FPDF_FILEACCESS()
        self.access.m_FileLen = os.fstat(descriptor).st_size
        self.access.m_GetBlock = _ReadBlock(read)


class PdfFile:
    """An open PDF."""

    def __init__(self, descriptor: int, limits: RenderLimits, passwords: Sequence[str] = ()) -> None:
        """Open the file behind a descriptor.

        Raises:
            CorruptFile: it cannot be read as a PDF, or has no pages.
            EncryptedFile: it needs another password, or is encrypted in a way that PDFium does not know.
            LimitExceeded: it has more pages than `limits` allow.
        """
        self._source = _BlockReader(descriptor)
        self._pdf = pdfium.PdfDocument(_load(self._source, passwords))
        # PDFium requires this before any other use of the document, else form fields stay empty.
        self._pdf.init_forms()
        self._limits = limits
        self.members = count_attachments(self._pdf)
        self._announced = len(self._pdf)
        if self._announced < 1:
            raise CorruptFile("no pages can be found in the PDF")
        self._found = _find_last_page(self._pdf, min(self._announced, limits.max_pages + 1))
        if self._found > limits.max_pages:
            raise LimitExceeded(f"the PDF has {self._announced} pages, the limit is {limits.max_pages}")
        self.pages = min(self._found + 1, self._announced)  # all missing pages at the end are one failure
        title = utf16(lambda buffer, size: pdfium_c.FPDF_GetMetaText(self._pdf, b"Title", buffer, size))
        self.title = clean_line(title, MAX_TITLE_CHARS)

    def render(self, page_number: int) -> DecodedPage:
        """Draw and measure a page.

        Raises:
            CorruptFile: PDFium cannot load the page, or it has no area.
        """
        with self._sized(page_number) as (page, width, height):
            canvas = fit(width, height, enlarge=True)
            share = picture_share(page)
            annotations = _subtypes(page)
            with _painted(page, canvas) as (image, pixels):
                text, layer, letters = self._layer(
                    page_number - 1, page, annotations, image, canvas, share >= _SCANNED_SHARE
                )
                scale = canvas.content[0] / width
                return DecodedPage(
                    image=build_page_image(image, pixels),
                    own_properties={
                        "dpi": scale * POINTS_PER_INCH,
                        "original": {"format": "PDF", "rotation": page.get_rotation()},
                        "label": self._label(page_number - 1),
                        "section": self._outline.section(page_number - 1),
                        "layer_text": text,
                    },
                    own_facts={
                        "is_vector": share < _SCANNED_SHARE,
                        "picture_share": share,
                        "layer": layer,
                        "glyph_px": letters * scale if letters else None,
                        "placeholder": self._is_placeholder(annotations),
                    },
                )

    def render_crops(self, page_number: int, bands: int) -> tuple[DecodedCrop, ...]:
        """Draw a page and cut it into `bands` bands.

        Raises:
            CorruptFile: as `render` raises it.
        """
        with self._sized(page_number) as (page, width, height):
            size = page_size(width, height, bands, enlarge=True)
            with _painted(page, Canvas(size, size)) as (image, _):
                return cut(image, bands)

    def container(self) -> Attachments:
        """Return access to the embedded files."""
        return Attachments(self._pdf, self._limits)

    def close(self) -> None:
        """Free the document's memory."""
        self._pdf.close()

    @cached_property
    def _outline(self) -> Outline:
        return Outline(self._pdf)

    @contextmanager
    def _sized(self, page_number: int) -> Iterator[tuple[pdfium.PdfPage, float, float]]:
        """Yield a page with its width and height in points."""
        page = self._page(page_number)
        try:
            width, height = page.get_size()
            if not all(_SIDE_POINTS[0] <= side <= _SIDE_POINTS[1] for side in (width, height)):
                raise CorruptFile(f"page {page_number} has no usable size: {width:g} x {height:g} points")
            yield page, width, height
        finally:
            page.close()

    def _page(self, page_number: int) -> pdfium.PdfPage:
        try:
            page = self._pdf[page_number - 1]  # PDFium counts from 0; its numbers are called index here
            has_area = all(page.get_size())
            if has_area and (self._pdf.formenv or pdfium_c.FPDF_ANNOT_WIDGET not in _subtypes(page)):
                return page
            if has_area:
                self._add_form()
            else:  # A crop box outside the media box leaves an empty page; other readers then show the whole page.
                page.set_cropbox(*page.get_mediabox())
            page.close()
            return self._pdf[page_number - 1]
        except pdfium.PdfiumError as error:
            missing = self._announced - self._found
            if page_number > self._found and missing > 1:
                raise CorruptFile(
                    f"the PDF announces {self._announced} pages, but {missing} cannot be found"
                ) from error
            raise CorruptFile(f"page {page_number} cannot be loaded") from error

    def _add_form(self) -> None:
        """Begin a form for fields that no form lists. Without it PDFium does not draw them."""
        config = pdfium_c.FPDF_FORMFILLINFO(version=2)
        handle = pdfium_c.FPDFDOC_InitFormFillEnvironment(self._pdf, config)
        if handle:
            self._pdf.formenv = pdfium.PdfFormEnv(handle, config)

    def _layer(
        self,
        index: int,
        page: pdfium.PdfPage,
        annotations: set[int],
        image: Image.Image,
        canvas: Canvas,
        is_scanned: bool,
    ) -> tuple[str | None, LayerState, float | None]:
        """Return the text layer with the words of annotations and fields, its state, and its letters' height.

        Words that are hidden among visible ones are left out.
        """
        with self._with_annotations(index, page, annotations) as page, closing(load_textpage(page)) as textpage:
            text = layer_text(textpage, page.get_bbox())
            if text is None:
                return None, "none", None
            paint = partial(_painting, page, canvas) if is_scanned else None
            height = letter_height(textpage)
            has_fields = pdfium_c.FPDF_ANNOT_WIDGET in annotations
            share, left_out = visibility(page, textpage, image, canvas.content, paint, has_fields=has_fields)
            if left_out:
                text = layer_text(textpage, page.get_bbox(), left_out) or text
            state = state_of(text, share)
            return text, state, height if state == "sound" else None

    @contextmanager
    def _with_annotations(self, index: int, page: pdfium.PdfPage, annotations: set[int]) -> Iterator[pdfium.PdfPage]:
        """Yield the page, or a copy into which annotations are merged: PDFium's text of a page omits their words."""
        if not annotations & _WORDED or pdfium_c.FPDFPage_GetAnnotCount(page) > _MAX_ANNOTATIONS:
            yield page
            return
        with pdfium.PdfDocument.new() as copy:
            pdfium_c.FPDF_ImportPagesByIndex(copy, self._pdf, (ctypes.c_int * 1)(index), 1, 0)
            with closing(copy[0]) as merged:
                pdfium_c.FPDFPage_Flatten(merged, pdfium_c.FLAT_NORMALDISPLAY)
            yield copy[0]

    def _is_placeholder(self, annotations: set[int]) -> bool:
        """Whether the only page just requests a program that knows XFA. It has no fields; pages of static forms do."""
        return (
            self.pages == 1
            and pdfium_c.FPDF_GetFormType(self._pdf) in _XFA
            and pdfium_c.FPDF_ANNOT_WIDGET not in annotations
        )

    def _label(self, index: int) -> str | None:
        label = utf16(lambda buffer, size: pdfium_c.FPDF_GetPageLabel(self._pdf, index, buffer, size))
        return clean_line(label, MAX_LABEL_CHARS)


def _find_last_page(pdf: pdfium.PdfDocument, pages: int) -> int:
    """Return the number of the last page that exists; 0 if none does. The announced number may be wrong."""
    size = pdfium_c.FS_SIZEF()
    exists = (pdfium_c.FPDF_GetPageSizeByIndexF(pdf, number - 1, size) for number in range(pages, 0, -1))
    return next((pages - missing for missing, is_there in enumerate(exists) if is_there), 0)


def _load(source: _BlockReader, passwords: Sequence[str]) -> pdfium_c.FPDF_DOCUMENT:
    """Open a document with the empty password, which most encrypted ones have, or one of these.

    `pdfium.PdfDocument` is not used: for a PDF without pages it reports an earlier error.
    """

    def with_password(password: str) -> pdfium_c.FPDF_DOCUMENT | None:
        tries = (_try_to_load(source, form) for form in pdf_forms(password))
        return next((document for document in tries if document is not None), None)

    document = _try_to_load(source, None)
    return first_that_opens(with_password, passwords, "the PDF") if document is None else document


def _try_to_load(source: _BlockReader, password: bytes | None) -> pdfium_c.FPDF_DOCUMENT | None:
    """Open a document, None if the password is wrong."""
    document = pdfium_c.FPDF_LoadCustomDocument(source.access, password)
    if document:
        return document
    error = pdfium_c.FPDF_GetLastError()
    if error == pdfium_c.FPDF_ERR_PASSWORD:
        return None
    if error == pdfium_c.FPDF_ERR_SECURITY:
        raise EncryptedFile("the PDF is encrypted in a way that cannot be read")
    raise CorruptFile("the PDF is damaged beyond reading")


@contextmanager
def _painted(page: pdfium.PdfPage, canvas: Canvas) -> Iterator[tuple[Image.Image, memoryview]]:
    """Draw a page, its annotations and form fields on white, at the size of the canvas.

    The image (RGB) and its bytes, rows top down, share one buffer, which is freed at the end of the block.
    """
    bitmap = pdfium.PdfBitmap.new_native(*canvas.size, pdfium_c.FPDFBitmap_BGR, rev_byteorder=True)
    try:
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, *canvas.size)
        flags = pdfium_c.FPDF_ANNOT | pdfium_c.FPDF_REVERSE_BYTE_ORDER
        target = (bitmap, page, 0, 0, *canvas.content, 0, flags)
        pdfium_c.FPDF_RenderPageBitmap(*target)
        if page.formenv:
            pdfium_c.FPDF_FFLDraw(page.formenv, *target)
        assert bitmap.stride == 3 * bitmap.width  # PDFium does not pad rows of a bitmap in our buffer
        image = Image.frombuffer("RGB", canvas.size, bitmap.buffer, "raw", "RGB", bitmap.stride, 1)
        yield image, memoryview(bitmap.buffer)
    finally:
        bitmap.close()


def _painting(page: pdfium.PdfPage, canvas: Canvas) -> Image.Image:
    with _painted(page, canvas) as (image, _):
        return image.copy()


def _subtypes(page: pdfium.PdfPage) -> set[int]:
    """Return the kinds of a page's first annotations."""
    found = set()
    for index in range(min(pdfium_c.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
        annotation = pdfium_c.FPDFPage_GetAnnot(page, index)
        if annotation:
            found.add(pdfium_c.FPDFAnnot_GetSubtype(annotation))
            pdfium_c.FPDFPage_CloseAnnot(annotation)
    return found

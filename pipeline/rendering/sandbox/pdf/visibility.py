"""Tells which words of a PDF page's text layer can be seen. Runs in the sandbox process."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from PIL import Image, ImageChops

from pipeline.rendering.sandbox.page_image.measure import PALE_LEVELS
from pipeline.rendering.sandbox.pdf.objects import Matrix, objects_of
from pipeline.rendering.sandbox.pdf.pictures import image_boxes
from pipeline.rendering.sandbox.pdf.text import MAX_TEXT_CHARS, address_of, char_box
from pipeline.rendering.sandbox.pdf.text_layer_quality import MIN_INKED_SHARE

#: Letters that are searched for on the page. A larger sample is not more accurate, and costs 20 µs a letter.
_SAMPLED_LETTERS = 100
#: Text objects of these render modes leave no ink (ISO 32000-2, table 104). OCR under a scan has the first of them.
_INKLESS_MODES = (pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE, pdfium_c.FPDF_TEXTRENDERMODE_CLIP)

Box = tuple[int, int, int, int]


class Visibility(NamedTuple):
    """What can be seen of a text layer."""

    share: float
    """Of a sample of the letters that are not left out; 1 if the layer has no letters."""
    left_out: frozenset[int]
    """Addresses of the text objects that are hidden among visible ones."""


class _Piece(NamedTuple):
    """A text object, or a letter of it."""

    address: int | None
    box: Box
    """Pixels on the page image: left, top, right, bottom."""
    raw: Any
    """The text object."""
    form: int | None = None
    """Address of the form that it belongs to."""

    def leaves_ink(self) -> bool:
        return bool(self.raw) and pdfium_c.FPDFTextObj_GetTextRenderMode(self.raw) not in _INKLESS_MODES


def visibility(
    page: pdfium.PdfPage,
    textpage: pdfium.PdfTextPage,
    image: Image.Image,
    size: tuple[int, int],
    paint: Callable[[], Image.Image] | None,
    *,
    has_fields: bool,
) -> Visibility:
    """Return what can be seen of a layer.

    On a drawn page words are visible if there is ink at their position. A scanned page has ink everywhere: it is
    painted again without the words, and the pixels that change belong to them. This modifies the page.

    Hidden objects are left out if the others make up a layer that can be seen. A layer that is hidden as a whole stays,
    and so do words under a picture, which may be OCR of it, and text for which a form field has no room.

    Args:
        image: the page image.
        size: of the page on it, in pixels.
        paint: draws a scanned page in its current state, at the same size; None for a drawn page.
        has_fields: whether form fields were merged into the page. Each is a form of its own.
    """
    to_pixels = _Pixels(page, size)
    letters = list(_letters(textpage, to_pixels))
    if not letters:
        return Visibility(1, frozenset())
    pieces = list(_text_objects(page, to_pixels))
    inked = [piece for piece in pieces if piece.leaves_ink()]
    seen = [letter for letter in letters if letter.leaves_ink()]
    if not seen:
        return Visibility(0, frozenset())
    is_visible = _changes(paint, [*inked, *seen]) if paint else _ink(image)
    share = sum(is_visible(letter.box) for letter in seen) / len(letters)
    hidden = _hidden(inked, is_visible, has_fields=has_fields)
    if hidden and share < MIN_INKED_SHARE:
        hidden = [] if paint else _beside_pictures(hidden, page, to_pixels)
    left_out = frozenset(piece.address for piece in hidden if piece.address is not None)
    left = [letter for letter in letters if letter.address not in left_out]
    if not left_out or not left:
        return Visibility(share, frozenset())
    visible = {letter.address for letter in seen} - left_out
    return Visibility(
        sum(letter.address in visible and is_visible(letter.box) for letter in left) / len(left), left_out
    )


def _hidden(pieces: Sequence[_Piece], is_visible: Callable[[Box], bool], *, has_fields: bool) -> list[_Piece]:
    """Return the text objects that cannot be seen; none if all are hidden, or a part of their form field is shown."""
    hidden = [piece for piece in pieces if not is_visible(piece.box)]
    if len(hidden) == len(pieces):
        return []
    unseen = {piece.address for piece in hidden}
    forms = {piece.form for piece in pieces if piece.address not in unseen} if has_fields else set()
    return [piece for piece in hidden if piece.form is None or piece.form not in forms]


class _Pixels:
    """Converts boxes of a page, in points, to pixels of the page image."""

    def __init__(self, page: pdfium.PdfPage, size: tuple[int, int]) -> None:
        self._left, self._bottom, right, top = page.get_bbox()
        self._width, self._height = max(right - self._left, 1e-6), max(top - self._bottom, 1e-6)
        self._turns = page.get_rotation() // 90
        self._size = size

    def box(self, left: float, bottom: float, right: float, top: float, margin: int = 0) -> Box | None:
        """Return a box, `margin` pixels larger on each side; None if it is outside of the page."""
        shares = self._turned((left - self._left) / self._width, 1 - (top - self._bottom) / self._height)
        opposite = self._turned((right - self._left) / self._width, 1 - (bottom - self._bottom) / self._height)
        if not all(map(math.isfinite, (*shares, *opposite))):
            return None
        (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(shares, opposite, strict=True))
        width, height = self._size
        found = (
            max(0, math.floor(x0 * width) - margin),
            max(0, math.floor(y0 * height) - margin),
            min(width, math.floor(x1 * width) + 1 + margin),
            min(height, math.floor(y1 * height) + 1 + margin),
        )
        return found if found[0] < found[2] and found[1] < found[3] else None

    def _turned(self, x: float, y: float) -> tuple[float, float]:
        """Return a point of the upright page, as shares from the top left, on the page as it is shown."""
        return ((x, y), (1 - y, x), (1 - x, 1 - y), (y, 1 - x))[self._turns]


def _letters(textpage: pdfium.PdfTextPage, to_pixels: _Pixels) -> Iterator[_Piece]:
    """Yield a sample of the layer's letters and digits that are within the page."""
    count = min(textpage.count_chars(), MAX_TEXT_CHARS)
    # The step is odd, so that it shares no factor of 2 with the length of lines or rows.
    for index in range(0, count, max(1, count // _SAMPLED_LETTERS) | 1):
        code = pdfium_c.FPDFText_GetUnicode(textpage, index)
        if chr(code).isalnum() and (box := to_pixels.box(*char_box(textpage, index), margin=1)) is not None:
            raw = pdfium_c.FPDFText_GetTextObject(textpage, index)
            yield _Piece(address_of(raw), box, raw)


def _text_objects(page: pdfium.PdfPage, to_pixels: _Pixels) -> Iterator[_Piece]:
    """Yield the text objects within the page, also those within forms."""
    sides = [ctypes.c_float() for _ in range(4)]
    for raw, to_page, form in objects_of(page):
        if pdfium_c.FPDFPageObj_GetType(raw) == pdfium_c.FPDF_PAGEOBJ_TEXT and pdfium_c.FPDFPageObj_GetBounds(
            raw, *sides
        ):
            left, bottom, right, top = (side.value for side in sides)
            box = to_pixels.box(*_transformed((left, bottom, right, top), to_page))
            if box is not None and left < right and bottom < top:  # spaces have no height
                yield _Piece(address_of(raw), box, raw, address_of(form) if form else None)


def _transformed(box: Sequence[float], matrix: Matrix) -> tuple[float, float, float, float]:
    """Return the box around a box (left, bottom, right, top) under a matrix."""
    a, b, c, d, e, f = matrix
    corners = [(x * a + y * c + e, x * b + y * d + f) for x in (box[0], box[2]) for y in (box[1], box[3])]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _ink(image: Image.Image) -> Callable[[Box], bool]:
    """Return a function that tells whether there is ink in a box of a page image."""
    grey = image.convert("L")
    levels, width = grey.tobytes(), grey.width

    def is_inked(box: Box) -> bool:
        left, top, right, bottom = box
        start = (top + bottom) // 2 * width
        row = levels[start + left : start + right]  # in most cases it is enough, and far quicker than the whole box
        return max(row) - min(row) >= PALE_LEVELS or _contrast(grey.crop(box)) >= PALE_LEVELS

    return is_inked


def _contrast(part: Image.Image) -> int:
    darkest, brightest = cast("tuple[int, int]", part.getextrema())
    return brightest - darkest


def _changes(paint: Callable[[], Image.Image], pieces: Sequence[_Piece]) -> Callable[[Box], bool]:
    """Return a function that tells whether a box changes on the page when text objects are made invisible."""
    before = paint()
    for piece in pieces:
        pdfium_c.FPDFTextObj_SetTextRenderMode(piece.raw, pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE)
    contrasts = ImageChops.difference(before, paint()).convert("L")
    return lambda box: contrasts.crop(box).getbbox() is not None


def _beside_pictures(pieces: Sequence[_Piece], page: pdfium.PdfPage, to_pixels: _Pixels) -> list[_Piece]:
    """Return the pieces that no picture covers."""
    pictures = [box for sides in image_boxes(page) if (box := to_pixels.box(*sides)) is not None]
    return [piece for piece in pieces if not any(_overlap(piece.box, picture) for picture in pictures)]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]

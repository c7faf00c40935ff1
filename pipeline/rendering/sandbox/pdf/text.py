"""The text layer of a PDF page: its text in reading order, and its visible share. Runs in the sandbox process."""

from __future__ import annotations

import ctypes
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from PIL import Image, ImageChops

from pipeline.rendering.sandbox.page_image.measure import PALE_LEVELS
from pipeline.rendering.sandbox.pdf.reading_order import Char, has_right_to_left, may_be_vertical, reading_order
from pipeline.rendering.text import clean_text

#: As much as 300 dense pages have; further text of a page is cut off.
MAX_TEXT_CHARS = 1_000_000
#: Letters that are searched for on the page. A larger sample is not more accurate, and costs 20 µs a letter.
_SAMPLED_LETTERS = 100
#: Letters measured.
_MEASURED_LETTERS = 500
#: Letters whose direction is examined.
_SAMPLED_ANGLES = 40
#: Pairs of neighbours that are examined for vertical writing.
_SAMPLED_PAIRS = 100
#: Text objects of these render modes leave no ink (ISO 32000-2, table 104).
_INKLESS_MODES = (pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE, pdfium_c.FPDF_TEXTRENDERMODE_CLIP)

Box = tuple[int, int, int, int]


class Letter(NamedTuple):
    """A letter or digit of the layer that may be seen on the page."""

    box: Box
    """Pixels on the page image: left, top, right, bottom."""
    text_object: Any


def load_textpage(page: pdfium.PdfPage) -> pdfium.PdfTextPage:
    """Load the text of a page, turned so that most of its letters are upright.

    PDFium orders lines and words by their positions on the turned page: upside down, the words of a line are reversed.
    """
    textpage = page.get_textpage()
    rotation = page.get_rotation()
    turn = _turn(textpage, rotation)
    if turn == rotation:
        return textpage
    textpage.close()
    page.set_rotation(turn)
    try:
        return page.get_textpage()
    finally:
        page.set_rotation(rotation)


def _turn(textpage: pdfium.PdfTextPage, rotation: int) -> int:
    """Return the clockwise rotation of the page, in degrees, by which most letters are upright."""
    count = min(textpage.count_chars(), MAX_TEXT_CHARS)
    sample = range(0, count, max(1, count // _SAMPLED_ANGLES) | 1)
    angles = (
        pdfium_c.FPDFText_GetCharAngle(textpage, index)
        for index in sample
        if pdfium_c.FPDFText_IsGenerated(textpage, index) == 0
    )
    turns = Counter(round(-angle / (math.pi / 2)) % 4 * 90 for angle in angles if math.isfinite(angle))
    return max(turns, key=lambda turn: (turns[turn], turn == rotation), default=rotation)


def layer_text(textpage: pdfium.PdfTextPage, bounds: Sequence[float]) -> str | None:
    """Return the text within bounds (left, bottom, right, top, in points) in reading order, None if there is none."""
    text = _text_within(textpage, bounds)
    if has_right_to_left(text) or (may_be_vertical(text) and _has_columns(textpage)):
        text = reading_order(list(_chars(textpage, bounds)))
    text = clean_text(text)
    return text if text.strip() else None


def _text_within(textpage: pdfium.PdfTextPage, bounds: Sequence[float]) -> str:
    """Return the text within bounds, with PDFium's line ends.

    PDFium's own function for that keeps a line end only if the next line begins at another height: lines that run
    upwards, and neighbouring columns, would be glued together.
    """
    text: str = textpage.get_text_range()[:MAX_TEXT_CHARS]
    bounded = textpage.get_text_bounded()[:MAX_TEXT_CHARS]
    if "".join(text.split()) == "".join(bounded.split()):
        return text
    return "".join(_texts_within(textpage, bounds))


def _texts_within(textpage: pdfium.PdfTextPage, bounds: Sequence[float]) -> Iterator[str]:
    for index in range(min(textpage.count_chars(), MAX_TEXT_CHARS)):
        is_inserted = pdfium_c.FPDFText_IsGenerated(textpage, index) == 1
        if is_inserted or _is_within(_box(textpage, index), bounds):
            yield chr(pdfium_c.FPDFText_GetUnicode(textpage, index))


def _is_within(box: Sequence[float], bounds: Sequence[float]) -> bool:
    return box[2] >= bounds[0] and box[0] <= bounds[2] and box[3] >= bounds[1] and box[1] <= bounds[3]


def letter_height(textpage: pdfium.PdfTextPage) -> float | None:
    """Return the median height of a sample of letters and digits, in points; None if the layer has none.

    In prose that is the height of an x: most letters are as high.
    """
    count = min(textpage.count_chars(), MAX_TEXT_CHARS)
    heights = []
    for index in range(0, count, max(1, count // _MEASURED_LETTERS) | 1):
        if chr(pdfium_c.FPDFText_GetUnicode(textpage, index)).isalnum():
            left, bottom, right, top = _box(textpage, index)
            is_sideways = abs(math.sin(pdfium_c.FPDFText_GetCharAngle(textpage, index))) > math.sqrt(0.5)
            heights.append(right - left if is_sideways else top - bottom)
    return statistics.median(heights) if heights else None


def _has_columns(textpage: pdfium.PdfTextPage) -> bool:
    """Whether in a sample of neighbours some are one below the other."""
    count = min(textpage.count_chars(), MAX_TEXT_CHARS)
    for index in range(0, count - 1, max(1, count // _SAMPLED_PAIRS)):
        (x, y), (next_x, next_y) = _origin(textpage, index), _origin(textpage, index + 1)
        if y - next_y > 2 * abs(x - next_x):
            return True
    return False


def inked_share(
    page: pdfium.PdfPage,
    textpage: pdfium.PdfTextPage,
    image: Image.Image,
    size: tuple[int, int],
    paint: Callable[[], Image.Image] | None,
) -> float:
    """Return the share of a sample of the layer's letters that is visible on the page; 1 if the layer has no letters.

    On a drawn page a letter is visible if there is ink at its position. A scanned page has ink everywhere: it is
    painted again without the letters, and the pixels that change belong to them. This modifies the page.

    Args:
        image: the page image.
        size: of the page on it, in pixels.
        paint: draws a scanned page in its current state, at the same size; None for a drawn page.
    """
    letters = list(_letters(page, textpage, size))
    inked = [letter for letter in letters if _leaves_ink(letter)]
    if not letters:
        return 1
    if inked and paint:
        before = paint()
        for letter in inked:
            pdfium_c.FPDFTextObj_SetTextRenderMode(letter.text_object, pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE)
        contrasts = ImageChops.difference(before, paint()).convert("L")
        seen = sum(contrasts.crop(letter.box).getbbox() is not None for letter in inked)
    else:
        grey = image.convert("L")
        seen = sum(_contrast(grey.crop(letter.box)) >= PALE_LEVELS for letter in inked)
    return seen / len(letters)


def _contrast(part: Image.Image) -> int:
    darkest, brightest = cast("tuple[int, int]", part.getextrema())
    return brightest - darkest


def _leaves_ink(letter: Letter) -> bool:
    return bool(letter.text_object) and (
        pdfium_c.FPDFTextObj_GetTextRenderMode(letter.text_object) not in _INKLESS_MODES
    )


def _letters(page: pdfium.PdfPage, textpage: pdfium.PdfTextPage, size: tuple[int, int]) -> Iterator[Letter]:
    count = min(textpage.count_chars(), MAX_TEXT_CHARS)
    # The step is odd, so that it shares no factor of 2 with the length of lines or rows.
    for index in range(0, count, max(1, count // _SAMPLED_LETTERS) | 1):
        code = pdfium_c.FPDFText_GetUnicode(textpage, index)
        if chr(code).isalnum() and (box := _pixels(page, _box(textpage, index), size)) is not None:
            yield Letter(box, pdfium_c.FPDFText_GetTextObject(textpage, index))


def _pixels(page: pdfium.PdfPage, box: Sequence[float], size: tuple[int, int]) -> Box | None:
    """Return a box in pixels of the page image, one pixel larger on each side; None if it is outside."""
    x, y = ctypes.c_int(), ctypes.c_int()
    corners = []
    for page_x, page_y in ((box[0], box[1]), (box[2], box[3])):
        pdfium_c.FPDF_PageToDevice(page, 0, 0, *size, 0, page_x, page_y, x, y)
        corners.append((x.value, y.value))
    (x0, x1), (y0, y1) = (sorted(side) for side in zip(*corners, strict=True))
    found = (max(0, x0 - 1), max(0, y0 - 1), min(size[0], x1 + 2), min(size[1], y1 + 2))
    return found if found[0] < found[2] and found[1] < found[3] else None


def _chars(textpage: pdfium.PdfTextPage, bounds: Sequence[float]) -> Iterator[Char]:
    """Yield the characters within bounds, and the spaces and line ends that PDFium inserts."""
    loose = pdfium_c.FS_RECTF()
    for index in range(min(textpage.count_chars(), MAX_TEXT_CHARS)):
        text = chr(pdfium_c.FPDFText_GetUnicode(textpage, index))
        if pdfium_c.FPDFText_IsGenerated(textpage, index) == 1:
            yield Char(text, 0, 0, 0, 0, 0, None)
            continue
        box = _box(textpage, index)
        if not _is_within(box, bounds):
            continue
        origin = _origin(textpage, index)
        turn = partial(_turned, angle=pdfium_c.FPDFText_GetCharAngle(textpage, index))
        along, across = turn(*origin)
        pdfium_c.FPDFText_GetLooseCharBox(textpage, index, loose)
        ends = turn(loose.left, loose.bottom)[0], turn(loose.right, loose.top)[0]
        size = max(box[2] - box[0], box[3] - box[1])
        yield Char(text, along, across, min(ends), max(ends), size, (*origin, *box))


def _turned(x: float, y: float, angle: float) -> tuple[float, float]:
    """Return a point rotated so that its line, at an angle in radians clockwise, becomes horizontal."""
    if not angle or not math.isfinite(angle):
        return x, y
    cosine, sine = math.cos(angle), math.sin(angle)
    return x * cosine - y * sine, y * cosine + x * sine


def _origin(textpage: pdfium.PdfTextPage, index: int) -> tuple[float, float]:
    """Return the origin of a character, in points."""
    x, y = ctypes.c_double(), ctypes.c_double()
    pdfium_c.FPDFText_GetCharOrigin(textpage, index, x, y)
    return x.value, y.value


def _box(textpage: pdfium.PdfTextPage, index: int) -> tuple[float, float, float, float]:
    """Return the box of a character: left, bottom, right, top, in points."""
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    pdfium_c.FPDFText_GetCharBox(textpage, index, left, right, bottom, top)
    return left.value, bottom.value, right.value, top.value

"""The text layer of a PDF page: its text in reading order. Runs in the sandbox process."""

from __future__ import annotations

import ctypes
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from pipeline.core.text import clean_text
from pipeline.rendering.sandbox.pdf.reading_order import Char, has_right_to_left, may_be_vertical, reading_order

#: As much as 300 dense pages have; further text of a page is cut off.
MAX_TEXT_CHARS = 1_000_000
#: Letters measured.
_MEASURED_LETTERS = 500
#: Letters whose direction is examined.
_SAMPLED_ANGLES = 40
#: Pairs of neighbours that are examined for vertical writing.
_SAMPLED_PAIRS = 100
#: Maximum gap between neighbours in a word, as a share of the larger one's size.
_NEXT_GAP = 0.4


class _Extract(NamedTuple):
    """The part of a page's text that is returned."""

    textpage: pdfium.PdfTextPage
    bounds: Sequence[float]
    left_out: frozenset[int]

    def has(self, index: int, box: Sequence[float]) -> bool:
        """Whether a character is in it, by its index and box."""
        left, bottom, right, top = self.bounds
        if not (box[2] >= left and box[0] <= right and box[3] >= bottom and box[1] <= top):
            return False
        if not self.left_out or chr(pdfium_c.FPDFText_GetUnicode(self.textpage, index)).isspace():
            return True  # a space leaves no ink, but words would be glued together without it
        return address_of(pdfium_c.FPDFText_GetTextObject(self.textpage, index)) not in self.left_out


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


def layer_text(
    textpage: pdfium.PdfTextPage, bounds: Sequence[float], left_out: frozenset[int] = frozenset()
) -> str | None:
    """Return the text within bounds (left, bottom, right, top, in points) in reading order, None if there is none.

    Args:
        left_out: addresses of text objects whose text is left out.
    """
    extract = _Extract(textpage, bounds, left_out)
    text = _text_within(textpage, extract)
    if has_right_to_left(text) or (may_be_vertical(text) and _has_columns(textpage)):
        text = reading_order(list(_chars(textpage, extract)))
    text = clean_text(text)
    return text if text.strip() else None


def _text_within(textpage: pdfium.PdfTextPage, extract: _Extract) -> str:
    """Return the text of an extract, with PDFium's line ends where a line ends.

    PDFium's own function for that keeps a line end only if the next line begins at another height. So it joins what
    follows a superscript, but also lines that run upwards, and neighbouring columns.
    """
    text: str = textpage.get_text_range()[:MAX_TEXT_CHARS].replace("\ufffe", "\x02")  # two marks of a hyphen
    words = textpage.get_text_bounded()[:MAX_TEXT_CHARS].split()
    if extract.left_out or "".join(text.split()) != "".join(words):
        within = dict(_texts_within(textpage, extract))
        return _with_line_ends(textpage, "".join(within.values()), list(within).__getitem__, frozenset())
    to_index = partial(pdfium_c.FPDFText_GetCharIndexFromTextIndex, textpage)
    return _with_line_ends(textpage, text, to_index, frozenset(accumulate(map(len, words))))


def _texts_within(textpage: pdfium.PdfTextPage, extract: _Extract) -> Iterator[tuple[int, str]]:
    """Yield index and text of the characters of an extract, and of characters that PDFium inserts."""
    for index in range(min(textpage.count_chars(), MAX_TEXT_CHARS)):
        is_inserted = pdfium_c.FPDFText_IsGenerated(textpage, index) == 1
        if is_inserted or extract.has(index, char_box(textpage, index)):
            yield index, chr(pdfium_c.FPDFText_GetUnicode(textpage, index))


def _with_line_ends(
    textpage: pdfium.PdfTextPage, text: str, to_index: Callable[[int], int], certain: frozenset[int]
) -> str:
    """Return a text without the line ends after which the line goes on.

    Args:
        to_index: returns the index of a character, by its position in the text.
        certain: numbers of characters other than spaces after which a line end is certain.
    """
    lines = text.split("\r\n")
    parts, position, count = [lines[0]], 0, 0
    for line, following in pairwise(lines):
        position, count = position + len(line) + 2, count + len("".join(line.split()))
        is_within_line = (
            count not in certain
            and line
            and following
            and not has_right_to_left(line[-1] + following[0])  # such lines go on at their left
            and _goes_on(textpage, to_index(position - 3), to_index(position))
        )
        parts += ("" if is_within_line else "\n", following)
    return "".join(parts)


def _goes_on(textpage: pdfium.PdfTextPage, index: int, following: int) -> bool:
    """Whether a character is followed by another one of its line, after a superscript for instance."""
    turn = partial(_turned, angle=pdfium_c.FPDFText_GetCharAngle(textpage, following))
    boxes = char_box(textpage, index), char_box(textpage, following)
    (_, end), (start, _) = (sorted((turn(*box[:2])[0], turn(*box[2:])[0])) for box in boxes)
    size = max(max(box[2] - box[0], box[3] - box[1]) for box in boxes)
    aside = abs(turn(*_origin(textpage, index))[1] - turn(*_origin(textpage, following))[1])
    return abs(start - end) <= _NEXT_GAP * size and aside <= size


def letter_height(textpage: pdfium.PdfTextPage) -> float | None:
    """Return the median height of a sample of letters and digits, in points; None if the layer has none.

    In prose that is the height of an x: most letters are as high.
    """
    count = min(textpage.count_chars(), MAX_TEXT_CHARS)
    heights = []
    for index in range(0, count, max(1, count // _MEASURED_LETTERS) | 1):
        if chr(pdfium_c.FPDFText_GetUnicode(textpage, index)).isalnum():
            left, bottom, right, top = char_box(textpage, index)
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


def _chars(textpage: pdfium.PdfTextPage, extract: _Extract) -> Iterator[Char]:
    """Yield the characters of an extract, and the spaces and line ends that PDFium inserts."""
    loose = pdfium_c.FS_RECTF()
    for index in range(min(textpage.count_chars(), MAX_TEXT_CHARS)):
        text = chr(pdfium_c.FPDFText_GetUnicode(textpage, index))
        if pdfium_c.FPDFText_IsGenerated(textpage, index) == 1:
            yield Char(text, 0, 0, 0, 0, 0, None)
            continue
        box = char_box(textpage, index)
        if not extract.has(index, box):
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


def address_of(raw: Any) -> int | None:
    """Return what two pointers to one object of PDFium have in common."""
    return ctypes.cast(raw, ctypes.c_void_p).value


def char_box(textpage: pdfium.PdfTextPage, index: int) -> tuple[float, float, float, float]:
    """Return the box of a character: left, bottom, right, top, in points."""
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    pdfium_c.FPDFText_GetCharBox(textpage, index, left, right, bottom, top)
    return left.value, bottom.value, right.value, top.value

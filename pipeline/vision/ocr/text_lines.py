"""Arranges the lines and boxes that OCR found into text in reading order, and measures the unread share.

Boxes are straightened first, so that a page scanned askew or upside down is in order. A block of lines is then cut at
its gutter if it has one. Lines across the gutter (headings) separate the columns above and below them. The left
column comes before the right one, or after it if most letters belong to a right-to-left script.
"""

from __future__ import annotations

import math
import statistics
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pipeline.core.text import clean_text

Point = tuple[float, float]

#: A column has this many lines or more on either side of its gutter …
COLUMN_LINES = 4
#: … which mostly fill the column's width (cells of a table do not) …
COLUMN_FILL = 0.5
#: … and are this many times as long as high, about 15 letters …
COLUMN_LINE_RATIO = 8.0
#: … while at most this share of the block's lines runs across.
ACROSS_SHARE = 0.3
#: Rows belong to different paragraphs if their distance is this multiple of the lower quartile in their block.
PARAGRAPH_PITCH = 1.4
#: A box at least this many times as high as wide holds a vertical line.
UPRIGHT_RATIO = 1.5
#: Below this confidence a line counts as unread: misread lines have 0.3 to 0.83, well-read lines 0.9 and more.
LEGIBLE_CONFIDENCE = 0.85
#: Least letters per piece of a line that is as long as the line is high. RapidOCR leaves out unknown letters and
#: reports high confidence for the rest: Latin has 1.4 to 2.9, Chinese and Japanese 1.0 to 1.2, Cyrillic and Arabic
#: under 0.3.
LEGIBLE_LETTERS = 0.4
#: Lines with a lower confidence are noise.
MIN_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of text as the engine found it."""

    text: str
    """Empty if the line was detected but could not be read."""
    corners: tuple[Point, Point, Point, Point]
    """Pixels: top left, top right, bottom right, bottom left of the upright letters."""
    confidence: float = 1.0
    """The engine's confidence, 0 to 1."""


@dataclass(frozen=True, slots=True)
class FoundLines:
    """The lines that an engine found on a page."""

    engine: str
    """Name, version, and the model if there are several."""
    lines: tuple[TextLine, ...]


@dataclass(frozen=True, slots=True)
class PageText:
    """The text of a page."""

    text: str
    columns: int
    """Columns of running text, at least 1."""
    area_px: float
    """Area of the lines in pixels."""


@dataclass(frozen=True, slots=True)
class _Box:
    """A line on the straightened page."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


def is_legible(line: TextLine) -> bool:
    """Return whether a line was read with enough confidence and letters."""
    length, height = sorted((_side(line, 0, 1), _side(line, 0, 3)), reverse=True)
    letters = sum(not character.isspace() for character in line.text)
    return line.confidence >= LEGIBLE_CONFIDENCE and letters * height >= LEGIBLE_LETTERS * length


def unread_share(lines: Sequence[TextLine]) -> float:
    """Return the share of the text's area, 0 to 1, that was detected but not read; 0 without text."""
    areas = [(_side(line, 0, 1) * _side(line, 0, 3), is_legible(line)) for line in lines]
    return sum(area for area, legible in areas if not legible) / (sum(area for area, _ in areas) or 1.0)


def arrange(lines: Sequence[TextLine]) -> PageText:
    """Arrange lines in reading order: one line per row, a blank line between paragraphs and columns.

    Lines with a low confidence are left out.
    """
    lines = [line for line in lines if line.text and line.confidence >= MIN_CONFIDENCE]
    boxes = _straighten(lines)
    if _runs_right_to_left(lines):
        boxes = [replace(box, left=-box.right, right=-box.left) for box in boxes]
    text = "\n\n".join(_join_rows(block) for block in _blocks(boxes))
    return PageText(clean_text(text), _columns(boxes), sum(box.width * box.height for box in boxes))


def _runs_right_to_left(lines: Sequence[TextLine]) -> bool:
    """Return whether most letters are of a right-to-left script (bidirectional classes of Unicode's UAX 9)."""
    classes = [unicodedata.bidirectional(character) for line in lines for character in line.text]
    return sum(kind in ("R", "AL") for kind in classes) > classes.count("L")


def _straighten(lines: Sequence[TextLine]) -> list[_Box]:
    """Return the boxes on the straightened page. Lines that run downwards are ordered right to left."""
    upright = [line for line in lines if _side(line, 0, 3) >= UPRIGHT_RATIO * _side(line, 0, 1)]
    if len(upright) > len(lines) / 2:
        lines = [TextLine(line.text, _quarter_turn(line.corners)) for line in lines]
    angle = _angle([line for line in lines if _side(line, 0, 1) > 3 * _side(line, 0, 3)])
    cosine, sine = math.cos(angle), math.sin(angle)
    boxes = []
    for line in lines:
        xs = [x * cosine + y * sine for x, y in line.corners]
        ys = [y * cosine - x * sine for x, y in line.corners]
        # The middles of the inner edges: the outer edges of a slanted box overlap its neighbours.
        boxes.append(_Box(line.text, min(xs), (ys[0] + ys[1]) / 2, max(xs), (ys[2] + ys[3]) / 2))
    return boxes


def _side(line: TextLine, start: int, end: int) -> float:
    return math.dist(line.corners[start], line.corners[end])


def _angle(lines: Sequence[TextLine]) -> float:
    """Return the direction of the lines, in radians clockwise from left to right."""
    runs = [(line.corners[1][0] - line.corners[0][0], line.corners[1][1] - line.corners[0][1]) for line in lines]
    if not runs:
        return 0.0
    # Relative to their common direction: on a page upside down, lines have angles on either side of 180°.
    common = math.atan2(sum(y for _, y in runs), sum(x for x, _ in runs))
    return common + statistics.median(math.remainder(math.atan2(y, x) - common, math.tau) for x, y in runs)


def _quarter_turn(corners: tuple[Point, Point, Point, Point]) -> tuple[Point, Point, Point, Point]:
    """Turn an upright box by 90°: the right becomes the top, and the top becomes the left."""
    top_left, top_right, bottom_right, bottom_left = ((y, -x) for x, y in corners)
    return top_right, bottom_right, bottom_left, top_left


def _blocks(boxes: Sequence[_Box]) -> list[list[_Box]]:
    """Return the boxes in blocks, in reading order."""
    if not boxes:
        return []
    gutter = _gutter(boxes)
    if gutter is None:
        return [list(boxes)]
    blocks: list[list[_Box]] = []
    across: list[_Box] = []
    rest = [box for box in boxes if not box.left < gutter < box.right]
    for heading in sorted((box for box in boxes if box.left < gutter < box.right), key=lambda box: box.middle):
        above = [box for box in rest if box.middle < heading.middle]
        if above:
            blocks += [across] if across else []
            blocks += _beside(above, gutter)
            across = []
            rest = [box for box in rest if box.middle >= heading.middle]
        across.append(heading)
    return blocks + ([across] if across else []) + _beside(rest, gutter)


def _beside(boxes: Sequence[_Box], gutter: float) -> list[list[_Box]]:
    left = [box for box in boxes if box.right <= gutter]
    right = [box for box in boxes if box.left >= gutter]
    return _blocks(left) + _blocks(right)


def _columns(boxes: Sequence[_Box]) -> int:
    gutter = _gutter(boxes)
    if gutter is None:
        return 1
    left = [box for box in boxes if box.right <= gutter]
    right = [box for box in boxes if box.left >= gutter]
    return _columns(left) + _columns(right)


def _gutter(boxes: Sequence[_Box]) -> float | None:
    """Return the x of the white space between two columns of running text, or None."""
    best: tuple[int, float] | None = None
    gutter: float | None = None
    for edge in {math.ceil(box.right) for box in boxes}:
        left = [box for box in boxes if box.right <= edge]
        right = [box for box in boxes if box.left > edge]
        across = len(boxes) - len(left) - len(right)
        if across > ACROSS_SHARE * len(boxes) or not (_is_column(left) and _has_long_lines(right)):
            continue
        gap = min(box.left for box in right) - edge
        if best is None or (across, -gap) < best:
            best, gutter = (across, -gap), edge + gap / 2
    return gutter


def _is_column(boxes: Sequence[_Box]) -> bool:
    """Return whether these lines form one column. Several columns to its right are left to the next cut."""
    if not _has_long_lines(boxes):
        return False
    extent = max(box.right for box in boxes) - min(box.left for box in boxes)
    return statistics.median(box.width for box in boxes) >= COLUMN_FILL * extent


def _has_long_lines(boxes: Sequence[_Box]) -> bool:
    if len(boxes) < COLUMN_LINES:
        return False
    height = statistics.median(box.height for box in boxes)
    return statistics.median(box.width for box in boxes) >= COLUMN_LINE_RATIO * height


def _join_rows(block: Sequence[_Box]) -> str:
    rows = _rows(block)
    pitches = [after[0].middle - before[0].middle for before, after in pairwise(rows)]
    wide = PARAGRAPH_PITCH * sorted(pitches)[len(pitches) // 4] if pitches else 0.0
    texts = [" ".join(box.text for box in sorted(row, key=lambda box: box.left)) for row in rows]
    breaks = ["", *("\n\n" if pitch > wide else "\n" for pitch in pitches)]
    return "".join(lead + text for lead, text in zip(breaks, texts, strict=True))


def _rows(block: Sequence[_Box]) -> list[list[_Box]]:
    """Return the boxes in rows from top to bottom."""
    rows: list[list[_Box]] = []
    for box in sorted(block, key=lambda box: box.middle):
        if rows and rows[-1][0].top < box.middle < rows[-1][0].bottom:
            rows[-1].append(box)
        else:
            rows.append([box])
    return rows

"""From the lines that OCR found, each in its box, to text in reading order.

Boxes are straightened first, so that a page scanned askew is in order. A block of lines is then cut at its gutter if
it has one: lines across the gutter (headings) stand between what is above and below them, and left comes before right.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]

#: A column has this many lines or more on either side of its gutter …
COLUMN_LINES = 4
#: … which mostly fill the column's width (cells of a table do not) …
COLUMN_FILL = 0.5
#: … and are this many times as long as high, some 15 letters …
COLUMN_LINE_RATIO = 8.0
#: … while at most this share of the block's lines runs across.
ACROSS_SHARE = 0.3
#: Rows this many times as far apart as the closer quarter of their block's rows belong to different paragraphs.
PARAGRAPH_PITCH = 1.4
#: A box at least this many times as high as wide holds a line that runs up or down.
UPRIGHT_RATIO = 1.5


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of text as it was found."""

    text: str
    corners: tuple[Point, Point, Point, Point]
    """Pixels: top left, top right, bottom right, bottom left as the letters stand."""


@dataclass(frozen=True, slots=True)
class PageText:
    """The text of a page."""

    text: str
    columns: int
    """Columns of running text; 1 where there are none."""
    area_px: float
    """Pixels under lines."""


@dataclass(frozen=True, slots=True)
class _Box:
    """A line in the straightened page."""

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


def arrange(lines: Sequence[TextLine]) -> PageText:
    """Put lines into reading order: one line each row, a blank line between paragraphs and columns."""
    boxes = _straighten(lines)
    text = "\n\n".join(_join_rows(block) for block in _blocks(boxes))
    return PageText(text, _columns(boxes), sum(box.width * box.height for box in boxes))


def _straighten(lines: Sequence[TextLine]) -> list[_Box]:
    """Return the boxes as they would be on a page laid straight. Lines that run downwards are read right to left."""
    upright = [line for line in lines if _side(line, 0, 3) >= UPRIGHT_RATIO * _side(line, 0, 1)]
    if len(upright) > len(lines) / 2:
        lines = [TextLine(line.text, _quarter_turn(line.corners)) for line in lines]
    slopes = [_slope(line) for line in lines if _side(line, 0, 1) > 3 * _side(line, 0, 3)]
    angle = statistics.median(slopes) if slopes else 0.0
    cosine, sine = math.cos(angle), math.sin(angle)
    boxes = []
    for line in lines:
        xs = [x * cosine + y * sine for x, y in line.corners]
        ys = [y * cosine - x * sine for x, y in line.corners]
        # Halves of the inner edges: the outer ones of a slanted box reach into its neighbours.
        boxes.append(_Box(line.text, min(xs), (ys[0] + ys[1]) / 2, max(xs), (ys[2] + ys[3]) / 2))
    return boxes


def _side(line: TextLine, start: int, end: int) -> float:
    return math.dist(line.corners[start], line.corners[end])


def _slope(line: TextLine) -> float:
    (left, left_y), (right, right_y) = line.corners[:2]
    return math.atan2(right_y - left_y, right - left)


def _quarter_turn(corners: tuple[Point, Point, Point, Point]) -> tuple[Point, Point, Point, Point]:
    """Lay an upright box on its side: what was at the right comes first, what was at the top comes left."""
    top_left, top_right, bottom_right, bottom_left = ((y, -x) for x, y in corners)
    return top_right, bottom_right, bottom_left, top_left


def _blocks(boxes: Sequence[_Box]) -> list[list[_Box]]:
    """Return the boxes in blocks, in the order in which these are read."""
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
    """Return the place of the white space between two columns of running text, or None."""
    best: tuple[int, float] | None = None
    place: float | None = None
    for edge in {math.ceil(box.right) for box in boxes}:
        left = [box for box in boxes if box.right <= edge]
        right = [box for box in boxes if box.left > edge]
        across = len(boxes) - len(left) - len(right)
        if across > ACROSS_SHARE * len(boxes) or not (_is_column(left) and _has_long_lines(right)):
            continue
        gap = min(box.left for box in right) - edge
        if best is None or (across, -gap) < best:
            best, place = (across, -gap), edge + gap / 2
    return place


def _is_column(boxes: Sequence[_Box]) -> bool:
    """Whether these are the lines of one column. To its right there may be several: that is for the next cut."""
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

"""Joins the texts of overlapping bands of a page at their overlaps, without lost or doubled lines.

Lines cannot simply be compared. Two readings of the same line differ a little, a line cut by a crop's edge may be
garbage in one of them, and rows of a table may be equal. So the last lines of one text and the first lines of the next
are aligned as sequences. A pair of similar lines adds to the score of an alignment, and a line of only one band
subtracts from it. For repeated lines the expected overlap of the bands decides.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from operator import attrgetter
from typing import NamedTuple

from rapidfuzz.distance import Indel

#: Pages with letters lower than this on the page image (`PageFacts.glyph_px`) are dense and read in bands from the
#: start. Measured on scans set in Times (`bench/crops.py`): on the page image, OCR found no words at 3.1 px (4 pt on
#: A4) and 95 % of them at 4.0 px; in halves it found 95 % and 100 %. From 4.3 px (6 pt), bands added no words. The
#: limit is a little higher than that, because a vision model reads small letters hardly better than OCR.
DENSE_GLYPH_PX = 4.5
#: Overlap of two neighbouring bands: `OVERLAP` of `pipeline.rendering.sandbox.page_image.crops`.
OVERLAP = 0.06
#: Lines compared on each side of a seam: more than an overlap holds, even if all text of a band is in it.
_WINDOW = 40
#: Minimum similarity of two readings of a line: 1 minus the share of inserted and deleted characters. Measured on the
#: truth texts of a corpus: 95 % of pairs of different lines are below 0.45; 99 % of lines with every eighth character
#: wrong are above 0.7.
_MIN_SIMILARITY = 0.6
#: Two pairs with a common line are rivals. A rival counts if its similarity is at least this share of the pair's.
_RIVAL = 0.95
#: Cost of a line that only one band has. It is lower at the edge of that band, where lines are cut.
_GAP = 0.5
_EDGE_GAP = 0.05
#: Cost per line by which an overlap is longer or shorter than expected. It is less than the value of two equal lines
#: without a rival (1), and more than their value with one (0.25).
_UNEXPECTED = 0.3
#: Length from which two lines are not equal by chance. The evidence of shorter lines is reduced in proportion.
_DISTINCT_CHARS = 8
#: Share of different digits from which a pair of lines is not evidence. For 1004 and 1005 the share is 0.25.
_DIFFERENT_DIGITS = 0.2
#: Minimum sum of the evidence of all pairs, each at most 1. A single short line is not enough: it matches anywhere.
_MIN_EVIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class Merged:
    """The text of a page, joined from its bands."""

    text: str
    seams: tuple[int | None, ...]
    """Number of lines found in both bands, by seam. None if no overlap was found: both bands are then kept whole."""


class _Line(NamedTuple):
    """A line with text."""

    text: str
    """The line as written, with the blank lines before it."""
    plain: str
    """The line without case and spaces, since two readings of one line differ in these."""
    digits: str
    """Its digits. Items of a list and rows of a table may differ only in these."""


class _Move(Enum):
    """The lines that one step of an alignment consumes."""

    UPPER = auto()
    """A line that only the upper band has."""
    LOWER = auto()
    """A line that only the lower band has."""
    PAIR = auto()
    """A line of each band; both are readings of the same line."""


class _Step(NamedTuple):
    """A step of an alignment. If it consumes no line of a band, the number for that band has no meaning."""

    move: _Move
    upper: int
    """Number of the line among the last ones of the upper band."""
    lower: int
    """Number of the line among the first ones of the lower band."""


class _Cell(NamedTuple):
    """The best alignment up to a line of each band: its score and its last step."""

    score: float
    move: _Move | None


def merge(texts: Sequence[str]) -> Merged:
    """Join the texts of bands, first to last, at their overlaps.

    A line found in two bands is taken from the band in which it is further from the edge. A line of only one band is
    kept, unless the edge cuts it.
    """
    bands = [_lines(text) for text in texts]
    share = OVERLAP * len(bands) / (1 + (len(bands) - 1) * OVERLAP)
    page: list[_Line] = []
    seams: list[int | None] = []
    for number, band in enumerate(bands):
        if number:
            expected = share * (len(bands[number - 1]) + len(band)) / 2
            page, matched = _join(page, band, expected)
            seams.append(matched)
        else:
            page = band
    return Merged("\n".join(line.text for line in page).strip("\n"), tuple(seams))


def _lines(text: str) -> list[_Line]:
    lines, blank = [], ""
    for line in text.splitlines():
        if line.strip():
            digits = "".join(filter(str.isdecimal, line))
            lines.append(_Line(blank + line, "".join(line.casefold().split()), digits))
            blank = ""
        else:
            blank += "\n"
    return lines


def _join(upper: list[_Line], lower: list[_Line], expected: float) -> tuple[list[_Line], int | None]:
    """Join two bands with an expected overlap in lines. Return the lines, and the number of lines found in both."""
    tail, head = upper[-_WINDOW:], lower[:_WINDOW]
    similarity = [[_similarity(above.plain, below.plain) for below in head] for above in tail]
    steps = _align(similarity, expected) if tail and head else []
    pairs = [(tail[step.upper], head[step.lower]) for step in steps if step.move is _Move.PAIR]
    if sum(map(_evidence, pairs)) < _MIN_EVIDENCE:
        return upper + lower, None
    before = upper[: len(upper) - sum(step.move is not _Move.LOWER for step in steps)]
    after = lower[sum(step.move is not _Move.UPPER for step in steps) :]
    if before and steps[0].move is _Move.LOWER:  # the edge cuts this line; the band above has it whole
        steps = steps[1:]
    if after and steps[-1].move is _Move.UPPER:
        steps = steps[:-1]
    # The middle line is taken from the lower band. A line cut at its foot is still read, but wrongly. A line cut at its
    # head hardly ever matches.
    overlap = [_kept(step, index < len(steps) // 2, tail, head) for index, step in enumerate(steps)]
    return before + overlap + after, len(pairs)


def _evidence(pair: tuple[_Line, _Line]) -> float:
    """Return how strongly a pair of lines indicates a seam, 0 to 1. Different digits suggest neighbours in a list."""
    first, second = pair
    # If only one line has digits, they are misread letters.
    both = first.digits and second.digits
    different_digits = Indel.normalized_distance(first.digits, second.digits) if both else 0
    same_digits = max(0, 1 - different_digits / _DIFFERENT_DIGITS)
    return (2 * _similarity(first.plain, second.plain) - 1) * same_digits * min(1, len(first.plain) / _DISTINCT_CHARS)


def _kept(step: _Step, in_first_half: bool, tail: Sequence[_Line], head: Sequence[_Line]) -> _Line:
    """Return the reading to keep: in the first half of an overlap the upper band's, as the lower one's edge is near."""
    from_upper = step.move is _Move.UPPER or (step.move is _Move.PAIR and in_first_half)
    return tail[step.upper] if from_upper else head[step.lower]


def _align(similarity: Sequence[Sequence[float]], expected: float) -> list[_Step]:
    """Return the best alignment of the last lines of one band with the first lines of the next; [] if there is none.

    It ends at the last line of the upper band, begins at the first line of the lower band, and may otherwise begin and
    end anywhere.

    Args:
        similarity: of each line of the upper band (rows) and each line of the lower band (columns), 0 to 1.
        expected: expected lines of the overlap.
    """
    rows, columns = len(similarity), len(similarity[0])
    worth = _worth(similarity)
    cells = [[_Cell(-_UNEXPECTED * abs(rows - row - expected), None)] for row in range(rows + 1)]
    for row, column in itertools.product(range(rows + 1), range(1, columns + 1)):
        ended = [_Cell(cells[row][column - 1].score - (_EDGE_GAP if column == 1 else _GAP), _Move.LOWER)]
        if row:
            ended.append(_Cell(cells[row - 1][column].score - (_EDGE_GAP if row == rows else _GAP), _Move.UPPER))
            if similarity[row - 1][column - 1]:
                ended.append(_Cell(cells[row - 1][column - 1].score + worth[row - 1][column - 1], _Move.PAIR))
        cells[row].append(max(ended, key=attrgetter("score")))
    end = max(range(columns + 1), key=lambda column: cells[rows][column].score)
    return _steps(cells, rows, end)


def _steps(cells: Sequence[Sequence[_Cell]], row: int, column: int) -> list[_Step]:
    """Return the steps of the alignment that ends at this cell."""
    steps = []
    while (move := cells[row][column].move) is not None:
        row -= move is not _Move.LOWER
        column -= move is not _Move.UPPER
        steps.append(_Step(move, row, column))
    return steps[::-1]


def _worth(similarity: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the value of each pair of lines: up to 1 for similar lines, and less for lines with rival matches."""

    def worth(row: int, column: int) -> float:
        similar = similarity[row][column]
        if not similar:
            return 0
        others = ([line[column] for line in similarity], similarity[row])
        rivals = max(sum(other >= _RIVAL * similar for other in line) for line in others)
        return (2 * similar - 1) / rivals**2

    return [[worth(row, column) for column in range(len(similarity[0]))] for row in range(len(similarity))]


def _similarity(first: str, second: str) -> float:
    """Return the similarity of two lines, 0 to 1; 0 below `_MIN_SIMILARITY`."""
    return Indel.normalized_similarity(first, second, score_cutoff=_MIN_SIMILARITY)

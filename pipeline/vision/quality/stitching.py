"""The texts of overlapping bands of a page, joined where they overlap: no line is lost, and none is there twice.

Two readings of the same line differ a little, a line that a crop's edge cuts may be garbage in one of them, and rows
of a table may be equal. So the last lines of one text are aligned with the first lines of the next as sequences are:
pairs of alike lines count, lines that only one of them has cost, and where lines repeat, it counts how far the bands
should overlap.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from operator import attrgetter
from typing import NamedTuple

from rapidfuzz.distance import Indel

#: Pages whose letters are lower than this on the page image (`PageFacts.glyph_px`) are dense: read in bands from the
#: start. Of scans made of Times, OCR found no word at 3.1 px (4 pt on A4) and 0.95 of them at 4.0, in halves 0.95 and
#: all; from 4.3 px (6 pt) on, bands found no more than the page image did (`bench/crops.py`). A little is added, since
#: a vision model is hardly better at small letters than OCR is.
DENSE_GLYPH_PX = 4.5
#: Share of the page that neighbouring bands both show: `OVERLAP` of `pipeline.rendering.sandbox.page_image.crops`.
OVERLAP = 0.06
#: Lines at either side of a seam that are looked at. More than lie in an overlap, even where all text of a band does.
_WINDOW = 40
#: Two readings of a line are at least so alike (1 less the share of characters to be put in or taken out). Of lines of
#: the same text that are not the same, 95 in 100 have less than 0.45; of lines with every eighth character wrong, 99
#: have more than 0.7 (measured on the truth texts of a corpus).
_MIN_LIKENESS = 0.6
#: A line that is this much as alike as the most alike one might be meant as well.
_RIVAL = 0.95
#: What a line costs that only one band has. At the edge that cuts it this is to be expected.
_GAP = 0.5
_EDGE_GAP = 0.05
#: What each line costs by which an overlap is longer or shorter than it should be: less than a pair of lines is worth
#: that has no rival, and more than one that has.
_UNEXPECTED = 0.3
#: Characters from which a line cannot be another one's twin by chance.
_TELLING_CHARS = 8
#: Share of wrong digits with which two lines say nothing of a seam: of 1004 and 1005 it is a quarter.
_WRONG_DIGITS = 0.2
#: Evidence of all pairs, each at most 1, below which there is no seam: a single short line is found anywhere.
_MIN_EVIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class Merged:
    """The text of a page whose bands were read one by one."""

    text: str
    seams: tuple[int | None, ...]
    """For each seam how many lines were found in both bands; None where no overlap was found, and both are kept whole.
    """


class _Line(NamedTuple):
    """A line that is not blank."""

    text: str
    """As it is to be written, with the blank lines before it."""
    plain: str
    """Without what readings of the same line differ in at will."""
    digits: str
    """Its digits: by them alone the items of a list, or the rows of a table, may differ."""


class _Move(Enum):
    """What a step through two sequences of lines takes."""

    UPPER = auto()
    """A line that only the upper band has."""
    LOWER = auto()
    """A line that only the lower band has."""
    PAIR = auto()
    """One of each, which are the same."""


class _Step(NamedTuple):
    """A step of an alignment; of a line that it does not take the number means nothing."""

    move: _Move
    upper: int
    """Number of the line among the last ones of the upper band."""
    lower: int
    """Number of the line among the first ones of the lower band."""


class _Way(NamedTuple):
    """The best alignment up to some line of either band: what it is worth, and its last step."""

    score: float
    move: _Move | None


def merge(texts: Sequence[str]) -> Merged:
    """Join the texts of bands, first to last, at their overlaps.

    Of a line that both have, the reading is kept of the band in which it lies further from the edge. A line that only
    one has is kept, unless it is the one that the edge cuts.
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
    """Join two bands whose overlap should have so many lines; tell how many were found in both."""
    tail, head = upper[-_WINDOW:], lower[:_WINDOW]
    likeness = [[_likeness(above.plain, below.plain) for below in head] for above in tail]
    steps = _align(likeness, expected) if tail and head else []
    pairs = [(tail[step.upper], head[step.lower]) for step in steps if step.move is _Move.PAIR]
    if sum(map(_evidence, pairs)) < _MIN_EVIDENCE:
        return upper + lower, None
    before = upper[: len(upper) - sum(step.move is not _Move.LOWER for step in steps)]
    after = lower[sum(step.move is not _Move.UPPER for step in steps) :]
    if before and steps[0].move is _Move.LOWER:  # cut off there: the band above has it whole
        steps = steps[1:]
    if after and steps[-1].move is _Move.UPPER:
        steps = steps[:-1]
    # The line in the middle is taken from the lower band: one whose feet are cut off is still read, and read wrongly;
    # one whose head is cut off is hardly ever found to be the same.
    overlap = [_kept(step, place < len(steps) // 2, tail, head) for place, step in enumerate(steps)]
    return before + overlap + after, len(pairs)


def _evidence(pair: tuple[_Line, _Line]) -> float:
    """Return how far two lines speak for a seam, 0 to 1. With other digits they are as likely neighbours in a list."""
    first, second = pair
    # Where only one has digits, they are misread letters.
    both = first.digits and second.digits
    wrong_digits = Indel.normalized_distance(first.digits, second.digits) if both else 0
    same_digits = max(0, 1 - wrong_digits / _WRONG_DIGITS)
    return (2 * _likeness(first.plain, second.plain) - 1) * same_digits * min(1, len(first.plain) / _TELLING_CHARS)


def _kept(step: _Step, in_first_half: bool, tail: Sequence[_Line], head: Sequence[_Line]) -> _Line:
    """Return the reading of a line that is kept: in the first half of an overlap, the lower band's edge is nearer."""
    from_upper = step.move is _Move.UPPER or (step.move is _Move.PAIR and in_first_half)
    return tail[step.upper] if from_upper else head[step.lower]


def _align(likeness: Sequence[Sequence[float]], expected: float) -> list[_Step]:
    """Return the best way through the last lines of one band and the first ones of the next, [] if none is good.

    It ends with the last line of the upper band, begins with the first one of the lower band, and else may begin and
    end anywhere.

    Args:
        likeness: of each line of the upper band (rows) to each of the lower one (columns), 0 to 1.
        expected: how many lines the overlap should have.
    """
    rows, columns = len(likeness), len(likeness[0])
    worth = _worth(likeness)
    ways = [[_Way(-_UNEXPECTED * abs(rows - row - expected), None)] for row in range(rows + 1)]
    for row, column in itertools.product(range(rows + 1), range(1, columns + 1)):
        ended = [_Way(ways[row][column - 1].score - (_EDGE_GAP if column == 1 else _GAP), _Move.LOWER)]
        if row:
            ended.append(_Way(ways[row - 1][column].score - (_EDGE_GAP if row == rows else _GAP), _Move.UPPER))
            if likeness[row - 1][column - 1]:
                ended.append(_Way(ways[row - 1][column - 1].score + worth[row - 1][column - 1], _Move.PAIR))
        ways[row].append(max(ended, key=attrgetter("score")))
    end = max(range(columns + 1), key=lambda column: ways[rows][column].score)
    return _steps(ways, rows, end)


def _steps(ways: Sequence[Sequence[_Way]], row: int, column: int) -> list[_Step]:
    """Return the steps of the alignment that ends there."""
    steps = []
    while (move := ways[row][column].move) is not None:
        row -= move is not _Move.LOWER
        column -= move is not _Move.UPPER
        steps.append(_Step(move, row, column))
    return steps[::-1]


def _worth(likeness: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return what each pair of lines is worth: up to 1 where they are alike, and little where others are as much."""

    def worth(row: int, column: int) -> float:
        alike = likeness[row][column]
        if not alike:
            return 0
        others = ([likes[column] for likes in likeness], likeness[row])
        rivals = max(sum(other >= _RIVAL * alike for other in line) for line in others)
        return (2 * alike - 1) / rivals**2

    return [[worth(row, column) for column in range(len(likeness[0]))] for row in range(len(likeness))]


def _likeness(first: str, second: str) -> float:
    """Return how alike two lines are, 0 to 1; 0 where they are too little alike to be readings of the same line."""
    return Indel.normalized_similarity(first, second, score_cutoff=_MIN_LIKENESS)

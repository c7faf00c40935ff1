"""Corrects the order of PDFium's text: in right-to-left lines, and in columns of vertical writing.

PDFium converts right-to-left lines to logical order, with these errors:

- the characters of a glyph that represents several, above all `لا`, are reversed with their line: `ال`;
- words of the other direction within a line are in the wrong order: `amet sit dolor`, `.1914`;
- some brackets are mirrored, and some are not;
- columns of vertical writing are in the order in which the file draws them.

So this module orders lines with right-to-left letters by the positions of their glyphs. This is the inverse of the
bidirectional algorithm (Unicode Standard Annex 9), as far as positions determine the logical order.

Runs in the sandbox process; standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from statistics import median
from typing import NamedTuple

_RTL = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_CJK = "\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
_HAS_RTL = re.compile(f"[{_RTL}]")
_IS_CJK = re.compile(f"[{_CJK}]")
_HAS_TWO_CJK = re.compile(f"[{_CJK}]\\s*[{_CJK}]")
_PRESENTATION = re.compile("[\ufb1d-\ufdff\ufe70-\ufefc]")
#: The characters of ligatures that have a code point, in logical order.
_LIGATURES = {
    text
    for code in (*range(0xFB50, 0xFE00), *range(0xFE70, 0xFEFD))
    if len(text := unicodedata.normalize("NFKC", chr(code))) > 1
}
_BRACKETS = {opening: (opening, closing) for opening, closing in ("()", "[]", "{}")}
_BRACKETS |= {pair[1]: pair for pair in _BRACKETS.values()}
#: Classes of characters within a number: separators, signs and currencies.
_WITHIN_NUMBERS = frozenset({"CS", "ES", "ET"})
#: Maximum offset of characters of one line, or of one column, across its direction, as a share of a character's size.
_OUT_OF_LINE = 0.6
#: Maximum distance from a character to the next one of a column, in sizes.
_NEXT_BELOW = 3
#: Minimum width of a space, as a share of a character's size.
_SPACE = 0.2


class Char(NamedTuple):
    """A character as PDFium reports it, turned so that its line is horizontal. Lengths are in points, y upwards."""

    text: str
    x: float
    """Of its origin."""
    y: float
    left: float
    """Start of its glyph along the line, with its spacing."""
    right: float
    """End of its glyph along the line, with its spacing."""
    size: float
    """The longer side of its glyph."""
    glyph: tuple[float, ...] | None
    """Origin and box of its glyph, equal for all characters of one glyph; None for a character that PDFium inserted."""


@dataclass(slots=True, eq=False)
class _Glyph:
    """A glyph with its marks, and their text."""

    text: str
    char: Char
    space_after: bool = False
    """Whether PDFium inserted a space between this glyph and `next`."""
    next: _Glyph | None = None
    """The next glyph in PDFium's order."""
    kind: str = field(init=False)
    """R or L for letters, by their direction; D for digits; N for characters without a direction."""

    def __post_init__(self) -> None:
        direction = unicodedata.bidirectional(self.text[0])
        self.kind = {"R": "R", "AL": "R", "L": "L", "EN": "D", "AN": "D"}.get(direction, "N")


def has_right_to_left(text: str) -> bool:
    """Whether a text has letters that are written from right to left."""
    return _HAS_RTL.search(text) is not None


def may_be_vertical(text: str) -> bool:
    """Whether a text has two CJK letters next to each other, or on successive lines: they may be written downwards."""
    return _HAS_TWO_CJK.search(text) is not None


def reading_order(chars: Sequence[Char]) -> str:
    """Return the text of characters, given line by line in PDFium's order."""
    ends = ((char.text in "\r\n", char) for char in chars)
    lines = [[char for _, char in group] for is_end, group in groupby(ends, lambda pair: pair[0]) if not is_end]
    directions = [unicodedata.bidirectional(char.text) for char in chars]
    is_rtl = sum(map(directions.count, ("R", "AL"))) > directions.count("L")
    return "\n".join(_line_text(line, is_rtl) for line in _columns_in_order(lines))


def _line_text(line: Sequence[Char], is_rtl: bool) -> str:
    if not any(_HAS_RTL.match(char.text) for char in line):
        return "".join(char.text for char in line)
    glyphs = _glyphs(line)
    if not _has_places([glyph.char for glyph in glyphs]):
        return _joined(_with_spaces(glyphs))
    by_place = _with_spaces(sorted(_with_marks(glyphs), key=lambda glyph: glyph.char.x, reverse=is_rtl))
    return _with_brackets(_joined(_from_right(by_place) if is_rtl else _from_left(by_place)).strip())


def _joined(glyphs: Iterable[_Glyph]) -> str:
    return "".join(glyph.text for glyph in glyphs)


def _glyphs(line: Sequence[Char]) -> list[_Glyph]:
    """Return a line's glyphs in PDFium's order, each with its characters in logical order."""
    glyphs: list[_Glyph] = []
    for place, group in groupby(line, lambda char: char.glyph):
        chars = list(group)
        if place is None:
            if glyphs and any(char.text.isspace() for char in chars):
                glyphs[-1].space_after = True
            continue
        text = "".join(char.text for char in chars)
        # PDFium splits ligatures that have a code point by itself, and keeps their characters in order.
        if _HAS_RTL.search(text) and not (text in _LIGATURES and text[::-1] not in _LIGATURES):
            text = text[::-1]
        glyph = _Glyph(_plain(text), chars[0])
        if glyphs:
            glyphs[-1].next = glyph
        glyphs.append(glyph)
    while glyphs and glyphs[-1].text.isspace():  # at the end of a line their positions are arbitrary
        glyphs.pop()
    return glyphs


def _plain(text: str) -> str:
    """Return the letters that presentation forms stand for."""
    return (unicodedata.normalize("NFKC", text).strip(" ") or text) if _PRESENTATION.search(text) else text


def _has_places(chars: Sequence[Char]) -> bool:
    """Whether positions determine the order.

    They do not if PDFium joined two lines, or placed replacement text on a glyph.
    """
    if len({char.glyph for char in chars}) < len(chars):
        return False
    levels = [char.y for char in chars]
    return max(levels) - min(levels) <= _OUT_OF_LINE * max(char.size for char in chars)


def _with_marks(glyphs: Sequence[_Glyph]) -> list[_Glyph]:
    """Return the glyphs, with each mark added to the text of the right-to-left letter at its position.

    A mark without a letter at its position stays a glyph.
    """
    bases = [glyph for glyph in glyphs if unicodedata.category(glyph.text[0]) != "Mn"]
    for mark in (glyph for glyph in glyphs if glyph not in bases):
        middle = (mark.char.left + mark.char.right) / 2
        under = [base for base in bases if base.kind == "R" and base.char.left <= middle <= base.char.right]
        if under:
            under[0].text += mark.text
        else:
            bases.append(mark)
    return bases


def _from_right(glyphs: Iterable[_Glyph]) -> list[_Glyph]:
    """Return glyphs, given from right to left, in logical order: runs that read from left to right are reversed."""
    ordered = list(glyphs)
    for first, last in _left_to_right_runs([glyph.kind for glyph in ordered], [glyph.text for glyph in ordered]):
        ordered[first:last] = reversed(ordered[first:last])
    return ordered


def _left_to_right_runs(kinds: Sequence[str], texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the begin and end of each left-to-right run: words with the characters between them, or a number."""
    for is_rtl, group in groupby(range(len(kinds)), lambda place: kinds[place] == "R"):
        places = list(group)
        strong = [place for place in places if kinds[place] in "LD"]
        if is_rtl or not strong:
            continue
        if any(kinds[place] == "L" for place in strong):
            yield strong[0], strong[-1] + 1
        else:
            yield from _numbers(strong, texts)


def _numbers(digits: Sequence[int], texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    first = digits[0]
    for here, following in pairwise(digits):
        between = texts[here + 1 : following]
        if len(between) > 1 or not all(unicodedata.bidirectional(text[0]) in _WITHIN_NUMBERS for text in between):
            yield first, here + 1
            first = following
    yield first, digits[-1] + 1


def _from_left(glyphs: Iterable[_Glyph]) -> list[_Glyph]:
    """Return glyphs, given from left to right, in logical order: runs that read from right to left are reversed."""
    ordered = list(glyphs)
    for is_ltr, group in groupby(range(len(ordered)), lambda place: ordered[place].kind == "L"):
        right = [place for place in group if ordered[place].kind == "R"]
        if not is_ltr and right:
            ordered[right[0] : right[-1] + 1] = _from_right(ordered[right[0] : right[-1] + 1][::-1])
    return ordered


def _with_spaces(glyphs: Sequence[_Glyph]) -> Iterator[_Glyph]:
    """Yield glyphs in the given order, with spaces.

    Between two glyphs that are neighbours in PDFium's order, PDFium's spaces are used. Between others, the gap decides.
    """
    for glyph, following in pairwise((*glyphs, None)):
        if glyph is not None:
            yield glyph
            if following is not None and _is_apart(glyph, following):
                yield _Glyph(" ", glyph.char)


def _is_apart(glyph: _Glyph, following: _Glyph) -> bool:
    if glyph.text.isspace() or following.text.isspace():
        return False
    if glyph.next is following:
        return glyph.space_after
    if following.next is glyph:
        return following.space_after
    left, right = sorted((glyph.char, following.char), key=lambda char: char.x)
    return right.left - left.right > _SPACE * min(left.size, right.size)


def _with_brackets(text: str) -> str:
    """Return a text with opening and closing brackets chosen by their neighbours.

    PDFium does not report which brackets it mirrored.
    """
    found: list[str] = []
    depth = 0
    for place, char in enumerate(text):
        if char in _BRACKETS:
            after_word, before_word = (
                not neighbour.isspace() and bool(neighbour) for neighbour in (text[:place][-1:], text[place + 1 :][:1])
            )
            closes = after_word if after_word != before_word else depth > 0
            depth = max(0, depth - 1) if closes else depth + 1
            char = _BRACKETS[char][closes]
        found.append(char)
    return "".join(found)


def _columns_in_order(lines: Sequence[Sequence[Char]]) -> Iterator[Sequence[Char]]:
    """Yield lines, with neighbouring columns of vertical writing sorted from right to left."""
    for is_column, group in groupby(_joined_columns(lines), _is_column):
        columns = list(group)
        yield from _tiers(columns) if is_column and len(columns) > 1 else columns


def _joined_columns(lines: Sequence[Sequence[Char]]) -> Iterator[Sequence[Char]]:
    """Yield lines, with each vertical column as one line. PDFium returns each letter of it as a line."""
    column: list[Char] = []
    for line in lines:
        drawn = [char for char in line if char.glyph is not None]
        is_letter = len(drawn) == 1 and _IS_CJK.match(drawn[0].text) is not None
        if column and not (is_letter and _is_below(drawn[0], column[-1])):
            yield column
            column = []
        if is_letter:
            column += drawn
        else:
            yield line
    if column:
        yield column


def _is_below(char: Char, above: Char) -> bool:
    reach = _NEXT_BELOW * max(char.size, above.size)
    return 0 < above.y - char.y <= reach and _is_column((above, char))


def _is_column(line: Sequence[Char]) -> bool:
    drawn = [char for char in line if char.glyph is not None]
    if len(drawn) < 2:
        return False
    falls = all(above.y > below.y for above, below in pairwise(drawn))
    aside = max(char.x for char in drawn) - min(char.x for char in drawn)
    return falls and aside <= _OUT_OF_LINE * median(char.size for char in drawn)


def _tiers(columns: Sequence[Sequence[Char]]) -> list[Sequence[Char]]:
    """Return columns from right to left, tier by tier.

    A column that begins below the end of a tier's highest column belongs to a later tier.
    """
    left = sorted(columns, key=lambda column: -column[0].y)
    ordered: list[Sequence[Char]] = []
    while left:
        end = min(char.y for char in left[0] if char.glyph is not None)
        tier = [column for column in left if column[0].y > end]
        left = [column for column in left if column[0].y <= end]
        ordered += sorted(tier, key=lambda column: -column[0].x)
    return ordered

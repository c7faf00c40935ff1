"""Shows the cells of a spreadsheet whole before it is printed: wider columns, and higher rows. Runs beside LibreOffice.

A sheet clips a text whose neighbour is not empty, and draws `###` for a number or a date that is wider than its column.
Only columns and rows in which that happens are changed, up to `_MAX_WIDTH`; longer texts are wrapped. Widths are
estimated from the shown text, because LibreOffice measures only whole columns, titles that run over the sheet included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

#: Lengths in hundredths of a millimetre.
_MAX_WIDTH = 10_000
#: A text that runs on over empty neighbours is wrapped if it is wider than a sheet of paper.
_SHEET_WIDTH = 25_000
_MARGINS = 250
_POINT = 35.28
#: Width of a letter or digit, in heights of the font. Bold capitals are about this wide, other letters narrower.
_LETTER = 0.62
_USUAL_POINTS = 10.0
#: Cells that are looked at, of all sheets together: each takes about a tenth of a millisecond.
_MAX_CELLS = 60_000
_MAX_COLUMNS = 1024
_ROWS_AT_ONCE = 500


@dataclass(slots=True)
class ClippedCells:
    """Space that the clipped cells of a sheet need."""

    sheet: int
    widths: dict[int, int] = field(default_factory=dict)
    """By column."""
    wrapped: list[tuple[int, int]] = field(default_factory=list)
    """Column and row of cells with long texts."""


def find_clipped(document: Any) -> list[ClippedCells]:
    """Return the clipped cells of a document's visible sheets."""
    left = _MAX_CELLS
    found = []
    for index in range(document.Sheets.Count):
        sheet = document.Sheets.getByIndex(index)
        if sheet.IsVisible and left > 0:
            clipped = ClippedCells(index)
            left -= _look_through(sheet, left, clipped)
            found.append(clipped)
    return [clipped for clipped in found if clipped.widths or clipped.wrapped]


def show_cells(document: Any, found: Sequence[ClippedCells]) -> None:
    """Make clipped cells readable, in a document that may be changed."""
    for clipped in found:
        sheet = document.Sheets.getByIndex(clipped.sheet)
        for column, width in clipped.widths.items():
            sheet.Columns.getByIndex(column).Width = min(width, _MAX_WIDTH)
        for column, row in clipped.wrapped:
            sheet.getCellByPosition(column, row).IsTextWrapped = True
            _raise(sheet.Rows.getByIndex(row))


def _look_through(sheet: Any, most_cells: int, clipped: ClippedCells) -> int:
    """Note what the cells of a sheet need; return the number of cells that were looked at."""
    cursor = sheet.createCursor()
    cursor.gotoEndOfUsedArea(False)
    end = cursor.RangeAddress
    columns = {number: sheet.Columns.getByIndex(number) for number in range(min(end.EndColumn + 1, _MAX_COLUMNS))}
    widths = {number: column.Width for number, column in columns.items() if column.IsVisible}
    looked_at = 0
    for column, row, shown in islice(_suspects(sheet, end.EndRow, widths), most_cells):
        looked_at += 1
        _note(sheet.getCellByPosition(column, row), (column, row), shown, widths[column], clipped)
    return looked_at


def _suspects(sheet: Any, last_row: int, widths: dict[int, int]) -> Iterator[tuple[int, int, str | None]]:
    """Yield column, row and text of cells that may be clipped. Of numbers the text is None: their format decides."""
    last_column = max(widths, default=-1)
    if last_column < 0:
        return
    for first in range(0, last_row + 1, _ROWS_AT_ONCE):
        last = min(first + _ROWS_AT_ONCE - 1, last_row)
        rows = sheet.getCellRangeByPosition(0, first, last_column, last).getDataArray()
        for row, values in enumerate(rows, first):
            for column in widths:
                value = values[column]
                if isinstance(value, float):
                    yield column, row, None
                elif value and _may_be_clipped(value, column, values, widths[column]):
                    yield column, row, value


def _may_be_clipped(text: str, column: int, values: Sequence[Any], width: int) -> bool:
    """Whether a text may be wider than its column, and has lines of its own or a neighbour that stops it."""
    if _needed(text, _USUAL_POINTS / 2) <= width:
        return False
    if "\n" in text or _needed(text, _USUAL_POINTS) > _SHEET_WIDTH:
        return True
    neighbours = (*values[max(0, column - 1) : column], *values[column + 1 : column + 2])
    return any(value != "" for value in neighbours)


def _note(cell: Any, position: tuple[int, int], shown: str | None, width: int, clipped: ClippedCells) -> None:
    """Note what a cell needs to be shown whole."""
    needed = _needed(cell.String if shown is None else shown, cell.CharHeight)
    if needed <= width:
        return
    column = position[0]
    if shown is not None and (cell.IsTextWrapped or needed > _MAX_WIDTH):
        clipped.wrapped.append(position)
    if shown is None or not cell.IsTextWrapped:
        clipped.widths[column] = max(clipped.widths.get(column, 0), needed)


def _needed(text: str, points: float) -> int:
    """Return the width of a text's longest line; wide letters count twice."""
    longest = max((sum(2 if letter > "\u2e80" else 1 for letter in line) for line in text.splitlines()), default=0)
    return int(longest * points * _POINT * _LETTER) + _MARGINS


def _raise(row: Any) -> None:
    """Make a row as high as its content, if it is lower."""
    before = row.Height
    row.OptimalHeight = True
    if row.Height < before:
        row.Height = before

"""Printing: for people to a terminal, for programs as JSON. Text from pages never reaches a terminal raw."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.core.errors import PagesightError
from pipeline.search import Fragment

#: Stands for a control character that a page or a file name contained.
_REPLACEMENT = "\ufffd"
_KEPT = "\n\t"


#: Columns of tables that go to a file or a pipe, where nobody's window is the limit.
PIPE_COLUMNS = 160


def stdout() -> Console:
    """Return the console for results."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def stderr() -> Console:
    """Return the console for progress and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def printable(text: object) -> str:
    """Return text that cannot steer a terminal: control and format characters (escapes, bidi marks) are replaced."""
    return "".join(
        _REPLACEMENT if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in _KEPT else character
        for character in str(text)
    )


def plain(text: object, style: str = "") -> Text:
    """Return text without markup, fit for a terminal."""
    return Text(printable(text), style=style)


def one_line(text: object, limit: int) -> Text:
    """Return text on one line, cut with an ellipsis where it is longer than `limit` characters."""
    line = " ".join(printable(text).split())
    return Text(line if len(line) <= limit else line[: limit - 1] + "…")


def marked(fragments: Iterable[Fragment]) -> Text:
    """Return highlighted fragments: what matched is bold."""
    line = Text()
    for number, fragment in enumerate(fragments):
        line.append(" … " if number else "")
        for span in fragment:
            line.append(" ".join(printable(span.text).split("\n")), "bold green" if span.is_match else "")
    return line


def table(*columns: str) -> Table:
    """Return an empty table in the house style."""
    grid = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold")
    return grid


def rows(grid: Table, values: Iterable[Sequence[object]]) -> Table:
    """Fill a table; what is not a `Text` yet is made fit for a terminal."""
    for row in values:
        grid.add_row(*(value if isinstance(value, Text) else plain("" if value is None else value) for value in row))
    return grid


def print_json(value: Any) -> None:
    """Print one JSON object. Non-ASCII is escaped, so that no locale and no terminal gets in its way."""
    sys.stdout.write(json.dumps(value, indent=2 if sys.stdout.isatty() else None) + "\n")


def print_error(error: PagesightError) -> None:
    """Print what went wrong and what can be done about it."""
    console = stderr()
    console.print(Text.assemble(("error: ", "bold red"), printable(error)))
    if error.remedy:
        console.print(Text.assemble(("remedy: ", "bold"), printable(error.remedy)))

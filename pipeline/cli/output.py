"""Print for people on a terminal, and for programs as JSON. Text from pages is always made safe for a terminal."""

from __future__ import annotations

import json
import sys
import unicodedata
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.verbs.batches import BatchSummary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.core.errors import PagesightError
    from pipeline.core.models import Batch, FleetState
    from pipeline.search import Fragment

#: Replaces control characters from pages and file names.
_REPLACEMENT = "\ufffd"
_KEPT = "\n\t"
#: A spreadsheet runs a cell with one of these first characters as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


#: Width of tables written to a file or a pipe, in characters.
PIPE_COLUMNS = 160


def stdout() -> Console:
    """Return the console for results."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def stderr() -> Console:
    """Return the console for progress and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def printable(text: object) -> str:
    """Return text that is safe for a terminal: control and format characters (escapes, bidi marks) are replaced."""
    return "".join(
        _REPLACEMENT if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in _KEPT else character
        for character in str(text)
    )


def plain(text: object, style: str = "") -> Text:
    """Return text without markup, safe for a terminal."""
    return Text(printable(text), style=style)


def one_line(text: object, limit: int) -> Text:
    """Return text on one line, cut with an ellipsis after `limit` characters."""
    line = " ".join(printable(text).split())
    return Text(line if len(line) <= limit else line[: limit - 1] + "…")


def marked(fragments: Iterable[Fragment]) -> Text:
    """Return fragments with their matches in bold."""
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
    """Fill a table. Values other than `Text` are made safe for a terminal."""
    for row in values:
        grid.add_row(*(value if isinstance(value, Text) else plain("" if value is None else value) for value in row))
    return grid


def print_json(value: Any) -> None:
    """Print one JSON object. Non-ASCII is escaped, so that output does not depend on locale or terminal."""
    sys.stdout.write(json.dumps(value, indent=2 if sys.stdout.isatty() else None) + "\n")


def print_error(error: PagesightError) -> None:
    """Print cause and remedy of an error."""
    console = stderr()
    console.print(Text.assemble(("error: ", "bold red"), printable(error)))
    if error.remedy:
        console.print(Text.assemble(("remedy: ", "bold"), printable(error.remedy)))


def ranges(pages: tuple[int, ...]) -> str:
    """Return ascending page numbers in short form: `1-16, 20`."""
    spans: list[list[int]] = []
    for page in pages:
        if spans and page == spans[-1][1] + 1:
            spans[-1][1] = page
        else:
            spans.append([page, page])
    return ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in spans)


def counted(counts: dict[str, int]) -> str:
    """Return counts as text: `3 complete, 1 failed`; zeros are left out."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def csv_cell(value: object) -> str:
    """Return a value as a CSV cell that a spreadsheet never runs as a formula."""
    text = "" if value is None else str(value)
    return printable("'" + text if text.startswith(_FORMULA) else text)


def descriptions_kept_words(pages: int) -> str:
    """Return what a run without a model left as it was, and how to change that."""
    return f"{pages} pages stay as a model described them: no model is configured (--downgrade reads them without one)"


def batch_json(batch: Batch) -> dict[str, Any]:
    """Return the JSON object of an archived batch."""
    shown = asdict(BatchSummary.of(batch))
    ended = batch.ended_at.isoformat() if batch.ended_at else None
    return shown | {"started_at": batch.started_at.isoformat(), "ended_at": ended}


def fleet_json(fleet: FleetState) -> dict[str, Any]:
    """Return the JSON object of the fleet's state."""
    age = datetime.now(UTC) - fleet.since if fleet.revision else None
    return fleet.model_dump(include={"state", "service", "cause", "remedy"}) | {
        "since": fleet.since.isoformat() if age is not None else None,
        "age_seconds": max(0, round(age.total_seconds())) if age is not None else None,
    }


def print_batch_state(batch: Batch, as_json: bool) -> None:
    """Print the state of a batch."""
    if as_json:
        print_json(batch_json(batch))
    else:
        stdout().print(plain(f"Batch {batch.id} is {batch.state}."))


def print_fleet_state(state: FleetState, as_json: bool) -> None:
    """Print the state of the fleet."""
    if as_json:
        print_json(fleet_json(state))
    else:
        stdout().print(plain(f"The fleet is {state.state}."))

"""`pagesight inspect`: show the result that indexing files would have, without indexing them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.analysis.inspect import Encryption, Inspected, Totals, inspect_below
from pipeline.cli.configuration import load_apart_from
from pipeline.cli.exits import ExitCode
from pipeline.cli.options import Exclude, Include, Json, file_patterns
from pipeline.cli.output import csv_cell, plain, printable, ranges, rows, stderr, stdout, table
from pipeline.cli.progress import InspectionProgress
from pipeline.cli.signals import interruptible
from pipeline.core.errors import PagesightError, SettingsError, Stopped
from pipeline.core.formats import MediaType
from pipeline.core.models import DocumentStatus, Failure, PageKind
from pipeline.core.retry import CancelToken
from pipeline.services import open_inspector, own_folders
from pipeline.sources import display_path, root_url
from pipeline.vision.profile import load_profile

EXAMPLES = """
**Examples**

`pagesight inspect scans/` · every file: its pages, their cost, and expected failures

`pagesight inspect report.pdf s3://archive/1987/` · local and in a bucket

`pagesight inspect scans/ --csv > scans.csv` · for a spreadsheet

`pagesight inspect scans/ --json | jq -r '.files[] | select(.status != "complete") | .path'`

Nothing is indexed, and no model, key or cluster is needed.

Exit codes: 0 done (also if something would fail), 2 usage or settings, 3 a service refused,
130 interrupted.
"""

#: Column widths of the table. The name is the last column, so that a long name is never broken.
_WIDTHS = {"kind": 8, "pages": 5, "digital": 7, "scan": 5, "mixed": 5, "blank": 5, "lang": 4, "calls": 6}
_LEFT = ("kind", "lang")
_SHORT = {MediaType.PROTECTED_OOXML: "ooxml", MediaType.SEVEN_ZIP: "7z"}
_STATUSES = (DocumentStatus.COMPLETE, DocumentStatus.PARTIAL, DocumentStatus.FAILED)
_REPEATED = "repeated"
_UNKNOWN = "unknown"


class Printer(Protocol):
    """Prints each file as soon as it is inspected, so that memory use does not grow with the number of files."""

    def file(self, seen: Inspected) -> None:
        """Print one file."""
        ...

    def end(self, totals: Totals, *, complete: bool) -> None:
        """Print the totals; `complete` if every file was inspected."""
        ...


def inspect(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files and folders, local or in a bucket (`s3://…`). Folders include everything below them."
        ),
    ],
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", help="Profile of questions to estimate for.", show_default="standard"),
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with one row per file instead of tables.")] = False,
) -> None:
    """Show the result that indexing files would have: pages, cost, and expected failures. Nothing is indexed."""
    if as_json and as_csv:
        raise SettingsError("--json and --csv cannot be combined", remedy="Use one of them.")
    settings = load_apart_from(paths)
    chosen = load_profile(profile, settings.profiles_folder) if profile else None
    roots = tuple(map(root_url, paths))
    console = stdout()
    printer: Printer = TablePrinter(console, roots, uses_model=settings.uses_model)
    if as_json or as_csv:
        printer = JsonPrinter() if as_json else CsvPrinter()
    patterns = file_patterns(roots, include, exclude)
    cancel = CancelToken()
    totals = Totals()
    refusal: PagesightError | None = None
    with (
        open_inspector(settings, cancel, chosen) as inspector,
        interruptible(cancel) as interrupted,
        InspectionProgress(totals, cancel, _progress_console(console, printer)) as progress,
    ):
        try:
            for seen in inspect_below(roots, own_folders(settings), inspector, cancel, totals, progress.tick, patterns):
                printer.file(seen)
        except Stopped:
            pass
        except PagesightError as error:
            refusal = error
    printer.end(totals, complete=totals.walked and totals.files == totals.found)
    if refusal is not None:
        raise refusal
    if interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)


def _progress_console(results: Console, printer: Printer) -> Console:
    """Return the console for progress.

    If the results go to a terminal, progress is shown below a table, and not shown between lines of CSV or JSON.
    """
    if not results.is_terminal:
        return stderr()
    return results if isinstance(printer, TablePrinter) else Console(quiet=True)


class TablePrinter:
    """A table that is printed row by row, so its column widths are fixed.

    Args:
        roots: URLs given on the command line. If there is only one, names are shown relative to it.
        uses_model: whether a vision model is configured.
    """

    def __init__(self, console: Console, roots: tuple[str, ...], *, uses_model: bool) -> None:
        self._console = console
        self._uses_model = uses_model
        self._common = f"{display_path(roots[0]).rstrip('/')}/" if len(roots) == 1 else ""
        self._begun = False
        self._remedies: set[str] = set()

    def file(self, seen: Inspected) -> None:
        """Print a row, with notes and failures below it."""
        if not self._begun:
            self._console.print(_line(*_WIDTHS) + plain("file"), style="bold")
        self._begun = True
        self._console.print(self._row(seen))
        if notes := ", ".join(_notes(seen)):
            self._console.print(plain(f"    {notes}", "dim"))
        for failure, numbers in seen.failures:
            self._console.print(self._failure(failure, numbers))

    def end(self, totals: Totals, *, complete: bool) -> None:
        """Print the totals by kind and by outcome."""
        self._console.print()
        self._console.print(_by_kind(totals))
        self._console.print()
        self._console.print(rows(table("all" if complete else "so far", ""), _facts(totals, self._uses_model)))

    def _row(self, seen: Inspected) -> Text:
        kinds = (seen.pages.kinds[kind] or "" for kind in PageKind)
        pages, calls = seen.document.pages if seen.document else "", seen.pages.cost.calls or ""
        name = plain(seen.path.removeprefix(self._common), "bold red" if seen.failures else "")
        return _line(_kind(seen.media_type), pages, *kinds, seen.pages.language or "", calls) + name

    def _failure(self, failure: Failure, numbers: tuple[int, ...]) -> Text:
        """Return an expected failure as text. Each remedy is shown only once, with its first failure."""
        pages = f"page{'s' * (len(numbers) > 1)} {ranges(numbers)}: " if numbers else ""
        line = Text.assemble("    " + pages, (failure.type, "red"), f"  {printable(failure.message)}")
        if failure.remedy not in self._remedies:
            self._remedies.add(failure.remedy)
            line.append(f"\n    {printable(failure.remedy)}", "dim")
        return line


class CsvPrinter:
    """One row per file, without terminal escapes and without cells that a spreadsheet would run as formulas."""

    def __init__(self) -> None:
        self._writer = csv.writer(sys.stdout)
        self._begun = False

    def file(self, seen: Inspected) -> None:
        """Print a row. Several failures of a file share a cell."""
        record = _record(seen)
        failures = record.pop("failures")
        kinds = record.pop("page_kinds")
        told = {
            "failed_pages": sum(len(one["pages"]) for one in failures),
            "error": "; ".join(f"{one['type']} {ranges(one['pages'])}".rstrip() for one in failures),
            "message": "; ".join(one["message"] for one in failures),
            "remedy": " ".join(dict.fromkeys(one["remedy"] for one in failures)),
        }
        row = record | {"substituted_fonts": ", ".join(record["substituted_fonts"])} | kinds | told
        if not self._begun:
            self._writer.writerow(row)
        self._begun = True
        self._writer.writerow(map(csv_cell, row.values()))

    def end(self, totals: Totals, *, complete: bool) -> None:
        """Print nothing: a spreadsheet computes its own totals."""


class JsonPrinter:
    """One JSON object, written in parts: a line per file, then the totals."""

    def __init__(self) -> None:
        self._before = '{"files": [\n'

    def file(self, seen: Inspected) -> None:
        """Print a file's object."""
        sys.stdout.write(self._before + json.dumps(_record(seen)))
        self._before = ",\n"

    def end(self, totals: Totals, *, complete: bool) -> None:
        """Print the totals and close the object."""
        opening = self._before.removeprefix(",")
        sys.stdout.write(f'{opening}], "totals": {json.dumps(_sums(totals, complete))}}}\n')


def _record(seen: Inspected) -> dict[str, Any]:
    """Return the JSON object of a file."""
    document, pages = seen.document, seen.pages
    return {
        "path": seen.path,
        "url": seen.url,
        "document_id": document.id if document else None,
        "media_type": seen.media_type,
        "bytes": seen.state.bytes if seen.state else None,
        "title": document.title if document else None,
        "status": _outcome(seen),
        "pages": document.pages if document else None,
        "page_kinds": {kind.value: pages.kinds[kind] for kind in PageKind},
        "hidden": pages.hidden,
        "members": document.members if document else None,
        "pages_left_out": document.pages_left_out if document else None,
        "substituted_fonts": document.substituted_fonts if document else (),
        "language": pages.language,
        "encryption": seen.encryption,
        "calls": pages.cost.calls,
        "tokens_in": pages.cost.tokens_in,
        "tokens_out_max": pages.cost.tokens_out_max,
        "failures": [_failure(failure, numbers) for failure, numbers in seen.failures],
    }


def _failure(failure: Failure, pages: tuple[int, ...]) -> dict[str, Any]:
    return {"pages": pages, **failure.model_dump(include={"type", "message", "remedy", "transient"})}


def _sums(totals: Totals, complete: bool) -> dict[str, Any]:
    """Return the JSON object of the totals."""
    return {
        "complete": complete,
        "files": totals.files,
        "repeated": totals.repeated,
        "passed_over": totals.passed_over,
        "bytes": totals.bytes,
        "documents": totals.documents,
        "pages": _pages(totals),
        "hidden": totals.hidden,
        "formats": {
            kind or _UNKNOWN: {"files": statuses.total(), "pages": totals.pages_by_format[kind], **statuses}
            for kind, statuses in totals.formats.items()
        },
        "failures": totals.failures,
        "calls": totals.cost.calls,
        "tokens_in": totals.cost.tokens_in,
        "tokens_out_max": totals.cost.tokens_out_max,
    }


def _pages(totals: Totals) -> dict[str, int]:
    return {kind.value: totals.pages[kind] for kind in PageKind} | {"failed": totals.pages_failed}


def _outcome(seen: Inspected) -> str:
    return _REPEATED if seen.repeated else seen.status.value


def _kind(media_type: MediaType | None) -> str:
    """Return the usual name of a format."""
    return _SHORT.get(media_type, media_type.name.lower()) if media_type else _UNKNOWN


def _line(*cells: object) -> Text:
    """Return a row without its last column, the name."""
    words = (
        str(cell).ljust(width) if name in _LEFT else str(cell).rjust(width)
        for cell, (name, width) in zip(cells, _WIDTHS.items(), strict=True)
    )
    return Text(" ".join(words) + "  ")


def _notes(seen: Inspected) -> Iterator[str]:
    if seen.repeated:
        yield "identical to a file above"
    if seen.encryption is Encryption.OPENED:
        yield "opened with a password"
    if seen.pages.hidden:
        yield f"{seen.pages.hidden} pages hidden"
    if seen.document and seen.document.members:
        yield f"contains {seen.document.members} files"
    if seen.document and seen.document.pages_left_out:
        yield f"{seen.document.pages_left_out} printed pages above PAGESIGHT_MAX_SHEET_PAGES skipped"
    if seen.document and seen.document.substituted_fonts:
        yield f"missing fonts: {', '.join(seen.document.substituted_fonts)}"


def _by_kind(totals: Totals) -> Table:
    grid = table("kind", "files", "pages", *_STATUSES)
    for column in grid.columns[1:]:
        column.justify = "right"
    kinds = sorted(totals.formats, key=_kind)
    lines = [
        (
            _kind(kind),
            totals.formats[kind].total(),
            totals.pages_by_format[kind],
            *map(totals.formats[kind].get, _STATUSES),
        )
        for kind in kinds
    ]
    return rows(grid, lines)


def _facts(totals: Totals, uses_model: bool) -> Iterator[tuple[str, str]]:
    litter = f"; {totals.passed_over} files and folders passed over" if totals.passed_over else ""
    again = f", {totals.repeated} of them identical to others" if totals.repeated else ""
    yield "files", f"{totals.files}{again}; {totals.bytes / 1e6:,.1f} MB{litter}"
    yield "documents", _counted({status: totals.documents[status] for status in _STATUSES})
    hidden = f"; {totals.hidden} of them hidden" if totals.hidden else ""
    yield "pages", _counted(_pages(totals)) + hidden
    yield "would fail", _counted(dict(totals.failures.most_common()))
    cost = totals.cost
    if uses_model:
        yield "model calls", f"{cost.calls:,} at most: archived answers are reused"
        yield "tokens", f"about {cost.tokens_in:,} to send, {cost.tokens_out_max:,} to receive at most"
    else:
        yield "model calls", "none: without a model, pages are read locally"


def _counted(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {str(word).replace('_', '-')}" for word, count in counts.items() if count) or "none"

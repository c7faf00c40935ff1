"""`pagesight failures`: list failed pages and files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, fields
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from pipeline.cli.options import BatchFilter, CollectionFilter, DocumentFilter, ErrorFilter, Json, PageFilter
from pipeline.cli.output import csv_cell, plain, print_json, printable, stdout
from pipeline.core.settings import load
from pipeline.search import FailedPage
from pipeline.services import open_archive, open_index
from pipeline.verbs.lookup import require_collection, require_error_class

EXAMPLES = """
**Examples**

`pagesight failures` · every failed page and file, with cause and remedy

`pagesight failures --error encrypted --format csv > encrypted.csv` · for a spreadsheet

`pagesight failures --document annual-report.pdf --page 3`

`pagesight failures --json | jq '.failures[].path'`

Exit codes: 0 done, 2 usage, settings, or no such collection, 3 the cluster refuses or is unreachable.
"""


class Format(StrEnum):
    """Output format of the list."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def failures(
    collection: CollectionFilter = None,
    batch: BatchFilter = None,
    error: ErrorFilter = None,
    document: DocumentFilter = None,
    page: PageFilter = None,
    form: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.TABLE,
    as_json: Json = False,
) -> None:
    """List failed pages and files, with causes and remedies."""
    require_error_class(error)
    settings = load()
    with closing(open_index(settings)) as index:
        require_collection(open_archive(settings, require=False), collection, index)
        found = index.queries.failures(
            collection=collection, batch=batch, error=error, document=document, page_number=page
        )
        if as_json or form is Format.JSON:
            print_json({"failures": [asdict(failed) for failed in found]})
        elif form is Format.CSV:
            write_csv(found)
        else:
            _print_failures(list(found))


def write_csv(found: Iterable[FailedPage]) -> None:
    """Print failures as CSV, without terminal escapes and without cells that a spreadsheet would run as formulas."""
    names = [field.name for field in fields(FailedPage)]
    writer = csv.writer(sys.stdout)
    writer.writerow(names)
    for failed in found:
        writer.writerow([csv_cell(value) for value in asdict(failed).values()])


def _print_failures(found: list[FailedPage]) -> None:
    if found:
        stdout().print(Group(*_failure_lines(found)))
    else:
        stdout().print("Nothing failed.")


def _failure_lines(found: list[FailedPage]) -> Iterator[Text]:
    for failed in found:
        page = f" page {failed.page_number}" if failed.page_number else ""
        yield Text.assemble((printable(failed.path) + page, "bold"), f"  {failed.collection}  ", (failed.type, "red"))
        again = " The next run retries it automatically." if failed.transient else ""
        yield plain(f"    {failed.message}")
        yield plain(f"    {failed.remedy}{again}", "dim")
    yield plain(f"{len(found)} failed", "dim")

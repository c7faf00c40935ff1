"""`pagesight failures` and `retry`: what failed, why, and once more."""

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

from pipeline.archive import Archive
from pipeline.cli.fleet import PUBLISH_SECONDS, project_batch
from pipeline.cli.options import CollectionFilter, Json
from pipeline.cli.output import plain, print_json, printable, stderr, stdout
from pipeline.cli.status_data import batch_json, open_fleet
from pipeline.core.errors import OutcomeError, SettingsError
from pipeline.core.models import BatchEntry, Lane
from pipeline.core.retry import CancelToken
from pipeline.core.settings import load
from pipeline.search import FailedPage
from pipeline.services import open_archive, open_index

FAILURES_EXAMPLES = """
**Examples**

`pagesight failures` · every page and file that failed, why, and what to do

`pagesight failures --error encrypted --format csv > encrypted.csv` · for a spreadsheet

`pagesight failures --document annual-report.pdf --page 3`

`pagesight failures --json | jq '.failures[].path'`

Exit codes: 0, 2 usage or settings, 3 the cluster refuses or is away.
"""
RETRY_EXAMPLES = """
**Examples**

`pagesight retry` · everything that failed, whatever the reason

`pagesight retry --error quarantined --lane backfill`

`pagesight retry --batch 20261124T065448-612691 --collection works`

Only the pages that failed are worked again, not their documents.
Exit codes: 0 (also where nothing failed), 2 usage or settings, 3 Elasticsearch or Redis refuses or is away.
"""

#: Spreadsheets take a cell that begins so for a formula, and run it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Format(StrEnum):
    """How failures are listed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


BatchFilter = Annotated[
    str | None, typer.Option("--batch", "-b", help="Only what failed in this batch.", show_default="all")
]
ErrorFilter = Annotated[
    str | None,
    typer.Option("--error", "-e", metavar="CLASS", help="Only this class, such as `encrypted`.", show_default="all"),
]
DocumentFilter = Annotated[
    str | None,
    typer.Option(
        "--document",
        "-d",
        help="Only documents with this beginning of an id, or part of a name or path.",
        show_default="all",
    ),
]
PageFilter = Annotated[
    int | None, typer.Option("--page", "-p", min=1, help="Only pages of this number.", show_default="all")
]


def failures(
    collection: CollectionFilter = None,
    batch: BatchFilter = None,
    error: ErrorFilter = None,
    document: DocumentFilter = None,
    page: PageFilter = None,
    form: Annotated[Format, typer.Option("--format", help="How to list them.")] = Format.TABLE,
    as_json: Json = False,
) -> None:
    """List every page and file that failed, why, and what to do."""
    _require_class(error)
    with closing(open_index(load())) as index:
        found = index.queries.failures(
            collection=collection, batch=batch, error=error, document=document, page_number=page
        )
        if as_json or form is Format.JSON:
            print_json({"failures": [asdict(failed) for failed in found]})
        elif form is Format.CSV:
            write_csv(found)
        else:
            _print_failures(list(found))


def retry(
    collection: CollectionFilter = None,
    batch: BatchFilter = None,
    error: ErrorFilter = None,
    document: DocumentFilter = None,
    page: PageFilter = None,
    lane: Annotated[Lane, typer.Option("--lane", help="How soon, among what else is queued.")] = Lane.NORMAL,
    as_json: Json = False,
) -> None:
    """Enqueue the pages and files that failed, in a batch for each collection."""
    from workers.recovery.retry import Selection
    from workers.recovery.retry import retry as enqueue_failures

    _require_class(error)
    settings = load()
    archive = open_archive(settings)
    require_collection(archive, collection)
    fleet = open_fleet(settings, archive, CancelToken().within(PUBLISH_SECONDS))
    fleet.lanes.epoch()  # a Redis that is away is noticed before anything is begun
    chosen = _Chosen()
    with closing(open_index(settings)) as index:
        selection = Selection(collection, batch, error, document, page)
        begun = enqueue_failures(fleet, archive, index, selection, settings, lane=lane, chosen=chosen.add)
    for new in begun:
        project_batch(archive, settings, new)
    if as_json:
        print_json({"batches": [batch_json(new) for new in begun], "pages": chosen.pages, "files": chosen.files})
        return
    if not begun:
        stdout().print("Nothing that failed matches.")
        return
    stdout().print(plain(f"{chosen.pages} pages and {chosen.files} whole files are tried again:"))
    for new in begun:
        stdout().print(plain(f"{new.id}  {new.collection}"))
        stderr().print(plain(f"Follow it with `pagesight status {new.id} --watch`.", "dim"))


class _Chosen:
    """Counts what is tried again."""

    def __init__(self) -> None:
        self.pages = 0
        self.files = 0

    def add(self, entry: BatchEntry) -> None:
        self.pages += len(entry.pages or ())
        self.files += entry.pages is None


def write_csv(found: Iterable[FailedPage]) -> None:
    """Print failures as CSV. Nothing in it steers a terminal, or is a formula to a spreadsheet."""
    names = [field.name for field in fields(FailedPage)]
    writer = csv.writer(sys.stdout)
    writer.writerow(names)
    for failed in found:
        writer.writerow([csv_cell(value) for value in asdict(failed).values()])


def csv_cell(value: object) -> str:
    """Return a value as a cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return printable("'" + text if text.startswith(_FORMULA) else text)


def _print_failures(found: list[FailedPage]) -> None:
    if found:
        stdout().print(Group(*_failure_lines(found)))
    else:
        stdout().print("Nothing failed.")


def _failure_lines(found: list[FailedPage]) -> Iterator[Text]:
    for failed in found:
        page = f" page {failed.page_number}" if failed.page_number else ""
        yield Text.assemble((printable(failed.path) + page, "bold"), f"  {failed.collection}  ", (failed.type, "red"))
        again = " The next run tries again by itself." if failed.transient else ""
        yield plain(f"    {failed.message}")
        yield plain(f"    {failed.remedy}{again}", "dim")
    yield plain(f"{len(found)} failed", "dim")


def _require_class(error: str | None) -> None:
    known = sorted(kind.code for kind in OutcomeError.__subclasses__())
    if error is not None and error not in known:
        raise SettingsError(f"there is no class of errors {error!r}", remedy=f"There are: {', '.join(known)}.")


def require_collection(archive: Archive, collection: str | None) -> None:
    """Make sure that there is a collection, where one is named.

    Raises:
        SettingsError: there is not.
    """
    if collection is not None and archive.collection(collection) is None:
        raise SettingsError(f"there is no collection {collection!r}", remedy=f"There are: {archive.collections()}.")

"""`pagesight collections`: list collections with their counts."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from datetime import datetime

from rich.filesize import decimal

from pipeline.cli.options import Json
from pipeline.cli.output import counted, plain, print_json, rows, stdout, table
from pipeline.core.settings import load
from pipeline.search.listings import CollectionSummary
from pipeline.services import open_archive, open_index
from pipeline.verbs.catalogue import CollectionList, list_collections

EXAMPLES = """
**Examples**

`pagesight collections` · every collection with its documents, pages and size

`pagesight collections --json | jq -r '.collections[] | select(.failed_files > 0) | .name'`

Exit codes: 0 done, 2 usage or settings, 3 the cluster refuses or is unreachable.
"""


def collections(as_json: Json = False) -> None:
    """List collections with documents, pages, size and state."""
    settings = load()
    with closing(open_index(settings)) as index:
        found = list_collections(index, open_archive(settings, require=False))
    if as_json:
        print_json(asdict(found))
    else:
        _print(found)


def _print(found: CollectionList) -> None:
    if found.collections:
        columns = ("collection", "documents", "pages", "failed files", "size", "last indexed")
        stdout().print(rows(table(*columns), map(_row, found.collections)))
    elif not found.not_indexed:
        stdout().print("No collections yet: `pagesight index FOLDER` makes one.")
    if found.not_indexed:
        names = ", ".join(found.not_indexed)
        stdout().print(plain(f"In the archive, without records in the index: {names}", "yellow"))


def _row(summary: CollectionSummary) -> tuple[str | int | None, ...]:
    documents = counted({str(status): count for status, count in summary.documents.items()})
    pages = counted({str(status): count for status, count in summary.pages.items()})
    return summary.name, documents, pages, summary.failed_files, decimal(summary.bytes), _minute(summary.indexed_at)


def _minute(moment: str | None) -> str | None:
    return None if moment is None else f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M}"

"""`pagesight documents`: list the documents of the index."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any

import typer
from rich.filesize import decimal

from pipeline.cli.options import CollectionFilter, Json
from pipeline.cli.output import one_line, plain, print_json, rows, stdout, table
from pipeline.core.models import DocumentStatus
from pipeline.core.settings import load
from pipeline.search.listings import DocumentList, DocumentOrder
from pipeline.services import open_archive, open_index
from pipeline.verbs.lookup import require_collection

EXAMPLES = """
**Examples**

`pagesight documents` · the documents of every collection, by name

`pagesight documents report --collection works` · those with `report` in their name or path

`pagesight documents --status partial --sort newest`

`pagesight documents --json | jq '.documents[].document.path'`

Exit codes: 0 done, 2 usage, or no such collection, 3 the cluster refuses or is unreachable.
"""

#: Characters of an id that are shown. Every command takes the start of an id.
_ID_SHOWN = 12


def documents(
    term: Annotated[
        str | None, typer.Argument(metavar="[TERM]", help="Start of an id, or part of a name or path.")
    ] = None,
    collection: CollectionFilter = None,
    status: Annotated[
        DocumentStatus | None, typer.Option("--status", help="Only documents with this status.", show_default="all")
    ] = None,
    order: Annotated[DocumentOrder, typer.Option("--sort", help="Order of the list.")] = DocumentOrder.NAME,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Number of documents to show.")] = 100,
    as_json: Json = False,
) -> None:
    """List documents with pages, size and status."""
    settings = load()
    with closing(open_index(settings)) as index:
        require_collection(open_archive(settings, require=False), collection, index)
        found = index.listings.documents(term, collection=collection, status=status, order=order, size=limit)
    if as_json:
        print_json({"total": found.total, "documents": found.records})
    else:
        _print(found)


def _print(found: DocumentList) -> None:
    if not found.records:
        stdout().print("No documents found.")
        return
    columns = ("document", "collection", "status", "pages", "size", "type", "id")
    stdout().print(rows(table(*columns), map(_row, found.records)))
    rest = found.total - len(found.records)
    stdout().print(plain(f"{found.total} documents" + (f", {rest} not shown (--limit)" if rest else ""), "dim"))


def _row(record: dict[str, Any]) -> tuple[object, ...]:
    document = record["document"]
    size = document.get("bytes")
    return (
        one_line(document["name"], 60),
        record["collection"],
        record["status"],
        record["pages"]["total"],
        None if size is None else decimal(size),
        document.get("media_type"),
        document["id"][:_ID_SHOWN],
    )

"""`pagesight show`: show everything known about a document or a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.text import Text

from pipeline.cli.options import CollectionFilter, Json
from pipeline.cli.output import one_line, plain, print_json, rows, stdout, table
from pipeline.core.settings import load
from pipeline.services import open_archive, open_index
from pipeline.verbs.pages import show_document, split_page

EXAMPLES = """
**Examples**

`pagesight show annual-report.pdf` · a document, by part of its name

`pagesight show annual-report.pdf:3` · one page, with all its fields

`pagesight show 9f86d081 --json` · by the start of its id

Exit codes: 0 done, 2 no document matches, or several do, 3 the cluster refuses or is unreachable.
"""


def show(
    place: Annotated[str, typer.Argument(metavar="DOCUMENT[:PAGE]", help="Start of an id, or part of a name or path.")],
    collection: CollectionFilter = None,
    as_json: Json = False,
) -> None:
    """Show everything known about a document or a page, and where its page image is stored."""
    settings = load()
    term, page = split_page(place)
    archive = open_archive(settings, require=False)
    with closing(open_index(settings)) as index:
        found = show_document(index, archive, term, collection, page)
    if as_json:
        print_json(asdict(found))
    elif page is None:
        _print_document(found.document, found.pages)
    else:
        for key, value in _flattened(found.pages[0]):
            stdout().print(Text.assemble((f"{key}: ", "bold"), plain(value)))


def _print_document(document: dict[str, Any], records: Sequence[dict[str, Any]]) -> None:
    facts = document["document"]
    console = stdout()
    console.print(
        Text.assemble((plain(facts["name"]).plain, "bold"), f"  {document['collection']}  {document['status']}")
    )
    for path in facts.get("path", ()):
        console.print(plain(f"  {path}", "dim"))
    console.print(plain(f"  id {facts['id']}", "dim"))
    grid = table("page", "status", "read by", "description or text")
    console.print(
        rows(
            grid,
            (
                (
                    record["page"]["number"],
                    record["status"],
                    record.get("model", {}).get("name"),
                    one_line(_first_words(record), 90),
                )
                for record in records
            ),
        )
    )


def _first_words(record: dict[str, Any]) -> str:
    error = record.get("error")
    return str(error["message"] if error else record.get("description") or record.get("text") or "")


def _flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict):
        yield prefix, value
        return
    for key, entry in value.items():
        if not (prefix == "" and key == "i18n"):  # copies for the analyzers
            yield from _flattened(entry, f"{prefix}.{key}" if prefix else key)

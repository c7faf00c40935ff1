"""`pagesight status`: show the progress of a batch, or of the whole fleet."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group

from pipeline.cli.exits import ExitCode
from pipeline.cli.options import CollectionFilter, Json
from pipeline.cli.output import print_error, print_json, stdout
from pipeline.cli.status_data import StatusCollector
from pipeline.cli.status_view import StatusView, follow
from pipeline.core.settings import load
from pipeline.services import open_archive
from pipeline.verbs.lookup import require_collection

EXAMPLES = """
**Examples**

`pagesight status` · fleet, workers, open batches, and pages by status

`pagesight status 20261124T065448-612691 --watch` · follow one batch to its end

`pagesight status --json | jq '.workers[].waiting'`

Exit codes: 0 done, 1 the named or watched batch has ended with failures or unfinished pages, 2 usage or settings, 3 the
fleet is halted or a service is unreachable, 4 the budget of the named or watched batch is used up, 130 interrupted (the
batch continues).
"""


BatchId = Annotated[
    str | None,
    typer.Argument(metavar="BATCH", help="Batch id, as printed by `enqueue` and `batches`.", show_default="all"),
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Refresh until the batch has ended.")]


def status(
    batch: BatchId = None, collection: CollectionFilter = None, watch: Watch = False, as_json: Json = False
) -> None:
    """Show the progress of a batch, or of the fleet, its open batches and the index."""
    settings = load()
    archive = open_archive(settings)
    require_collection(archive, collection)
    collector = StatusCollector(settings, archive)
    view = StatusView(archive, collector, batch, collection)
    view.require()
    code = follow(view) if watch else ExitCode.OK
    snapshot = view.look()
    if as_json:
        print_json(snapshot.json() | {"damaged": list(archive.damaged)})
    else:
        stdout().print(Group(*snapshot.shown()))
    for error in snapshot.away.errors:
        print_error(error)
    raise typer.Exit(code or snapshot.code())

"""`pagesight status`: what is done, what is waited for, what failed, and when it will be finished."""

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

EXAMPLES = """
**Examples**

`pagesight status` · the fleet, what it is at, what waits and why, documents and pages by status

`pagesight status 20261124T065448-612691 --watch` · one batch, until it has ended

`pagesight status --json | jq '.workers[].waiting'`

Exit codes: 0, 1 a batch that was named or watched has ended, and something of it failed or was not done, 2 usage or
settings, 3 the fleet is halted or a service is away, 4 the budget of a batch that was named or watched is used up,
130 interrupted (the batch goes on).
"""


BatchId = Annotated[
    str | None,
    typer.Argument(metavar="BATCH", help="A batch's id, as `enqueue` and `batches` print it.", show_default="all"),
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show it anew until it has ended.")]


def status(
    batch: BatchId = None, collection: CollectionFilter = None, watch: Watch = False, as_json: Json = False
) -> None:
    """Show how a batch stands, or the fleet, its batches and the index."""
    settings = load()
    archive = open_archive(settings)
    onlooker = StatusCollector(settings, archive)
    view = StatusView(archive, onlooker, batch, collection)
    view.require()
    code = follow(view) if watch else ExitCode.OK
    picture = view.look()
    if as_json:
        print_json(picture.json())
    else:
        stdout().print(Group(*picture.shown()))
    for error in picture.away.errors:
        print_error(error)
    raise typer.Exit(code or picture.code())

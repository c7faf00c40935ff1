"""`pagesight batches`: list batches."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipeline.cli.options import CollectionFilter, Json
from pipeline.cli.output import batch_json, counted, one_line, print_json, rows, stdout, table
from pipeline.core.models import Batch
from pipeline.core.settings import load
from pipeline.services import open_archive
from pipeline.verbs.batches import recent_batches
from pipeline.verbs.lookup import require_collection

EXAMPLES = """
**Examples**

`pagesight batches` · the latest batches, newest first

`pagesight batches --collection works --limit 100`

`pagesight batches --json | jq -r '.batches[] | select(.state == "working") | .id'`

Exit codes: 0 done, 2 usage or settings, 3 the archive is unusable.
"""


def batches(
    collection: CollectionFilter = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Number of batches to show.")] = 20,
    as_json: Json = False,
) -> None:
    """List batches, newest first."""
    archive = open_archive(load())
    require_collection(archive, collection)
    found = [batch for batch, _ in zip(recent_batches(archive, collection), range(limit), strict=False)]
    if as_json:
        print_json({"batches": [batch_json(batch) for batch in found], "damaged": list(archive.damaged)})
    elif found:
        columns = ("batch", "collection", "lane", "state", "documents", "pages", "started", "ended")
        stdout().print(rows(table(*columns), map(_row, found)))
    else:
        stdout().print("No batches yet.")


def _row(batch: Batch) -> tuple[Any, ...]:
    ended = f"{batch.ended_at:%Y-%m-%d %H:%M:%S}" if batch.ended_at else None
    counts = (one_line(counted(batch.documents), 60), one_line(counted(batch.pages), 60))
    state = one_line(batch.state if batch.cause is None else f"{batch.state}: {batch.cause}", 60)
    return batch.id, batch.collection, batch.lane, state, *counts, f"{batch.started_at:%Y-%m-%d %H:%M:%S}", ended

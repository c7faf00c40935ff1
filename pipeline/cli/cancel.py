"""`pagesight cancel`: end a batch."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.batches.progress import cancel as cancel_batch
from pipeline.cli.fleet import project_batch
from pipeline.cli.options import Json
from pipeline.cli.output import print_batch_state
from pipeline.core.settings import load
from pipeline.services import open_archive

EXAMPLES = """
**Examples**

`pagesight cancel 20261124T065448-612691` · stops within seconds; what is done stays

To go on later, enqueue the same files again: only what is missing is done.
Exit codes: 0, 2 there is no such batch or it has ended, 3 the archive cannot be used.
"""

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="A batch's id, as `enqueue` and `batches` print it.")]


def cancel(batch: BatchId, as_json: Json = False) -> None:
    """End a batch: workers leave it within seconds. What is done stays, and nothing revives the rest by itself."""
    settings = load()
    archive = open_archive(settings)
    cancelled = archive.batch(batch)
    if cancelled is None or cancelled.state != "cancelled":
        cancelled = cancel_batch(archive, batch)
    project_batch(archive, settings, cancelled)
    print_batch_state(cancelled, as_json)

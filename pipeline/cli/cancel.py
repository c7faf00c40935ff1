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

`pagesight cancel 20261124T065448-612691` · stops within seconds; finished pages stay

To continue later, enqueue the same files again: only missing pages are processed.

Exit codes: 0 done, 2 no such batch, or it has ended, 3 the archive is unusable.
"""

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="Batch id, as printed by `enqueue` and `batches`.")]


def cancel(batch: BatchId, as_json: Json = False) -> None:
    """Cancel a batch: workers stop it within seconds. Finished pages stay, and the rest never restarts by itself."""
    settings = load()
    archive = open_archive(settings)
    cancelled = archive.batches[batch].newest()
    if cancelled is None or cancelled.state != "cancelled":
        cancelled = cancel_batch(archive, batch)
    project_batch(archive, settings, cancelled)
    print_batch_state(cancelled, as_json)

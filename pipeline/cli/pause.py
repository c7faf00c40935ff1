"""`pagesight pause`: pause the fleet or a batch."""

from __future__ import annotations

from pipeline.batches import fleet_state as states
from pipeline.batches.progress import pause as pause_batch
from pipeline.cli.fleet import project_batch
from pipeline.cli.options import Json, MaybeBatch
from pipeline.cli.output import print_batch_state, print_fleet_state
from pipeline.core.settings import load
from pipeline.services import open_archive

EXAMPLES = """
**Examples**

`pagesight pause` · pauses all workers; the queue keeps its messages

`pagesight pause 20261124T065448-612691` · one batch

Exit codes: 0 done, 2 no such batch, or it has ended, 3 the archive is unusable.
"""


def pause(batch: MaybeBatch = None, as_json: Json = False) -> None:
    """Pause the fleet or a batch: calls in flight finish, no new ones start, and nothing is lost."""
    settings = load()
    archive = open_archive(settings)
    if batch is None:
        print_fleet_state(states.pause(archive), as_json)
        return
    paused = pause_batch(archive, batch)
    project_batch(archive, settings, paused)
    print_batch_state(paused, as_json)

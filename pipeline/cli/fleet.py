"""`pagesight batches`, `cancel`, `pause` and `resume`: what people command of the fleet, durable in the archive."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any

import typer

from pipeline.archive import Archive
from pipeline.batches import fleet_state as states
from pipeline.batches.progress import cancel as cancel_batch
from pipeline.batches.progress import pause as pause_batch
from pipeline.batches.progress import resume as resume_batch
from pipeline.batches.progress import unended
from pipeline.cli.options import BudgetTokens, CollectionFilter, Json, MaxPages
from pipeline.cli.output import one_line, plain, print_json, rows, stderr, stdout, table
from pipeline.cli.status import words
from pipeline.cli.status_data import batch_json, fleet_json, open_fleet, recent_batches
from pipeline.core.errors import PagesightError, SettingsError, Stopped
from pipeline.core.models import UNBOUNDED, Allowance, Batch, FleetState
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load
from pipeline.core.url_signing import Signer
from pipeline.projection.projector import Projector
from pipeline.services import open_archive, open_index

BATCHES_EXAMPLES = """
**Examples**

`pagesight batches` · the last batches, newest first

`pagesight batches --collection works --limit 100`

`pagesight batches --json | jq -r '.batches[] | select(.state == "working") | .id'`

Exit codes: 0, 2 usage or settings, 3 the archive cannot be used.
"""
CANCEL_EXAMPLES = """
**Examples**

`pagesight cancel 20261124T065448-612691` · stops within seconds; what is done stays

To go on later, enqueue the same files again: only what is missing is done.
Exit codes: 0, 2 there is no such batch or it has ended, 3 the archive cannot be used.
"""
PAUSE_EXAMPLES = """
**Examples**

`pagesight pause` · all workers rest, and the queue keeps its work

`pagesight pause 20261124T065448-612691` · one batch

Exit codes: 0, 2 there is no such batch or it has ended, 3 the archive cannot be used.
"""
RESUME_EXAMPLES = """
**Examples**

`pagesight resume` · the workers go on, also after a halt whose cause was mended

`pagesight resume 20261124T065448-612691` · one batch

`pagesight resume 20261124T065448-612691 --budget-tokens 4000000` · one whose budget is used up, with a larger one,
counted from its beginning on

Exit codes: 0, 2 there is no such batch, it has ended or its budget is to be raised, 3 Redis or the archive refuses or
is away.
"""

#: How long the record of a batch waits for Elasticsearch, and messages for Redis: the archive has all of it.
RECORD_SECONDS = 3.0
PUBLISH_SECONDS = 30.0

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="A batch's id, as `enqueue` and `batches` print it.")]
MaybeBatch = Annotated[
    str | None, typer.Argument(metavar="BATCH", help="A batch's id.", show_default="the whole fleet")
]


def batches(
    collection: CollectionFilter = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Batches to show.")] = 20,
    as_json: Json = False,
) -> None:
    """List batches, newest first."""
    archive = open_archive(load())
    found = [batch for batch, _ in zip(recent_batches(archive, collection), range(limit), strict=False)]
    if as_json:
        print_json({"batches": [batch_json(batch) for batch in found]})
    elif found:
        columns = ("batch", "collection", "lane", "state", "documents", "pages", "started", "ended")
        stdout().print(rows(table(*columns), map(_row, found)))
    else:
        stdout().print("There are no batches.")


def cancel(batch: BatchId, as_json: Json = False) -> None:
    """End a batch: workers leave it within seconds. What is done stays, and nothing revives the rest by itself."""
    settings = load()
    archive = open_archive(settings)
    cancelled = archive.batch(batch)
    if cancelled is None or cancelled.state != "cancelled":
        cancelled = cancel_batch(archive, batch)
    project_batch(archive, settings, cancelled)
    _tell_batch(cancelled, as_json)


def pause(batch: MaybeBatch = None, as_json: Json = False) -> None:
    """Let the fleet, or a batch, rest: calls in flight end, nothing new begins, and nothing is lost."""
    settings = load()
    archive = open_archive(settings)
    if batch is None:
        _tell_fleet(states.pause(archive), as_json)
        return
    paused = pause_batch(archive, batch)
    project_batch(archive, settings, paused)
    _tell_batch(paused, as_json)


def resume(
    batch: MaybeBatch = None,
    budget_tokens: BudgetTokens = None,
    max_pages: MaxPages = None,
    as_json: Json = False,
) -> None:
    """Let the fleet, or a batch, go on; a batch whose budget is used up with a larger one."""
    settings = load()
    archive = open_archive(settings)
    raised = Allowance(tokens=budget_tokens, pages=max_pages)
    if batch is None and raised != UNBOUNDED:
        raise SettingsError("a budget is that of one batch", remedy="Name the batch: `pagesight batches` lists them.")
    if batch is None:
        before = archive.fleet()
        state = states.resume(archive)
        if before is not None and before.state == "halted":
            words = (
                f"It was halted: {before.cause}. {before.remedy or ''} If the cause is not mended, it will halt again."
            )
            stderr().print(plain(words, "yellow"))
        _tell_fleet(state, as_json)
        return
    resumed = _resume_batch(archive, settings, batch, raised)
    project_batch(archive, settings, resumed)
    _tell_batch(resumed, as_json)


def _resume_batch(archive: Archive, settings: Settings, batch_id: str, raised: Allowance) -> Batch:
    """Have a batch go on. Its messages were dropped while it was paused, so what it still needs is published anew."""
    from workers.recovery.sweep import republish

    if unended(archive, batch_id).state == "working":
        return resume_batch(archive, batch_id, raised)
    fleet = open_fleet(settings, archive, CancelToken().within(PUBLISH_SECONDS))
    fleet.lanes.epoch()  # a Redis that is away is noticed before anything is changed
    republish(resume_batch(archive, batch_id, raised), archive, fleet.lanes, fleet.publish)
    return unended(archive, batch_id)


def project_batch(archive: Archive, settings: Settings, batch: Batch) -> None:
    """Write the record of a batch. Where Elasticsearch cannot take it now, it is said: the archive has it already."""
    try:
        with closing(open_index(settings)) as index:
            cancel = CancelToken().within(RECORD_SECONDS)
            Projector(archive, index, cancel, Signer(settings.serve_secret)).batch(batch)
    except PagesightError as error:
        cause = "Elasticsearch is away" if isinstance(error, Stopped) else str(error)
        stderr().print(plain(f"The batch's record is not in the index yet ({cause}); the workers bring it.", "dim"))


def _tell_batch(batch: Batch, as_json: bool) -> None:
    if as_json:
        print_json(batch_json(batch))
    else:
        stdout().print(plain(f"Batch {batch.id} is {batch.state}."))


def _tell_fleet(state: FleetState, as_json: bool) -> None:
    if as_json:
        print_json(fleet_json(state))
    else:
        stdout().print(plain(f"The fleet is {state.state}."))


def _row(batch: Batch) -> tuple[Any, ...]:
    ended = f"{batch.ended_at:%Y-%m-%d %H:%M:%S}" if batch.ended_at else None
    counts = (one_line(words(batch.documents), 60), one_line(words(batch.pages), 60))
    state = one_line(batch.state if batch.cause is None else f"{batch.state}: {batch.cause}", 60)
    return batch.id, batch.collection, batch.lane, state, *counts, f"{batch.started_at:%Y-%m-%d %H:%M:%S}", ended

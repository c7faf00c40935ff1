"""`pagesight resume`: resume the fleet or a batch."""

from __future__ import annotations

from pipeline.archive import Archive
from pipeline.batches import fleet_state as states
from pipeline.batches.progress import resume as resume_batch
from pipeline.batches.progress import unended
from pipeline.cli.fleet import PUBLISH_SECONDS, open_fleet, project_batch
from pipeline.cli.options import BudgetTokens, Json, MaxPages, MaybeBatch
from pipeline.cli.output import plain, print_batch_state, print_fleet_state, stderr
from pipeline.core.errors import SettingsError
from pipeline.core.models import UNBOUNDED, Allowance, Batch
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load
from pipeline.services import open_archive

EXAMPLES = """
**Examples**

`pagesight resume` · resumes the workers, also after a halt once its cause is fixed

`pagesight resume 20261124T065448-612691` · one batch

`pagesight resume 20261124T065448-612691 --budget-tokens 4000000` · one whose budget is used up, with a
larger budget, counted from the start of the batch

Exit codes: 0 done, 2 no such batch, it has ended, or its budget must be raised, 3 Redis or the archive refuses or is
unreachable.
"""


def resume(
    batch: MaybeBatch = None,
    budget_tokens: BudgetTokens = None,
    max_pages: MaxPages = None,
    as_json: Json = False,
) -> None:
    """Resume the fleet or a batch. A batch whose budget is used up needs a larger one."""
    settings = load()
    archive = open_archive(settings)
    raised = Allowance(tokens=budget_tokens, pages=max_pages)
    if batch is None and raised != UNBOUNDED:
        raise SettingsError("a budget belongs to a batch", remedy="Name the batch: `pagesight batches` lists them.")
    if batch is None:
        before = archive.fleet.newest()
        state = states.resume(archive)
        if before is not None and before.state == "halted":
            words = f"It was halted: {before.cause}. {before.remedy or ''} It halts again if the cause is not fixed."
            stderr().print(plain(words, "yellow"))
        print_fleet_state(state, as_json)
        return
    resumed = _resume_batch(archive, settings, batch, raised)
    project_batch(archive, settings, resumed)
    print_batch_state(resumed, as_json)


def _resume_batch(archive: Archive, settings: Settings, batch_id: str, raised: Allowance) -> Batch:
    """Resume a batch. Its messages were dropped while it was paused, so the missing ones are published again."""
    from workers.recovery.sweep import republish

    if unended(archive, batch_id).state == "working":
        return resume_batch(archive, batch_id, raised)
    fleet = open_fleet(settings, archive, CancelToken().within(PUBLISH_SECONDS))
    fleet.queues.epoch()  # fails here if Redis is unreachable, before the batch changes
    republish(resume_batch(archive, batch_id, raised), archive, fleet.queues, fleet.publish)
    return unended(archive, batch_id)

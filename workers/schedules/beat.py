"""What a tick does: the sweep, and whatever else is due. Any number of beats may send ticks, to any worker."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import structlog

from pipeline.core.errors import PagesightError, RevisionTaken
from pipeline.core.models import Run
from workers.app import app
from workers.process import WorkerProcess
from workers.publishing import publish
from workers.recovery.sweep import Swept, sweep
from workers.schedules.run_leases import RunContext
from workers.schedules.runs import carry_out, due_runs, report

log = structlog.get_logger()


def tick(process: WorkerProcess) -> None:
    """Sweep, then carry out what is due; while the fleet stands still, only sweep.

    What fails is logged, and the next tick is a minute away.
    """
    try:
        _sweep(process)
        fleet = process.archive.fleet.newest()
        if fleet is None or fleet.state == "running":
            means = _means(process)
            for run in due_runs(means):
                carry_out(run, process.settings.schedules[run.schedule], means)
    except PagesightError as error:
        log.warning("the tick could not end", cause=str(error), remedy=error.remedy)


def _means(process: WorkerProcess) -> RunContext:
    tools = process.tools
    return RunContext(
        process.settings, tools.archive, tools.projector, tools.files, process.cancel, process.registry.worker_id
    )


def _sweep(process: WorkerProcess) -> None:
    """Close what has ended and publish what was lost. Two sweeps at once do no harm, so none is claimed.

    One that did something leaves a record.
    """
    started, began = datetime.now(UTC), time.monotonic()
    cancel = process.cancel.within(process.settings.range_seconds)
    swept = sweep(process.tools, cancel, process.lanes, lambda messages, lane: publish(app, messages, lane, cancel))
    if swept.ended or swept.published:
        _record(swept, started, round(time.monotonic() - began, 3), process)


def _record(swept: Swept, started: datetime, seconds: float, process: WorkerProcess) -> None:
    before = process.archive.runs["sweep"].newest()
    run = Run(
        schedule="sweep",
        action="sweep",
        due_at=started.replace(microsecond=0),
        worker=process.registry.worker_id,
        revision=before.revision + 1 if before else 1,
        started_at=started,
        ended_at=datetime.now(UTC),
        outcome="done",
        counts={"batches": len(swept.ended), "messages": swept.published},
        seconds=seconds,
    )
    log.info("swept", **run.counts)
    try:
        process.archive.runs[run.schedule].create(run)
    except RevisionTaken:  # another sweep has told at the same moment; nothing depends on it
        return
    report(run, process.tools.projector)

"""What a tick does: the sweep, and whatever else is due. Any number of beats may send ticks, to any worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from pipeline.errors import PagesightError, RevisionTaken, Stopped
from pipeline.models import Run
from pipeline.progress import BatchBook
from pipeline.retry import Patience
from pipeline.schedules import EACH_MINUTE, Schedule, built_in, due, newest_time
from workers.app import app
from workers.client import Fleet
from workers.publishing import publish
from workers.repairing import repair
from workers.retrying import retry_transient
from workers.sweeping import sweep

if TYPE_CHECKING:
    from workers.process import WorkerProcess

#: How long the record of a run is waited for: it is a report, and the archive has it.
REPORT_SECONDS = 10.0

log = structlog.get_logger()

Action = Callable[["WorkerProcess", Patience], dict[str, int]]
"""Does something for as long as the patience lasts, and returns what it came to."""


def tick(process: WorkerProcess) -> None:
    """Sweep, then carry out what is due; while the fleet stands still, only sweep.

    What fails is logged, and the next tick is a minute away.
    """
    try:
        _sweep(process)
        fleet = process.archive.fleet()
        if fleet is None or fleet.state == "running":
            for run in _due(process):
                _carry_out(run, process)
    except PagesightError as error:
        log.warning("the tick could not end", cause=str(error), remedy=error.remedy)


def schedules(process: WorkerProcess) -> tuple[Schedule, ...]:
    """Return the schedules of this fleet."""
    settings = process.settings
    return built_in(settings.schedule_repair, settings.schedule_retry)


def _due(process: WorkerProcess) -> list[Run]:
    known = schedules(process)
    runs = {schedule.name: process.archive.newest_run(schedule.name) for schedule in known}
    last = {name: run for name, run in runs.items() if run is not None}
    return due(known, last, datetime.now(UTC), process.registry.worker_id)


def _carry_out(run: Run, process: WorkerProcess) -> None:
    """Claim a run, do what it is for, and archive its end; nothing where another worker has it."""
    try:
        process.archive.append_run(run)
    except RevisionTaken:
        return
    log.info("run begins", schedule=run.schedule, due_at=run.due_at.isoformat(), revision=run.revision)
    _report(run, process)
    _end(run, _outcome(run, process), process)


def _outcome(run: Run, process: WorkerProcess) -> dict[str, Any]:
    """Do what a run is for; return how it ended, as its fields."""
    began = time.monotonic()
    (seconds,) = (schedule.seconds for schedule in schedules(process) if schedule.name == run.schedule)
    patience = process.patience.within(seconds)
    end: dict[str, Any]
    try:
        end = {"outcome": "done", "counts": ACTIONS[run.action](process, patience)}
    except Stopped:
        end = {"outcome": "interrupted"}
    except PagesightError as error:
        end = {"outcome": "failed", "error": str(error), "remedy": error.remedy}
    except Exception as error:
        log.exception("run failed", schedule=run.schedule)
        end = {"outcome": "failed", "error": f"{type(error).__name__}: {error}", "remedy": "Look at the worker's log."}
    return end | {"seconds": round(time.monotonic() - began, 3)}


def _end(run: Run, end: dict[str, Any], process: WorkerProcess) -> None:
    """Archive the end of a run, then write its record. One that was taken for dead has been claimed by another."""
    ended = run.model_copy(update=end | {"revision": run.revision + 1, "ended_at": datetime.now(UTC)})
    log.info("run ended", schedule=run.schedule, outcome=ended.outcome, error=ended.error, **ended.counts)
    try:
        process.archive.append_run(ended)
    except RevisionTaken:
        return
    _report(ended, process)


def _report(run: Run, process: WorkerProcess) -> None:
    projector = replace(process.tools.projector, patience=Patience().within(REPORT_SECONDS))
    try:
        projector.run(run)
    except PagesightError as error:
        log.warning("the record of a run could not be written", schedule=run.schedule, cause=str(error))


# -- the actions


def _sweep(process: WorkerProcess) -> None:
    """Close what has ended and publish what was lost. Two sweeps at once do no harm, so none is claimed.

    One that did something leaves a record, of the first to say so in its minute.
    """
    started, began = datetime.now(UTC), time.monotonic()
    patience = process.patience.within(process.settings.range_seconds)
    swept = sweep(process.tools, patience, process.lanes, lambda messages, lane: publish(app, messages, lane, patience))
    if not swept.ended and not swept.published:
        return
    run = Run(
        schedule="sweep",
        action="sweep",
        due_at=newest_time(EACH_MINUTE, started),
        worker=process.registry.worker_id,
        revision=0,
        started_at=started,
    )
    counts = {"batches": len(swept.ended), "messages": swept.published}
    _end(run, {"outcome": "done", "counts": counts, "seconds": round(time.monotonic() - began, 3)}, process)


def _retry(process: WorkerProcess, patience: Patience) -> dict[str, int]:
    """Have pages tried again that failed for a reason which may have passed."""
    fleet = Fleet(process.settings, process.archive, patience)
    batches = retry_transient(fleet, process.archive, process.tools.projector.index, process.settings)
    found = [BatchBook(process.archive, batch).progress().sources_found for batch in batches]
    return {"batches": len(batches), "sources": sum(found)}


def _repair(process: WorkerProcess, patience: Patience) -> dict[str, int]:
    """Compare archive and index, and mend what differs."""
    fleet = Fleet(process.settings, process.archive, patience)
    comparison = repair(process.archive, process.tools.projector, fleet, dry_run=False, patience=patience)
    return {
        "differences": comparison.differences,
        "batches": len(comparison.batches),
        "messages": comparison.published,
    }


#: What schedules may name.
ACTIONS: dict[str, Action] = {"retry": _retry, "repair": _repair}

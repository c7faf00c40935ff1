"""Runs of schedules, executed by a worker or by `pagesight schedule run`.

due ──▶ lease (created exclusively) ──▶ action ──▶ end
              │ a heartbeat every few seconds, by which another process detects the death of this one
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from pipeline.core.errors import PagesightError, RevisionTaken, Stopped
from pipeline.core.models import Run
from pipeline.core.retry import CancelToken
from pipeline.core.schedules import Schedule, due, ended_by_death, has_died
from pipeline.core.threads import repeating
from pipeline.projection.projector import Projector
from workers.schedules.actions import act
from workers.schedules.run_leases import REPORT_SECONDS, RunContext, RunLease

#: Pause between two heartbeats of a run.
HEARTBEAT_SECONDS = 20.0

log = structlog.get_logger()


def last_run(context: RunContext, schedule: str) -> Run | None:
    """Return the last run of a schedule. A run whose process has died is ended first."""
    archive = context.archive
    run = archive.runs[schedule].newest()
    if run is None or run.outcome is not None:
        return run
    heard_at = archive.runs.heartbeat(schedule)
    if not has_died(run, heard_at, datetime.now(UTC)):
        return run
    ended = ended_by_death(run, heard_at)
    try:
        archive.runs[ended.schedule].create(ended)
    except RevisionTaken:  # another process was faster, or the run is alive
        return archive.runs[schedule].newest()
    log.warning("run died", schedule=schedule, worker=run.worker, due_at=run.due_at.isoformat())
    report(ended, context.projector)
    return ended


def due_runs(context: RunContext) -> list[Run]:
    """Return the runs that are due now, as this process would own them."""
    schedules = context.settings.schedules
    found = {name: last_run(context, name) for name, schedule in schedules.items() if schedule.enabled}
    last = {name: run for name, run in found.items() if run is not None}
    return due(schedules.values(), last, datetime.now(UTC), context.worker)


def carry_out(run: Run, schedule: Schedule, context: RunContext) -> Run | None:
    """Take the lease of a run, execute it and archive its end. Return the end, or None if another process owns it."""
    try:
        context.archive.runs[run.schedule].create(run)
    except RevisionTaken:
        return None
    log.info("run begins", schedule=run.schedule, due_at=run.due_at.isoformat(), attempt=run.attempt)
    lease = RunLease(run, context.archive, context.cancel)
    with _heartbeats(lease):
        report(run, context.projector)
        end = _outcome(lease, schedule, context)
        is_ours = lease.end(end)
    log.info("run ended", schedule=run.schedule, outcome=end["outcome"], error=end.get("error"), **lease.counts)
    if not is_ours:
        return None
    report(lease.run, context.projector)
    return lease.run


def report(run: Run, projector: Projector) -> None:
    """Write the record of a run, if Elasticsearch takes it now. The archive has the run in any case."""
    try:
        replace(projector, cancel=CancelToken().within(REPORT_SECONDS)).run(run)
    except PagesightError as error:
        log.warning("the record of a run could not be written", schedule=run.schedule, cause=str(error))


def _outcome(lease: RunLease, schedule: Schedule, context: RunContext) -> dict[str, Any]:
    """Execute the action of a run; return the fields that describe its end."""
    began = time.monotonic()
    end: dict[str, Any]
    try:
        act(schedule, context, lease)
        end = {"outcome": "done"}
    except Stopped as error:
        end = {"outcome": "interrupted", "error": str(error)}
    except PagesightError as error:
        end = {"outcome": "failed", "error": str(error), "remedy": error.remedy}
    except Exception as error:
        log.exception("run failed", schedule=schedule.name)
        end = {"outcome": "failed", "error": f"{type(error).__name__}: {error}", "remedy": "Look at the worker's log."}
    return end | {"seconds": round(time.monotonic() - began, 3)}


def _heartbeats(lease: RunLease) -> AbstractContextManager[None]:
    """Send a heartbeat of the run every few seconds within the block."""

    def beat() -> None:
        try:
            lease.beat()
        except PagesightError as error:
            log.warning("the heartbeat of a run could not be archived", schedule=lease.run.schedule, cause=str(error))

    return repeating(beat, HEARTBEAT_SECONDS)

"""Runs of schedules: claimed, kept alive, carried out, ended and recorded, by a worker or by `pagesight schedule run`.

due ──▶ claim (created exclusively) ──▶ action ──▶ end
              │ heard of every few seconds, so that another process sees when this one has died
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

#: How often a process tells that its run goes on.
HEARTBEAT_SECONDS = 20.0

log = structlog.get_logger()


def last_run(means: RunContext, schedule: str) -> Run | None:
    """Return the last run of a schedule as it stands; one whose process has died is ended first."""
    archive = means.archive
    run = archive.runs[schedule].newest()
    if run is None or run.outcome is not None:
        return run
    heard_at = archive.runs.heartbeat(schedule)
    if not has_died(run, heard_at, datetime.now(UTC)):
        return run
    ended = ended_by_death(run, heard_at)
    try:
        archive.runs[ended.schedule].create(ended)
    except RevisionTaken:  # somebody else was faster, or it lives
        return archive.runs[schedule].newest()
    log.warning("run died", schedule=schedule, worker=run.worker, due_at=run.due_at.isoformat())
    report(ended, means.projector)
    return ended


def due_runs(means: RunContext) -> list[Run]:
    """Return the runs that are due now, as they would be claimed."""
    schedules = means.settings.schedules
    found = {name: last_run(means, name) for name, schedule in schedules.items() if schedule.enabled}
    last = {name: run for name, run in found.items() if run is not None}
    return due(schedules.values(), last, datetime.now(UTC), means.worker)


def carry_out(run: Run, schedule: Schedule, means: RunContext) -> Run | None:
    """Claim a run, do what it is for, and archive its end; return the end, or None where another process has it."""
    try:
        means.archive.runs[run.schedule].create(run)
    except RevisionTaken:
        return None
    log.info("run begins", schedule=run.schedule, due_at=run.due_at.isoformat(), attempt=run.attempt)
    claim = RunLease(run, means.archive, means.cancel)
    with _kept_alive(claim):
        report(run, means.projector)
        end = _outcome(claim, schedule, means)
        is_ours = claim.end(end)
    log.info("run ended", schedule=run.schedule, outcome=end["outcome"], error=end.get("error"), **claim.counts)
    if not is_ours:
        return None
    report(claim.run, means.projector)
    return claim.run


def report(run: Run, projector: Projector) -> None:
    """Write the record of a run, if Elasticsearch takes it now; the archive has it anyhow."""
    try:
        replace(projector, cancel=CancelToken().within(REPORT_SECONDS)).run(run)
    except PagesightError as error:
        log.warning("the record of a run could not be written", schedule=run.schedule, cause=str(error))


def _outcome(claim: RunLease, schedule: Schedule, means: RunContext) -> dict[str, Any]:
    """Do what a run is for; return how it ended, as its fields."""
    began = time.monotonic()
    end: dict[str, Any]
    try:
        act(schedule, means, claim)
        end = {"outcome": "done"}
    except Stopped as error:
        end = {"outcome": "interrupted", "error": str(error)}
    except PagesightError as error:
        end = {"outcome": "failed", "error": str(error), "remedy": error.remedy}
    except Exception as error:
        log.exception("run failed", schedule=schedule.name)
        end = {"outcome": "failed", "error": f"{type(error).__name__}: {error}", "remedy": "Look at the worker's log."}
    return end | {"seconds": round(time.monotonic() - began, 3)}


def _kept_alive(claim: RunLease) -> AbstractContextManager[None]:
    """Tell every few seconds that a run goes on."""

    def tell() -> None:
        try:
            claim.tell()
        except PagesightError as error:
            log.warning("it could not be told that a run goes on", schedule=claim.run.schedule, cause=str(error))

    return repeating(tell, HEARTBEAT_SECONDS)

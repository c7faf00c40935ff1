"""A tick: the sweep, and the schedules that are due. Any number of beats may send ticks, to any worker."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import structlog

from pipeline.core.errors import PagesightError, RevisionTaken, ServiceUnavailable
from pipeline.core.models import Run
from workers.app import app
from workers.fleet_archive import require_known_archive
from workers.process import WorkerProcess
from workers.publishing import publish
from workers.recovery.sweep import SweepReport, sweep
from workers.schedules.run_leases import RunContext
from workers.schedules.runs import carry_out, due_runs, report
from workers.schedules.ticks import clock_offset

log = structlog.get_logger()


def receive(process: WorkerProcess, clock_offset_seconds: object) -> None:
    """Carry out a tick that a beat sent, unless another one was begun just before; note its end in Redis.

    Args:
        process: carries out the tick.
        clock_offset_seconds: the header of the tick, see `workers.schedules.ticks`.
    """
    offset = clock_offset(clock_offset_seconds)
    try:
        if process.ticks.begin() and tick(process):
            process.ticks.end(process.heartbeats.worker_id, offset)
    except ServiceUnavailable as error:
        log.warning("the tick could not be carried out", cause=str(error), remedy=error.remedy)


def tick(process: WorkerProcess) -> bool:
    """Sweep, then execute the schedules that are due. While the fleet is paused or halted, only sweep.

    A failure is logged; the next tick is a minute away. Return whether all of it was done.
    """
    try:
        require_known_archive(process.present_archive, process.queues, process.services.projector.index)
        _sweep(process)
        fleet = process.archive.fleet.newest()
        if fleet is None or fleet.state == "running":
            context = _context(process)
            for run in due_runs(context):
                carry_out(run, process.settings.schedules[run.schedule], context)
    except PagesightError as error:
        log.warning("the tick could not end", cause=str(error), remedy=error.remedy)
        return False
    return True


def _context(process: WorkerProcess) -> RunContext:
    services = process.services
    worker = process.heartbeats.worker_id
    return RunContext(process.settings, services.archive, services.projector, services.files, process.cancel, worker)


def _sweep(process: WorkerProcess) -> None:
    """Close batches that have ended and publish lost messages. A sweep that changed something leaves a record.

    It takes no lease: two sweeps at once do no harm.
    """
    started, began = datetime.now(UTC), time.monotonic()
    cancel = process.cancel.within(process.settings.range_seconds)
    swept = sweep(process.services, cancel, process.queues, lambda messages, lane: publish(app, messages, lane, cancel))
    if swept.ended or swept.published:
        _record(swept, started, round(time.monotonic() - began, 3), process)


def _record(swept: SweepReport, started: datetime, seconds: float, process: WorkerProcess) -> None:
    before = process.archive.runs["sweep"].newest()
    run = Run(
        schedule="sweep",
        action="sweep",
        due_at=started,
        worker=process.heartbeats.worker_id,
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
    except RevisionTaken:  # another sweep left its record at the same moment; no other code depends on this one
        return
    report(run, process.services.projector)

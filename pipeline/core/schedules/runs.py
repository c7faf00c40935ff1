"""Decides which runs are due: a pure function of the schedules, their last runs and the time.

A schedule is due once for its last time, even after several missed times, and never in its quiet hours. The runs of a
schedule are one chain of numbered revisions. The process that creates the next revision owns the run, so that several
beats, workers and commands may claim at once, and only one run is in progress.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from pipeline.core.models import Run
from pipeline.core.schedules.tables import Schedule

#: Attempts at a run that is interrupted each time, so that it does not repeat all day.
ATTEMPTS = 3
#: Seconds without a heartbeat after which a run's process counts as dead. Clocks may differ by a minute.
SILENT_SECONDS = 180.0
_MINUTE = timedelta(minutes=1)


def due(schedules: Iterable[Schedule], last: Mapping[str, Run], now: datetime, worker: str) -> list[Run]:
    """Return the due runs as claims of this worker.

    `last` has the newest run of each schedule by its name. A schedule without a run is due at once, for its last time.
    A schedule with a run in progress is not due, and one whose run was interrupted is due again.
    """
    runs = []
    for schedule in schedules:
        before = last.get(schedule.name)
        due_at = _due_at(schedule, before, now)
        if due_at is not None and not schedule.is_quiet(now):
            runs.append(claim(schedule, before, due_at, now, worker))
    return runs


def claim(schedule: Schedule, before: Run | None, due_at: datetime, now: datetime, worker: str) -> Run:
    """Return the revision that claims a run: the next run, or another attempt at the last one."""
    again = before is not None and before.due_at == due_at
    return Run(
        schedule=schedule.name,
        action=schedule.action,
        due_at=due_at,
        revision=before.revision + 1 if before else 1,
        attempt=before.attempt + 1 if before and again else 1,
        worker=worker,
        started_at=now,
        counts=before.counts if before and again else {},
    )


def claim_now(schedule: Schedule, before: Run | None, now: datetime, worker: str) -> Run:
    """Return the revision that claims a run of its own at this moment, whether or not the schedule is due.

    Its due time has microseconds: two runs in one second are two runs, and a scheduled time is not taken.
    """
    return claim(schedule, before, now, now, worker)


def has_died(run: Run, heard_at: datetime | None, now: datetime) -> bool:
    """Whether a run is in progress in the archive and its process is dead. `heard_at` is its last heartbeat."""
    last = max(run.started_at, heard_at or run.started_at)
    return run.outcome is None and now - last >= timedelta(seconds=SILENT_SECONDS)


def ended_by_death(run: Run, heard_at: datetime | None) -> Run:
    """Return the end of a run whose process is dead."""
    last = max(run.started_at, heard_at or run.started_at)
    return run.model_copy(
        update={
            "revision": run.revision + 1,
            "outcome": "interrupted",
            "ended_at": last,
            "seconds": (last - run.started_at).total_seconds(),
            "error": f"its process, {run.worker}, sent no heartbeat after {last:%Y-%m-%d %H:%M:%S} UTC",
            "remedy": "It is begun again, three times at most. If that goes on, look why the process ended.",
        }
    )


def next_start(schedule: Schedule, last: Run | None, now: datetime) -> datetime | None:
    """Return when a schedule runs next: in the past if it waits for a beat, None if it is disabled."""
    if not schedule.enabled:
        return None
    start = _due_at(schedule, last, now)
    moment = schedule.next_time(now) if start is None else max(start, now)
    if not schedule.is_quiet(moment):
        return schedule.next_time(now) if start is None else start
    moment = moment.replace(second=0, microsecond=0)
    while schedule.is_quiet(moment):
        moment += _MINUTE
    return moment


def _due_at(schedule: Schedule, before: Run | None, now: datetime) -> datetime | None:
    """Return the time for which a schedule is due, regardless of quiet hours."""
    if not schedule.enabled or (before is not None and before.outcome is None):
        return None
    newest = schedule.newest_time(now)
    if before is None or before.due_at < newest:
        return newest
    return before.due_at if before.outcome == "interrupted" and before.attempt < ATTEMPTS else None

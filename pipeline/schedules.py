"""What is due: a pure function of the schedules, their last runs and the time. All times are UTC.

A schedule is due once for the newest time that its cron expression names, however many it has missed. Its run is
claimed by creating a revision of it in the archive; whoever creates it has it, so any number of beats may ask at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from pipeline.models import Run

#: A run is stopped at the end of its time; one that is not over at this multiple of it has died.
DEAD_AFTER = 2.0
#: Revisions that one run may get, three claims and their ends: what is interrupted each time must not go on all day.
REVISIONS = 6
#: Comparing ten million pages takes hours. The tick that runs it comes again meanwhile, and finds the run claimed.
RUN_SECONDS = 6 * 3600.0
#: What a setting says for a schedule that is not wanted.
OFF = "off"
EACH_MINUTE = "* * * * *"
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Schedule:
    """Something that is done again and again."""

    name: str
    action: str
    """What is done, a key of `workers.beat.ACTIONS`."""
    cron: str
    """Minute, hour, day of month, month and day of week, in UTC."""
    seconds: float
    """How long a run may take."""


def built_in(repair: str, retry: str) -> tuple[Schedule, ...]:
    """Return the schedules that every fleet has, by the cron expressions of its settings.

    The sweep is none of them: each tick is one.
    """
    crons = {"repair": repair, "retry": retry}
    return tuple(Schedule(name, name, cron, RUN_SECONDS) for name, cron in crons.items() if cron != OFF)


def check_cron(expression: str) -> str:
    """Return a cron expression as it is.

    Raises:
        ValueError: it is neither one of five fields nor `off`.
    """
    if expression == OFF:
        return expression
    if len(expression.split()) != _FIELDS:  # cronsim would take a sixth field for seconds
        raise ValueError(f"{expression!r} is no cron expression: minute, hour, day, month and weekday, or {OFF!r}")
    try:
        CronSim(expression, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(f"{expression!r} is no cron expression: {error}") from None
    return expression


def due(schedules: Iterable[Schedule], last: Mapping[str, Run], now: datetime, worker: str) -> list[Run]:
    """Return the runs that are due, as this worker would claim them.

    `last` holds the newest run of each schedule by its name. A schedule that never ran is due at once, for the newest
    time that it names. One that is under way is not due; one that was interrupted, or whose worker died, is due again.
    """
    runs = []
    for schedule in schedules:
        due_at = newest_time(schedule.cron, now)
        before = last.get(schedule.name)
        if before is not None and _is_under_way(before, schedule, now):
            continue
        if before is None or before.due_at < due_at:
            runs.append(_claim(schedule, due_at, 1, now, worker))
        elif _is_unfinished(before) and before.revision < REVISIONS - 1:
            runs.append(_claim(schedule, before.due_at, before.revision + 1, now, worker))
    return runs


def newest_time(cron: str, now: datetime) -> datetime:
    """Return the newest time that a cron expression names, at or before `now`."""
    minute = now.replace(second=0, microsecond=0)
    return next(CronSim(cron, minute + timedelta(minutes=1), reverse=True))


def _claim(schedule: Schedule, due_at: datetime, revision: int, now: datetime, worker: str) -> Run:
    return Run(
        schedule=schedule.name,
        action=schedule.action,
        due_at=due_at,
        revision=revision,
        worker=worker,
        started_at=now,
    )


def _is_under_way(run: Run, schedule: Schedule, now: datetime) -> bool:
    return run.outcome is None and now - run.started_at < timedelta(seconds=DEAD_AFTER * schedule.seconds)


def _is_unfinished(run: Run) -> bool:
    return run.outcome in (None, "interrupted")

"""`pagesight schedule`: list schedules and their runs, or run one now."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.archive import Archive
from pipeline.cli.exits import ErrorReportingGroup, ExitCode
from pipeline.cli.fleet import open_fleet
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, rows, stderr, stdout, table
from pipeline.cli.signals import interruptible
from pipeline.core.configuration import FILE_NAME
from pipeline.core.errors import SettingsError
from pipeline.core.models import Run
from pipeline.core.retry import CancelToken
from pipeline.core.schedules import Schedule, claim_now, ended_by_death, has_died, next_start
from pipeline.core.settings import Settings, load
from pipeline.services import open_archive, open_index, open_looker, open_projector

if TYPE_CHECKING:
    from workers.schedules.run_leases import RunContext

LIST_EXAMPLES = """
**Examples**

`pagesight schedule list` · every schedule with its last and its next run

`pagesight schedule list --json | jq -r '.schedules[] | select(.last.outcome == "failed") | .name'`

Exit codes: 0 done, 2 usage or settings, 3 the archive is unusable.
"""
RUN_EXAMPLES = """
**Examples**

`pagesight schedule run repair` · run it now, in this process, and show the result

`pagesight schedule run scans --json | jq .counts`

It counts as a scheduled run: beats start no second one meanwhile, and it makes up for missed runs. Workers process the
batches that it enqueues. Ctrl-C interrupts it, and the next tick of a beat continues it.

Exit codes: 0 done, 1 it failed, 2 usage or settings, or it is already running, 3 a service refuses or is unreachable,
130 interrupted.
"""
HISTORY_EXAMPLES = """
**Examples**

`pagesight schedule history` · the latest runs of all schedules, newest first

`pagesight schedule history scans --failed --limit 5` · failed runs with causes and remedies

`pagesight schedule history sweep` · the sweep of each tick: closed and published work

Exit codes: 0 done, 2 usage or settings, 3 the archive is unusable.
"""
#: Sweeps run every minute, so their records are only shown if this name is given.
SWEEP = "sweep"
#: Outcome shown for a run without an end in the archive whose process sends no heartbeats.
DIED = "died"

app = typer.Typer(
    cls=ErrorReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="List schedules and their runs, or run one now. They are declared as `[schedules.NAME]` in `pagesight.toml`.",
)


@app.command("list", epilog=LIST_EXAMPLES)
def list_schedules(as_json: Json = False) -> None:
    """List schedules with their last and next runs."""
    settings = load()
    archive, now = open_archive(settings), datetime.now(UTC)
    found = [(schedule, archive.runs[name].newest()) for name, schedule in settings.schedules.items()]
    if as_json:
        print_json({"schedules": [_schedule_json(schedule, last, archive, now) for schedule, last in found]})
        return
    grid = table("schedule", "action", "when", "last run", "outcome", "took", "next run")
    stdout().print(rows(grid, (_schedule_row(schedule, last, archive, now) for schedule, last in found)))


@app.command("run", epilog=RUN_EXAMPLES)
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Schedule name, as printed by `list`.")],
    as_json: Json = False,
) -> None:
    """Run a schedule now, in this process."""
    settings = load()
    schedule = _schedule(settings, name)
    from workers.schedules import runs

    cancel = CancelToken()
    with (
        _context(settings, cancel) as context,
        interruptible(cancel),
        stderr().status(f"{name}: {schedule.action}"),
    ):
        ended = runs.carry_out(_claim(schedule, context), schedule, context)
    if ended is None:
        raise SettingsError(f"another process has started {name}", remedy=f"See `pagesight schedule history {name}`.")
    if as_json:
        print_json(_run_json(ended, ended.outcome))
    else:
        stdout().print(rows(_runs_table(), [_run_row(ended, ended.outcome)]))
        _print_error(ended)
    raise typer.Exit(_CODES[ended.outcome])


@app.command("history", epilog=HISTORY_EXAMPLES)
def history(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only runs of this schedule.", show_default="all except sweeps")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", "-f", help="Only runs that did not finish.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Number of runs to show.")] = 20,
    as_json: Json = False,
) -> None:
    """List the runs of schedules, newest first."""
    settings = load()
    archive, now = open_archive(settings), datetime.now(UTC)
    names = [name] if name else [known for known in archive.runs.names() if known != SWEEP]
    if name and name != SWEEP and name not in archive.runs.names():
        _schedule(settings, name)
    runs = heapq.merge(*map(archive.runs.latest_of, names), key=lambda one: one.started_at, reverse=True)
    shown = ((one, _outcome(one, archive, now)) for one in runs)
    found = list(islice(((one, outcome) for one, outcome in shown if not failed or _is_bad(outcome)), limit))
    if as_json:
        print_json({"runs": [_run_json(*one) for one in found]})
        return
    if not found:
        stdout().print("No runs match.")
        return
    stdout().print(rows(_runs_table(), (_run_row(*one) for one in found)))
    for one, _ in found:
        _print_error(one)


_CODES = {"done": ExitCode.OK, "failed": ExitCode.SOME_FAILED, "interrupted": ExitCode.INTERRUPTED, None: ExitCode.OK}


def _schedule(settings: Settings, name: str) -> Schedule:
    schedule = settings.schedules.get(name)
    if schedule is None:
        near = difflib.get_close_matches(name, settings.schedules, n=1, cutoff=0.5)
        known = f"Schedules: {', '.join(settings.schedules)}. Declare others in {FILE_NAME}."
        raise SettingsError(f"unknown schedule: {name!r}", remedy=f"Did you mean {near[0]}?" if near else known)
    return schedule


@contextmanager
def _context(settings: Settings, cancel: CancelToken) -> Iterator[RunContext]:
    """Open everything that a run in this process needs.

    Raises:
        SettingsError: this machine's clock is wrong, so others would consider the run dead.
        ServiceRefused, ServiceUnavailable: a service refuses or is unreachable.
    """
    from workers.observability import logs
    from workers.redis.heartbeats import worker_id
    from workers.redis.queues import CLOCK_TOLERANCE_SECONDS
    from workers.schedules.run_leases import RunContext

    logs.configure(settings.model_copy(update={"log_level": "warning"}))
    archive = open_archive(settings, cancel)
    offset = open_fleet(settings, archive, cancel).queues.clock_offset_seconds()
    if abs(offset) > CLOCK_TOLERANCE_SECONDS:
        raise SettingsError(
            f"this machine's clock is {offset:.0f} s off the clock of Redis", remedy="Synchronise it (NTP)."
        )
    with ExitStack() as stack:
        index = stack.enter_context(closing(open_index(settings)))
        files = stack.enter_context(open_looker(settings, cancel))
        projector = open_projector(settings, archive, index, cancel)
        yield RunContext(settings, archive, projector, files, cancel, worker_id())


def _claim(schedule: Schedule, context: RunContext) -> Run:
    """Claim a run that is due now.

    Raises:
        SettingsError: a run of this schedule is in progress.
    """
    from workers.schedules.runs import last_run

    last, now = last_run(context, schedule.name), datetime.now(UTC)
    if last is not None and last.outcome is None:
        raise SettingsError(
            f"{schedule.name} has been running since {last.started_at:%Y-%m-%d %H:%M:%S} UTC, on {last.worker}",
            remedy="A schedule never runs twice at once. Wait for its end: `pagesight schedule list` shows it.",
        )
    return claim_now(schedule, last, now, context.worker)


def _outcome(run: Run, archive: Archive, now: datetime) -> str | None:
    """Return the outcome of a run; None while it is running."""
    if run.outcome is None and has_died(run, archive.runs.heartbeat(run.schedule), now):
        return DIED
    return run.outcome


def _is_bad(outcome: str | None) -> bool:
    return outcome not in ("done", None)


def _schedule_row(schedule: Schedule, last: Run | None, archive: Archive, now: datetime) -> tuple[Any, ...]:
    local = _local(schedule)
    ran: tuple[Any, ...] = ("never", None, None)
    if last is not None:
        outcome = _outcome(last, archive, now)
        ran = local(last.started_at), outcome or "under way", _took(last, outcome, now)
    start = _next(schedule, last, archive, now)
    coming = "off" if start is None else "with the next tick" if start <= now else local(start)
    return schedule.name, schedule.action, schedule.when, *ran, coming


def _next(schedule: Schedule, last: Run | None, archive: Archive, now: datetime) -> datetime | None:
    """Return when a schedule runs next. The next tick ends a dead run."""
    if last is not None and _outcome(last, archive, now) == DIED:
        last = ended_by_death(last, None)
    return next_start(schedule, last, now)


def _local(schedule: Schedule) -> Callable[[datetime], str]:
    return lambda time: f"{time.astimezone(schedule.timezone):%Y-%m-%d %H:%M %Z}"


def _took(run: Run, outcome: str | None, now: datetime) -> str:
    if outcome == DIED:
        return ""  # the end is unknown
    seconds = run.seconds if outcome else (now - run.started_at).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _runs_table() -> Any:
    return table("schedule", "action", "due (UTC)", "started (UTC)", "took", "outcome", "attempt", "counts")


def _run_row(run: Run, outcome: str | None) -> tuple[Any, ...]:
    counts = ", ".join(f"{count} {what}" for what, count in run.counts.items() if count)
    return (
        run.schedule,
        run.action,
        f"{run.due_at:%Y-%m-%d %H:%M}",
        f"{run.started_at:%Y-%m-%d %H:%M:%S}",
        _took(run, outcome, datetime.now(UTC)),
        outcome or "under way",
        run.attempt,
        counts,
    )


def _print_error(run: Run) -> None:
    if run.error:
        stdout().print(plain(f"{run.schedule}, due {run.due_at:%Y-%m-%d %H:%M}: {run.error}", "red"))
        if run.remedy:
            stdout().print(plain(f"    {run.remedy}", "dim"))


def _schedule_json(schedule: Schedule, last: Run | None, archive: Archive, now: datetime) -> dict[str, Any]:
    start = _next(schedule, last, archive, now)
    return {
        "name": schedule.name,
        "action": schedule.action,
        "enabled": schedule.enabled,
        "when": schedule.when,
        "timezone": schedule.timezone.key,
        "next": start.isoformat() if start else None,
        "last": _run_json(last, _outcome(last, archive, now)) if last else None,
    }


def _run_json(run: Run, outcome: str | None) -> dict[str, Any]:
    return run.model_dump(mode="json") | {"outcome": outcome}

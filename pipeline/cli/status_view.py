"""Views of the status: a snapshot as tables, as one line or as JSON, shown once or refreshed until batches end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from pipeline.archive import Archive
from pipeline.batches.budget import is_out_of_budget, remedy
from pipeline.cli.exits import ExitCode
from pipeline.cli.output import (
    batch_json,
    counted,
    descriptions_kept_words,
    fleet_json,
    one_line,
    plain,
    print_error,
    printable,
    rows,
    stderr,
    table,
)
from pipeline.cli.progress import LINE_SECONDS
from pipeline.cli.status_data import (
    RECENT_BATCHES,
    BatchStatus,
    Indexed,
    Queues,
    StatusCollector,
    Unreachable,
    outcome,
    queues_json,
    seconds_since,
)
from pipeline.core.errors import ServiceRefused, SettingsError
from pipeline.core.models import Allowance, Batch, BudgetReservation, DocumentStatus, FleetState, PageStatus
from pipeline.verbs.batches import recent_batches

if TYPE_CHECKING:
    from pipeline.core.retry import Waiting
    from workers.redis.heartbeats import WorkerInfo
    from workers.redis.ticks import LastTick


#: Seconds between refreshes, and the maximum share of time spent on reading: a batch of a million files takes longer.
WATCH_SECONDS = 1.0

WATCH_SHARE = 0.2

#: Seconds between queries for the totals in Elasticsearch.
INDEXED_SECONDS = 10.0

#: Maximum length of the cause in a table, in characters.
CAUSE_CHARACTERS = 160


def follow_batch(archive: Archive, collector: StatusCollector, batch_id: str) -> ExitCode:
    """Show the progress of a batch until it has ended; return the exit code of its outcome."""
    view = StatusView(archive, collector, batch_id, None)
    return follow(view) or view.look().code()


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    """Everything that `status` shows, at one point in time."""

    batch: BatchStatus | None
    """The named batch."""
    open: list[BatchStatus]
    recent: list[Batch]
    fleet: FleetState
    queues: Queues | None
    indexed: Indexed | None
    away: Unreachable
    archive_url: str

    @property
    def statuses(self) -> list[BatchStatus]:
        """The named batch, or all open batches."""
        return [self.batch] if self.batch else self.open

    def code(self) -> ExitCode:
        """Return the exit code of `status` for this snapshot."""
        if self.batch is not None and self.batch.ended:
            return outcome(self.batch.batch)
        if self.fleet.state == "halted" or self.away.errors:
            return ExitCode.REFUSED
        return ExitCode.OK

    def json(self) -> dict[str, Any]:
        """Return the JSON object."""
        shared = {"fleet": fleet_json(self.fleet), **queues_json(self.queues), "away": self.away.json()}
        if self.batch is not None:
            return self.batch.json() | shared
        indexed = self.indexed
        return {
            "elasticsearch": indexed.health if indexed else None,
            "archive": self.archive_url,
            **shared,
            "documents": indexed.documents if indexed else None,
            "pages": indexed.pages if indexed else None,
            "open": [status.json() for status in self.open],
            "batches": [batch_json(batch) for batch in self.recent],
        }

    def shown(self) -> Iterator[RenderableType]:
        """Yield tables for a terminal."""
        if self.batch is not None:
            yield rows(table("batch " + self.batch.batch.id, ""), [*_batch_facts(self.batch), *self._fleet_facts()])
            return
        indexed = self.indexed
        facts: list[tuple[object, object]] = [
            ("elasticsearch", indexed.health if indexed else Text("unreachable", "bold red")),
            ("archive", self.archive_url),
            *self._fleet_facts(),
        ]
        if indexed:
            facts += [("documents", counted(indexed.documents)), ("pages", counted(indexed.pages))]
        yield rows(table("status", ""), facts)
        if self.queues and self.queues.workers:
            yield Text()
            yield rows(table("worker", "state", "slots busy", "waits for"), map(_worker_row, self.queues.workers))
        for status in self.open:
            yield Text()
            yield rows(table("batch " + status.batch.id, ""), _batch_facts(status))
        if self.recent:
            yield Text()
            columns = ("last batches", "collection", "state", "documents", "pages")
            yield rows(table(*columns), map(_recent_row, self.recent))

    def _fleet_facts(self) -> Iterator[tuple[object, object]]:
        yield "fleet", _fleet_words(self.fleet)
        if self.fleet.remedy and self.fleet.state == "halted":
            yield "remedy", f"{self.fleet.remedy} Then run `pagesight resume`."
        if self.queues is None:
            return
        workers = self.queues.workers
        busy, slots = sum(worker.busy for worker in workers), sum(worker.slots for worker in workers)
        alive = f"{len(workers)} alive, {busy} of {slots} slots busy"
        yield "workers", alive if workers else Text("none running: start one with `pagesight worker`", "yellow")
        yield "queued", f"{counted(self.queues.depths)}; {self.queues.in_hand} in progress"
        if self.queues.dead_letters:
            yield "dead letters", f"{self.queues.dead_letters} elements of the queues were not messages"
        yield "last tick", _tick_words(self.queues.last_tick)
        for wait in self.queues.waits():
            since = timedelta(seconds=seconds_since(wait.since))
            yield "waiting", one_line(f"{since} for {wait.service}: {wait.cause}", CAUSE_CHARACTERS)

    def line(self) -> str:
        """Return the snapshot as one line, for a log."""
        parts = [_line(status) for status in self.statuses]
        if self.fleet.state != "running":
            parts.append(f"the fleet is {self.fleet.state} for {_age(self.fleet)}")
        parts += [f"{getattr(error, 'service', 'a service')} is unreachable" for error in self.away.errors]
        for wait in self.queues.waits() if self.queues else ():
            parts.append(
                f"waiting {timedelta(seconds=seconds_since(wait.since))} for {wait.service}: {wait.cause[:80]}"
            )
        return printable("  ".join(parts) or "no batch is open")


class StatusView:
    """Collects snapshots of a batch, or of the fleet."""

    def __init__(
        self, archive: Archive, collector: StatusCollector, batch_id: str | None, collection: str | None
    ) -> None:
        self._archive = archive
        self._collector = collector
        self._batch_id = batch_id
        self._collection = collection
        self._indexed: Indexed | None = None
        self._indexed_away = Unreachable()
        self._next_indexed = 0.0
        self.watched: list[str] = [batch_id] if batch_id else collector.open_batches(collection)

    def require(self) -> None:
        """Check that the named batch exists.

        Raises:
            SettingsError: it does not.
        """
        if self._batch_id is not None and self._archive.batches[self._batch_id].newest() is None:
            raise SettingsError(f"batch {self._batch_id!r} does not exist", remedy="`pagesight batches` lists them.")

    def look(self) -> StatusSnapshot:
        """Return a new snapshot."""
        away = Unreachable()
        named = self._collector.batch(self._batch_id) if self._batch_id else None
        ids = [] if named else self._collector.open_batches(self._collection)
        statuses = [status for name in ids if (status := self._collector.batch(name)) is not None]
        indexed = None if named else self._look_at_index(away)
        return StatusSnapshot(
            batch=named,
            open=statuses,
            recent=[] if named else self._recent(),
            fleet=self._collector.fleet(),
            queues=self._collector.queues(away),
            indexed=indexed,
            away=away,
            archive_url=self._archive.url,
        )

    def outcomes(self) -> list[ExitCode]:
        """Return the outcomes of the watched batches; empty until all have ended."""
        statuses = [self._collector.batch(name) for name in self.watched]
        ended = [status.batch for status in statuses if status is not None and status.ended]
        return [outcome(batch) for batch in ended] if len(ended) == len(self.watched) else []

    def print_remedies(self) -> None:
        """Print a remedy for each watched batch whose budget is used up."""
        for name in self.watched:
            status = self._collector.batch(name)
            if status is not None and is_out_of_budget(status.batch):
                stderr().print(plain(f"Batch {name} stopped: {status.batch.cause}. {remedy(status.batch)}"))

    def _recent(self) -> list[Batch]:
        found = recent_batches(self._archive, self._collection)
        return [batch for batch, _ in zip(found, range(RECENT_BATCHES), strict=False)]

    def _look_at_index(self, away: Unreachable) -> Indexed | None:
        if time.monotonic() >= self._next_indexed:
            self._indexed_away = Unreachable()
            self._indexed = self._collector.indexed(self._collection, self._indexed_away)
            self._next_indexed = time.monotonic() + INDEXED_SECONDS
        away.errors += self._indexed_away.errors
        return self._indexed


def follow(view: StatusView) -> ExitCode:
    """Refresh a view until its batches have ended, the fleet halts, or Ctrl-C."""
    try:
        with _Screen(stderr(), view.look) as screen:
            while True:
                began = time.monotonic()
                snapshot = screen.draw()
                outcomes = view.outcomes()
                if outcomes or not view.watched:
                    view.print_remedies()
                    return max(outcomes, default=ExitCode.OK)
                if snapshot.fleet.state == "halted":
                    break
                time.sleep(max(WATCH_SECONDS, (time.monotonic() - began) / WATCH_SHARE))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    fleet = snapshot.fleet
    print_error(
        ServiceRefused(fleet.service or "fleet", f"the fleet is halted: {fleet.cause}", remedy=fleet.remedy or "")
    )
    return ExitCode.REFUSED


class _Screen:
    """Draws snapshots over one another on a terminal; elsewhere prints a line every few seconds."""

    def __init__(self, console: Console, look: Callable[[], StatusSnapshot]) -> None:
        self._console = console
        self._look = look
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._next_line = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def draw(self) -> StatusSnapshot:
        """Take a snapshot and show it."""
        snapshot = self._look()
        if self._console.is_terminal:
            self._live.update(Group(*snapshot.shown()), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            self._console.print(plain(snapshot.line()))
        return snapshot


def _batch_facts(status: BatchStatus) -> Iterator[tuple[object, object]]:
    batch, progress = status.batch, status.progress
    lane = f", lane {batch.lane}" if batch.lane else ", in one process"
    yield "state", f"{batch.state}{lane}, collection {batch.collection}"
    if batch.cause is not None:
        yield "cause", one_line(batch.cause, CAUSE_CHARACTERS)
    if is_out_of_budget(batch):
        yield "remedy", remedy(batch)
    if status.drawn is not None:
        yield "drawn", _drawn_words(batch.budget, status.drawn)
    if progress is None:
        return
    more = "" if progress.walked else " so far, still listing folders"
    yield "files", f"{progress.sources_done} of {progress.sources_found} ended{more}"
    yield "documents", counted(progress.documents)
    yield "pages", counted(progress.pages)
    if progress.descriptions_kept:
        yield "descriptions kept", descriptions_kept_words(progress.descriptions_kept)
    if progress.pages_under_way:
        files = progress.sources_under_way
        yield "under way", f"{progress.pages_read} of {progress.pages_under_way} pages of {files} larger documents"
    yield "rate", f"{status.rate:.1f} pages/s"
    if not status.ended:
        yield "left", _left(status, progress.walked)


def _drawn_words(budget: Allowance, drawn: BudgetReservation) -> str:
    kinds = (("tokens", drawn.tokens, budget.tokens), ("pages", drawn.pages, budget.pages))
    return ", ".join(f"{number:,} of {bound:,} {kind}" for kind, number, bound in kinds if bound is not None)


def _left(status: BatchStatus, walked: bool) -> str:
    eta = status.eta_seconds
    if eta is not None:
        return f"about {timedelta(seconds=round(eta))}"
    return "not known yet" if walked else "not known until all folders are listed"


def _line(status: BatchStatus) -> str:
    batch, progress = status.batch, status.progress
    parts = [f"batch {batch.id} {batch.state}" + (f": {batch.cause}" if batch.cause else "")]
    if progress is not None:
        more = "" if progress.walked else "+"
        parts.append(f"{progress.sources_done}/{progress.sources_found}{more} files")
        parts.append(f"{progress.pages_done} pages")
        failed = progress.pages.get(PageStatus.FAILED, 0), progress.documents.get(DocumentStatus.FAILED, 0)
        parts.append(f"{failed[0]} failed" + (f", {failed[1]} files failed" if failed[1] else ""))
        parts.append(f"{status.rate:.1f}/s")
    if status.eta_seconds is not None:
        parts.append(f"ETA {timedelta(seconds=round(status.eta_seconds))}")
    return "  ".join(parts)


def _fleet_words(fleet: FleetState) -> Text:
    if not fleet.revision:
        return Text("running")
    since = f"{fleet.since:%Y-%m-%d %H:%M:%S} UTC, for {_age(fleet)}"
    if fleet.state == "halted":
        return Text.assemble(("HALTED", "bold red"), f" since {since}: {printable(fleet.cause)}")
    return Text(f"{fleet.state} since {since}", "yellow" if fleet.state == "paused" else "")


def _age(fleet: FleetState) -> timedelta:
    return timedelta(seconds=seconds_since(fleet.since.timestamp()))


def _tick_words(tick: LastTick | None) -> Text:
    if tick is None:
        return Text("none: start a beat with `pagesight beat`", "yellow")
    words = f"{timedelta(seconds=round(tick.ago_seconds))} ago"
    if tick.is_overdue:
        return Text(f"{words}: check that a beat and a worker run, and look at the worker's log", "yellow")
    if not tick.clock_is_right:
        return Text(f"{words}; the clock of the beat is {tick.clock_offset_seconds:+.0f} s off: set it (NTP)", "yellow")
    return Text(words)


def _worker_row(worker: WorkerInfo) -> tuple[object, ...]:
    state = Text("wrong clock", "bold red") if worker.state == "clock" else worker.state
    notes = one_line("; ".join(filter(None, (_wait_words(worker.waiting), _ladder_words(worker)))), 200)
    return f"{worker.host}:{worker.pid}", state, f"{worker.busy} of {worker.slots}", notes


def _wait_words(wait: Waiting | None) -> str:
    if wait is None:
        return ""
    return f"{timedelta(seconds=seconds_since(wait.since))} for {wait.service}: {wait.cause}"[:100]


def _ladder_words(worker: WorkerInfo) -> str:
    """Return which questions are asked once at present, and how often that was so."""
    if not worker.stopped_climbing:
        return ""
    questions = ", ".join(f"{name} ({faults})" for name, faults in sorted(worker.stopped_climbing.items()))
    return f"answers fail page after page, asked once {worker.not_climbed} times: {questions}"


def _recent_row(batch: Batch) -> tuple[object, ...]:
    return batch.id, batch.collection, batch.state, counted(batch.documents), counted(batch.pages)

"""A worker process: what its tasks share, and what it owes to the fleet while it lives."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import structlog

from pipeline.archive import Archive
from pipeline.batches.budget import BatchBudget, is_out_of_budget
from pipeline.batches.ending import end_if_done
from pipeline.batches.fleet_state import halt, halted
from pipeline.batches.handlers import BatchContext, MessageReport, handle_pages, handle_part, handle_project, quarantine
from pipeline.batches.listing import is_live, walk_folder
from pipeline.batches.messages import Message, Pages, Part, Project, Walk, split
from pipeline.batches.progress import BatchLedger
from pipeline.core.errors import ServiceRefused, ServiceUnavailable, SettingsError, Stopped
from pipeline.core.models import Batch, FleetState, PageStatus
from pipeline.core.retry import ELASTICSEARCH_WAITS_SECONDS, CancelToken, Waiting, retry_until_available
from pipeline.core.settings import Settings, load
from pipeline.services import FleetServices, open_page_services, own_folders
from pipeline.sources import Listing, list_folder
from workers.app import app
from workers.gate import Gate
from workers.observability.logs import bound
from workers.observability.metrics import Ending, Metrics
from workers.publishing import publish
from workers.recovery.poison import Death, Poison
from workers.redis.connection import connect
from workers.redis.heartbeats import Heartbeats, worker_id
from workers.redis.leases import RedisLeases
from workers.redis.limits import FleetLimiter
from workers.redis.queues import RedisQueues

#: Deaths after which a range is cut into single pages, and after which one of these is given up.
SPLIT_DEATHS = 2
QUARANTINE_DEATHS = 3
#: How long a message that came although the fleet stands still is held before it goes back.
STANDSTILL_SECONDS = 5.0
_STANDSTILL_POLL_SECONDS = 0.5
#: How often a process looks whether the batches that it worked on have ended.
CLOSING_SECONDS = 2.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """A message at work."""

    message: Message
    lane: str
    cancel: CancelToken


@dataclass(frozen=True, slots=True)
class _Halt:
    """A halt that the archive does not know of yet."""

    error: ServiceRefused
    seen: int
    """The newest revision of the fleet's state then."""


class WorkerProcess:
    """Everything that the tasks of one process share. Its threads are those of Celery's pool, and two of its own."""

    _current: ClassVar[WorkerProcess | None] = None

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cancel = CancelToken()
        self.redis = connect(settings)
        self.lanes = RedisQueues(self.redis)
        self.registry = Heartbeats(self.redis, worker_id(), alive_seconds=settings.worker_silence_seconds)
        self.poison = Poison(self.redis, self.registry)
        self.leases = RedisLeases(self.redis, lease_seconds=settings.worker_silence_seconds)
        self.limiter = FleetLimiter(
            self.redis, settings, lease_seconds=settings.worker_silence_seconds, forgotten=self.leases.renew
        )
        self.metrics = Metrics()
        self.fleet: FleetState | None = None
        self._halt_to_archive: _Halt | None = None
        self.running: dict[int, Running] = {}
        self.pages: Counter[PageStatus] = Counter()
        self.ending = threading.Event()
        self._gate = Gate()
        self._lock = threading.Lock()
        self._given_up: set[str] = set()
        self._touched: set[str] = set()
        self._purses: dict[str, BatchBudget] = {}
        self._resources = ExitStack()
        tools, self.slots = self._resources.enter_context(
            open_page_services(settings, self.cancel, shared=FleetServices(self.leases, self.limiter))
        )
        self.tools = replace(tools, stage=self.metrics.stage)

    @classmethod
    def current(cls) -> WorkerProcess:
        """Return the one of this process."""
        assert cls._current is not None, "the worker was not started"
        return cls._current

    @classmethod
    def begin(cls) -> WorkerProcess:
        """Make the one of this process.

        Raises:
            SettingsError, ServiceRefused: it cannot work.
        """
        cls._current = cls(load())
        return cls._current

    @property
    def archive(self) -> Archive:
        """The archive."""
        return self.tools.archive

    def close(self) -> None:
        """Give back what the process holds."""
        self.ending.set()
        self.cancel.stop()
        try:
            self._close_purses()
        finally:
            self._resources.close()

    # -- one message

    def work(self, message: Message, lane: str, tag: str) -> None:
        """Work a message, and publish what must follow it.

        Raises:
            Stopped: the process is to end and Redis is away: the message is not acknowledged, and comes again.
        """
        deaths = self._note(message, tag, self.cancel, waiting=True)
        with bound(task=tag, message=message.id):
            try:
                self._publish(self._outcome(message, lane, tag, deaths), message, lane)
            except Exception:
                # Celery acknowledges it all the same; the batch stays open, and the sweep sends what is missing again.
                log.exception("message failed", kind=type(message).__name__)
                raise
            finally:
                self._end(message)

    def _outcome(self, message: Message, lane: str, tag: str, deaths: list[Death]) -> list[Message]:
        if isinstance(message, Part | Pages) and len(deaths) >= SPLIT_DEATHS and not message.suspect:
            log.warning("split", deaths=len(deaths))
            chunk = self.archive.journal(message.batch).chunk(message.chunk)
            return [*split(message, len(chunk.entries))] if chunk else []
        with self._run(message, lane) as cancel:
            try:
                self._stand_still(cancel)
                with self._gate.alone(cancel) if _is_suspect(message) else self._gate.shared(cancel):
                    self._note(message, tag, cancel)
                    return retry_until_available(
                        lambda: self._dispatch(message, cancel, deaths), cancel, ELASTICSEARCH_WAITS_SECONDS
                    )
            except Stopped:
                return [message]
            except ServiceRefused as error:
                self._halt(error)
                return [message]
            except SettingsError as error:  # of this machine, or of the batch: a person has to look
                self._halt(ServiceRefused("settings", str(error), remedy=error.remedy))
                return [message]

    def _note(self, message: Message, tag: str, cancel: CancelToken, *, waiting: bool = False) -> list[Death]:
        """Note that this process has a message in hand, and return the deaths that it has caused."""
        return retry_until_available(
            lambda: self.poison.begin(message.id, tag, waiting=waiting), cancel, ELASTICSEARCH_WAITS_SECONDS
        )

    def _dispatch(self, message: Message, cancel: CancelToken, deaths: list[Death]) -> list[Message]:
        if isinstance(message, Project):
            handle_project(message, self.tools, cancel)
            return []
        batch = self._live_batch(message.batch)
        if batch is None:
            return []
        self._touched.add(batch.id)
        if isinstance(message, Walk):
            return list(walk_folder(message, self.archive, self._list))
        with bound(batch=batch.id, collection=batch.collection):
            purse = self._purse(batch)
            services = self.tools.for_message(batch, cancel, purse.tokens)
            return self._work_range(message, BatchContext(batch, services, MessageReport(), purse), deaths)

    def _work_range(self, message: Part | Pages, job: BatchContext, deaths: list[Death]) -> list[Message]:
        ending: Ending = "failed"
        try:
            if message.suspect and len(deaths) >= QUARANTINE_DEATHS:
                follow = quarantine(message, _evidence(deaths), job)
            else:
                follow = handle_part(message, job) if isinstance(message, Part) else handle_pages(message, job)
            ending = "handed_back" if message in follow else "done"
        except Stopped:
            ending = "handed_back"
            raise
        except ServiceRefused:
            ending = "refused"
            raise
        finally:
            self.metrics.range_ended(job.report, ending)
            with self._lock:
                self.pages.update(job.report.pages)
        return follow

    def _purse(self, batch: Batch) -> BatchBudget:
        with self._lock:
            return self._purses.setdefault(batch.id, BatchBudget(self.archive, batch))

    def _list(self, walk: Walk) -> Listing:
        return list_folder(walk.url, walk.root, walk.cursor, own_folders(self.settings))

    def _publish(self, follow: Iterable[Message], message: Message, lane: str) -> None:
        """Publish what follows, unless its batch is paused or over: then nothing of it belongs into a queue."""
        if (
            not isinstance(message, Project)
            and message.batch in self._given_up
            and self._live_batch(message.batch) is None
        ):
            return
        publish(app, follow, lane, self.cancel)

    def _live_batch(self, batch_id: str) -> Batch | None:
        """Return a batch that is to go on, by the archive: what the housekeeping saw may be some seconds old."""
        batch = self.archive.batches[batch_id].newest()
        live = is_live(batch)
        # What is at work of one whose budget is used up ends as far as that goes: its pages are in the budget.
        goes_on = live or (batch is not None and is_out_of_budget(batch))
        (self._given_up.discard if goes_on else self._given_up.add)(batch_id)
        return batch if live else None

    def _end(self, message: Message) -> None:
        try:
            self.poison.end(message.id)
        except ServiceUnavailable:
            log.warning("redis is away: the note of a message stays until its process ends")

    @contextmanager
    def _run(self, message: Message, lane: str) -> Iterator[CancelToken]:
        def given_up() -> bool:
            return not self.goes_on() or (not isinstance(message, Project) and message.batch in self._given_up)

        cancel = self.cancel.within(
            self.settings.range_seconds, urgent=lane in ("control", "urgent"), cancelled=given_up
        )
        key = threading.get_ident()
        with self._lock:
            self.running[key] = Running(message, lane, cancel)
        try:
            yield cancel
        finally:
            with self._lock:
                del self.running[key]

    def _stand_still(self, cancel: CancelToken) -> None:
        """Hold a message that came although the fleet stands still: consuming ends within a second or two."""
        for _ in range(int(STANDSTILL_SECONDS / _STANDSTILL_POLL_SECONDS)):
            fleet = self.fleet
            if fleet is None or fleet.state == "running":
                return
            self.cancel.wait(
                _STANDSTILL_POLL_SECONDS,
                Waiting("fleet", fleet.cause or f"the fleet is {fleet.state}", fleet.since.timestamp()),
            )

    def _halt(self, error: ServiceRefused) -> None:
        log.error("halted", service=error.service, cause=str(error), remedy=error.remedy)
        seen = self.fleet.revision if self.fleet else 0
        self.fleet = halted(error)
        with self._lock:
            self._halt_to_archive = self._halt_to_archive or _Halt(error, seen)
        self.look_at_fleet()
        if self._halt_to_archive is not None:
            log.error("the archive cannot take the halt: it holds for this worker", cause=str(error))

    # -- what the housekeeping decides

    def goes_on(self) -> bool:
        """Whether the fleet may work, as this process knows."""
        return self.fleet is None or self.fleet.state == "running"

    def look_at_fleet(self) -> None:
        """Learn whether the fleet may work.

        A halt that could not be archived, since the disk is full, holds for this process until it can be; or until a
        person had the fleet resume meanwhile.

        Raises:
            ServiceRefused, Stopped: the archive cannot be read.
        """
        pending = self._halt_to_archive
        try:
            newest = self.archive.fleet.newest()
            if pending is not None and (newest is None or newest.revision <= pending.seen):
                newest = halt(self.archive, pending.error)
        except ServiceRefused:
            if pending is None:
                raise
            return
        self.fleet = newest
        with self._lock:
            self._halt_to_archive = None

    @property
    def waiting(self) -> Waiting | None:
        """What this process waits for: the longest wait of its threads, or what it alone has halted for."""
        fleet = self.fleet
        if self._halt_to_archive is not None and fleet is not None:
            return Waiting(fleet.service or "fleet", f"halted: {fleet.cause}", fleet.since.timestamp())
        return self.cancel.waiting

    def snapshot(self) -> list[Running]:
        """Return the messages at work."""
        with self._lock:
            return list(self.running.values())

    def look_at_batches(self) -> None:
        """See which of the batches at work were paused, cancelled or ended meanwhile."""
        at_work = {running.message.batch for running in self.snapshot() if not isinstance(running.message, Project)}
        for batch_id in at_work | self._given_up:
            self._live_batch(batch_id)
        self._given_up &= at_work

    def hand_back(self, waiting: int) -> None:
        """Let as many ranges of the lower lanes hand back their rest as urgent messages wait for a place."""
        running = self.snapshot()
        if len(running) < self.slots:
            return
        lower = [entry for entry in running if entry.lane in ("normal", "backfill")]
        leaving = sum(entry.cancel.stopped for entry in lower)
        for entry in [entry for entry in lower if not entry.cancel.stopped][: max(0, waiting - leaving)]:
            entry.cancel.stop()

    def close_batches(self) -> None:
        """Archive the end of those batches that this process worked on and that have ended by now."""
        books: dict[str, BatchLedger] = {}
        while not self.ending.wait(CLOSING_SECONDS):
            try:
                self._close_purses()
                self._close_batches(books)
            except Stopped:
                return
            except (ServiceUnavailable, ServiceRefused) as error:
                log.warning("batches cannot be closed now", cause=str(error))

    def _close_batches(self, books: dict[str, BatchLedger]) -> None:
        for batch_id in list(self._touched):
            batch = self.archive.batches[batch_id].newest()
            if batch is None or not is_live(batch):
                if batch is not None and is_out_of_budget(batch):
                    self.project_batch(batch)
                self._touched.discard(batch_id)
                books.pop(batch_id, None)
                continue
            book = books.setdefault(batch_id, BatchLedger(self.archive, batch))
            ended = end_if_done(book, self.tools)
            if ended is not None:
                log.info("batch ended", batch=batch_id)
                self.project_batch(ended)

    def _close_purses(self) -> None:
        """Give back what was drawn for batches of which nothing is at work here."""
        with self._lock:
            at_work = {
                running.message.batch for running in self.running.values() if isinstance(running.message, Part | Pages)
            }
            closing = [self._purses.pop(batch_id) for batch_id in self._purses.keys() - at_work]
        for purse in closing:
            purse.close()

    def project_batch(self, batch: Batch) -> None:
        """Write the record of a batch, and let searches see everything that it brought."""
        self.tools.projector.batch(batch)
        self.tools.projector.refresh()


def _is_suspect(message: Message) -> bool:
    return isinstance(message, Part | Pages) and message.suspect


def _evidence(deaths: list[Death]) -> str:
    words = "; ".join(f"{death.worker} at {death.since}" for death in deaths)
    return f"its process died {len(deaths)} times while it worked on this alone: {words}"

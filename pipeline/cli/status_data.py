"""Collects the status of fleet, batches and index.

The archive has batches and the state of the fleet, Redis has queues and workers, Elasticsearch has searchable pages.
Status matters most when a service is down, so each service is queried separately, and errors are collected.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline.archive import Archive
from pipeline.batches.budget import is_out_of_budget
from pipeline.batches.progress import UNENDED, BatchLedger, BatchProgress
from pipeline.cli.exits import ExitCode
from pipeline.cli.fleet import open_fleet
from pipeline.cli.output import batch_json
from pipeline.cli.progress import Rate
from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable
from pipeline.core.models import Batch, BudgetReservation, DocumentStatus, FleetState, PageStatus
from pipeline.core.retry import CancelToken, Waiting
from pipeline.core.settings import Settings
from pipeline.services import open_index

if TYPE_CHECKING:
    from workers.client import Fleet
    from workers.redis.heartbeats import WorkerInfo
    from workers.redis.ticks import LastTick

#: Number of ended batches that `status` shows.
RECENT_BATCHES = 5
RUNNING = FleetState(revision=0, state="running", since=datetime.fromtimestamp(0, UTC))


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """Progress of a batch."""

    batch: Batch
    progress: BatchProgress | None
    """None for a running `pagesight index`: only its own process knows the progress."""
    rate: float
    """Pages per second."""
    drawn: BudgetReservation | None = None
    """Budget reserved by its workers; None without a budget, or before the first reservation."""

    @property
    def eta_seconds(self) -> float | None:
        """Estimated seconds to the end; None if unknown."""
        left = None if self.progress is None or self.progress.ended else pages_left(self.progress)
        return left / self.rate if left is not None and self.rate > 0 else None

    @property
    def ended(self) -> bool:
        """Whether the batch has ended, or is stopped until its budget is raised."""
        return self.batch.state not in UNENDED or is_out_of_budget(self.batch)

    def json(self) -> dict[str, Any]:
        """Return the JSON object."""
        eta = self.eta_seconds
        shown = batch_json(self.batch) | {
            "rate": round(self.rate, 3),
            "eta_seconds": None if eta is None else round(eta),
            "drawn": {"tokens": self.drawn.tokens, "pages": self.drawn.pages} if self.drawn else None,
        }
        return shown if self.progress is None else shown | _progress_json(self.progress)


@dataclass(frozen=True, slots=True)
class Queues:
    """State of the queues and workers, from Redis."""

    depths: dict[str, int]
    in_hand: int
    """Messages that workers have received and not acknowledged."""
    workers: list[WorkerInfo]
    dead_letters: int = 0
    """Elements of the queues that were not messages."""
    last_tick: LastTick | None = None

    def waits(self) -> list[Waiting]:
        """Return the longest wait of the workers for each service, oldest first."""
        longest: dict[str, Waiting] = {}
        for worker in self.workers:
            wait = worker.waiting
            if wait is not None and (wait.service not in longest or wait.since < longest[wait.service].since):
                longest[wait.service] = wait
        return sorted(longest.values(), key=lambda wait: wait.since)


@dataclass(frozen=True, slots=True)
class Indexed:
    """Totals in the index, from Elasticsearch."""

    health: str
    documents: dict[str, int]
    pages: dict[str, int]


@dataclass(slots=True)
class Unreachable:
    """Services that did not answer, with their errors."""

    errors: list[PagesightError] = field(default_factory=list)

    def json(self) -> list[dict[str, str]]:
        """Return the JSON object."""
        return [
            {"service": getattr(error, "service", ""), "cause": str(error), "remedy": error.remedy}
            for error in self.errors
        ]


class StatusCollector:
    """Collects the status of batches, queues and index. Unchanging records are read once, and Redis is opened once."""

    def __init__(self, settings: Settings, archive: Archive) -> None:
        self._settings = settings
        self._archive = archive
        self._books: dict[str, BatchLedger] = {}
        self._rates: dict[str, Rate] = {}
        self._fleet: Fleet | None = None

    def fleet(self) -> FleetState:
        """Return the state of the fleet."""
        return self._archive.fleet.newest() or RUNNING

    def open_batches(self, collection: str | None = None) -> list[str]:
        """Return the ids of queued batches that have not ended, oldest first."""
        found = (self._archive.batches[name].newest() for name in self._archive.open_batches())
        return [
            batch.id
            for batch in found
            if batch is not None and batch.state in UNENDED and collection in (None, batch.collection)
        ]

    def batch(self, batch_id: str) -> BatchStatus | None:
        """Return the status of a batch; None if it does not exist."""
        batch = self._archive.batches[batch_id].newest()
        if batch is None:
            return None
        if batch.lane is None and batch.state in UNENDED:
            return BatchStatus(batch, None, rate=0.0)
        if batch.lane is None or batch.state == "done":
            return BatchStatus(
                batch, _ended_progress(batch), _average(batch, sum(batch.pages.values()), batch.ended_at)
            )
        progress = self._books.setdefault(batch_id, BatchLedger(self._archive, batch)).progress()
        return BatchStatus(
            batch, progress, self._rate(batch, progress.pages_done), self._archive.reservations[batch.id].newest()
        )

    def queues(self, away: Unreachable) -> Queues | None:
        """Return the state of the queues; None if Redis does not answer.

        Its error is collected only if the queues are in use.
        """
        try:
            return self._look()
        except (ServiceRefused, ServiceUnavailable) as error:
            if self._settings.redis_url or self._archive.open_batches() or self._archive.fleet.newest() is not None:
                away.errors.append(error)
            return None

    def indexed(self, collection: str | None, away: Unreachable) -> Indexed | None:
        """Return the totals in the index; None if Elasticsearch does not answer or refuses."""
        try:
            with closing(open_index(self._settings)) as index:
                health = index.health()
                documents = index.queries.document_counts(collection=collection)
                pages = index.queries.page_counts(collection=collection)
        except (ServiceRefused, ServiceUnavailable) as error:
            away.errors.append(error)
            return None
        return Indexed(
            health,
            {status.value: count for status, count in documents.items()},
            {status.value: count for status, count in pages.items()},
        )

    def _look(self) -> Queues:
        if self._fleet is None:
            self._fleet = open_fleet(self._settings, self._archive, CancelToken())
        queues = self._fleet.queues
        return Queues(
            queues.depths(), queues.unacked(), self._fleet.workers(), queues.dead_letters(), self._fleet.last_tick()
        )

    def _rate(self, batch: Batch, pages: int) -> float:
        """Return the recent rate. For an ended batch, and at the first call, return the average since its start."""
        if batch.state not in UNENDED:
            return _average(batch, pages, batch.ended_at)
        if batch.id not in self._rates:
            self._rates[batch.id] = Rate(pages)
            return _average(batch, pages, datetime.now(UTC))
        self._rates[batch.id].note(pages)
        return self._rates[batch.id].per_second()


def pages_left(progress: BatchProgress) -> float | None:
    """Return the number of pages left; None if unknown.

    Unopened files are assumed to have the average number of pages of finished files.
    """
    if not progress.walked:
        return None
    known = progress.pages_under_way - progress.pages_read
    unopened = progress.sources_found - progress.sources_done - progress.sources_under_way
    if unopened <= 0:
        return known
    if not progress.sources_done:
        return None
    return known + unopened * sum(progress.pages.values()) / progress.sources_done


def outcome(batch: Batch) -> ExitCode:
    """Return the exit code for a batch that has ended, or whose budget is used up."""
    if is_out_of_budget(batch):
        return ExitCode.EXHAUSTED
    failed = batch.pages.get(PageStatus.FAILED, 0) or batch.documents.get(DocumentStatus.FAILED, 0)
    return ExitCode.SOME_FAILED if failed or batch.state != "done" else ExitCode.OK


def queues_json(queues: Queues | None) -> dict[str, Any]:
    """Return the JSON object of queues and workers."""
    if queues is None:
        return dict.fromkeys(("lanes", "in_hand", "workers", "dead_letters", "last_tick"))
    return {
        "lanes": queues.depths,
        "in_hand": queues.in_hand,
        "workers": [asdict(worker) for worker in queues.workers],
        "dead_letters": queues.dead_letters,
        "last_tick": asdict(queues.last_tick) if queues.last_tick else None,
    }


def seconds_since(unix_time: float) -> int:
    """Return whole seconds since a Unix time."""
    return max(0, round(time.time() - unix_time))


def _progress_json(progress: BatchProgress) -> dict[str, Any]:
    return {
        "sources": {
            "found": progress.sources_found,
            "all_found": progress.walked,
            "ended": progress.sources_done,
            "under_way": progress.sources_under_way,
        },
        "documents": progress.documents,
        "pages": progress.pages,
        "descriptions_kept": progress.descriptions_kept,
        "pages_done": progress.pages_done,
        "pages_under_way": progress.pages_under_way,
        "pages_read": progress.pages_read,
    }


def _ended_progress(batch: Batch) -> BatchProgress:
    return BatchProgress(
        sources_found=sum(batch.documents.values()),
        walked=True,
        documents=batch.documents,
        pages=batch.pages,
        descriptions_kept=batch.descriptions_kept,
        sources_under_way=0,
        pages_under_way=0,
        pages_read=0,
        ended=True,
    )


def _average(batch: Batch, pages: int, until: datetime | None) -> float:
    """Return the average pages per second from the start of a batch to a time; 0 without that time."""
    seconds = (until - batch.started_at).total_seconds() if until else 0.0
    return pages / seconds if seconds > 0 else 0.0

"""The client side of the fleet: begin batches and publish messages. Redis is the only service that it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.archive import Archive
from pipeline.batches.lifecycle import begin_batch
from pipeline.batches.listing import first_messages, name_sources
from pipeline.batches.messages import Message
from pipeline.core.models import UNBOUNDED, Allowance, Batch, BatchEntry, FilePatterns, Lane
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings
from pipeline.vision.profile import Profile
from workers.fleet_archive import require_fleet_archive
from workers.redis.connection import connect
from workers.redis.heartbeats import WorkerInfo, living_workers
from workers.redis.queues import RedisQueues
from workers.redis.ticks import LastTick, Ticks


@dataclass(frozen=True, slots=True)
class EnqueueRequest:
    """A batch that a person or a schedule asks for."""

    collection: str
    language: str | None
    """Language to describe pages in; the collection's own when None."""
    default_language: str
    lane: Lane = Lane.NORMAL
    profile: Profile | None = None
    """Profile with the questions; the collection's own when None."""
    budget: Allowance = UNBOUNDED
    downgrade: bool = False
    """Whether pages that a model described may be read without one."""
    patterns: FilePatterns | None = None
    """Which files are looked at; None for all."""


class Fleet:
    """The queues and the workers, seen from outside. Making one sends no request."""

    def __init__(self, settings: Settings, archive: Archive, cancel: CancelToken) -> None:
        self._archive = archive
        self._cancel = cancel
        self.redis = connect(settings)
        self.queues = RedisQueues(self.redis)

    def workers(self) -> list[WorkerInfo]:
        """Return the living workers.

        Raises:
            ServiceUnavailable: Redis is away.
        """
        return living_workers(self.redis)

    def last_tick(self) -> LastTick | None:
        """Return the last tick that a worker carried out; raises as `workers` does."""
        return Ticks(self.redis).last()

    def publish(self, messages: Iterable[Message], lane: Lane | str) -> int:
        """Put messages into a lane, and return their number. Wait while Redis is away."""
        # Celery is slow to import, and `pagesight status` publishes no message.
        from workers.app import app
        from workers.publishing import publish

        return publish(app, messages, lane, self._cancel)

    def enqueue(self, request: EnqueueRequest, roots: Iterable[str], shown: Iterable[str]) -> Batch:
        """Begin a batch that walks these root URLs; no file is opened. `shown` are the roots as people know them.

        Raises:
            ServiceUnavailable: Redis is away; no batch was begun.
        """
        return self._begin(request, shown, roots=roots)

    def enqueue_sources(
        self, request: EnqueueRequest, entries: Iterable[BatchEntry], shown: Iterable[str], *, again: bool = False
    ) -> Batch:
        """Begin a batch of exactly these sources. With `again`, failures are tried again whatever their reason.

        Raises:
            ServiceUnavailable: Redis is away; no batch was begun.
        """
        return self._begin(
            request, shown, again=again, name=lambda batch: name_sources(self._archive, batch.id, entries)
        )

    def _begin(
        self,
        request: EnqueueRequest,
        shown: Iterable[str],
        *,
        roots: Iterable[str] = (),
        again: bool = False,
        name: Callable[[Batch], None] = lambda _batch: None,
    ) -> Batch:
        require_fleet_archive(self._archive, self.queues)
        batch = begin_batch(
            self._archive,
            request.collection,
            request.language,
            request.default_language,
            shown,
            profile=request.profile,
            lane=request.lane,
            roots=roots,
            patterns=request.patterns,
            again=again,
            downgrade=request.downgrade,
            epoch=self.queues.epoch(),
            budget=request.budget,
            name=name,
        )
        self.publish(first_messages(batch), request.lane)
        return batch

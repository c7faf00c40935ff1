"""The fleet as those see it who give it work: batches begun, messages published, nothing waited for but Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.archive import Archive
from pipeline.batches.lifecycle import begin_batch
from pipeline.batches.listing import first_messages, name_sources
from pipeline.batches.messages import Message
from pipeline.core.models import UNBOUNDED, Allowance, Batch, BatchEntry, Lane
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings
from pipeline.vision.profile import Profile
from workers.redis.connection import connect
from workers.redis.heartbeats import WorkerInfo, living_workers
from workers.redis.queues import RedisQueues


@dataclass(frozen=True, slots=True)
class EnqueueRequest:
    """What a person asked to be processed."""

    collection: str
    language: str | None
    """The language asked for; the collection's own when None."""
    default_language: str
    lane: Lane = Lane.NORMAL
    profile: Profile | None = None
    """The profile named; the collection's own when None."""
    budget: Allowance = UNBOUNDED


class Fleet:
    """The queues and the workers, seen from outside. Cheap to make; nothing is asked yet."""

    def __init__(self, settings: Settings, archive: Archive, cancel: CancelToken) -> None:
        self._archive = archive
        self._cancel = cancel
        self.redis = connect(settings)
        self.lanes = RedisQueues(self.redis)

    def workers(self) -> list[WorkerInfo]:
        """Return the workers that live.

        Raises:
            ServiceUnavailable: Redis is away.
        """
        return living_workers(self.redis)

    def publish(self, messages: Iterable[Message], lane: Lane | str) -> int:
        """Put messages into a lane, waiting while Redis is away; return their number."""
        # Here, since Celery is slow to import, and `pagesight status` publishes nothing.
        from workers.app import app
        from workers.publishing import publish

        return publish(app, messages, lane, self._cancel)

    def enqueue(self, order: EnqueueRequest, roots: Iterable[str], shown: Iterable[str]) -> Batch:
        """Begin a batch that walks these root URLs; no file is looked at. `shown` are the roots as people know them.

        Raises:
            ServiceUnavailable: Redis is away; no batch was begun.
        """
        return self._begin(order, shown, roots=roots)

    def enqueue_sources(
        self, order: EnqueueRequest, entries: Iterable[BatchEntry], shown: Iterable[str], *, again: bool = False
    ) -> Batch:
        """Begin a batch that processes just these sources. With `again` what failed is tried whatever the reason.

        Raises:
            ServiceUnavailable: Redis is away; no batch was begun.
        """
        return self._begin(order, shown, again=again, name=lambda batch: name_sources(self._archive, batch.id, entries))

    def _begin(
        self,
        order: EnqueueRequest,
        shown: Iterable[str],
        *,
        roots: Iterable[str] = (),
        again: bool = False,
        name: Callable[[Batch], None] = lambda _batch: None,
    ) -> Batch:
        batch = begin_batch(
            self._archive,
            order.collection,
            order.language,
            order.default_language,
            shown,
            profile=order.profile,
            lane=order.lane,
            roots=roots,
            again=again,
            epoch=self.lanes.epoch(),
            budget=order.budget,
            name=name,
        )
        self.publish(first_messages(batch), order.lane)
        return batch

"""The sweep: it completes what processes that died left unfinished. It is derived from the archive and idempotent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.archive import Archive
from pipeline.batches.completion import complete_chunk, complete_part, is_quiet
from pipeline.batches.ending import end_if_done
from pipeline.batches.listing import all_due_messages
from pipeline.batches.messages import Message
from pipeline.batches.progress import UNENDED, BatchLedger
from pipeline.core.errors import RevisionTaken
from pipeline.core.models import Batch
from pipeline.core.retry import CancelToken
from pipeline.pages.page_services import PageServices
from pipeline.pages.recipe import request_of
from pipeline.projection.verify import Verification
from workers.redis.queues import RedisQueues

Publish = Callable[[Iterable[Message], str], int]


@dataclass(frozen=True, slots=True)
class SweepReport:
    """Result of a sweep."""

    ended: tuple[str, ...]
    """Ids of the batches that it closed."""
    published: int
    """Messages that it published again, since no queue had them."""


def open_batches(archive: Archive) -> Iterator[Batch]:
    """Yield the queued batches that have not ended, oldest first."""
    for identifier in archive.open_batches():
        batch = archive.batches[identifier].newest()
        if batch is not None and batch.state in UNENDED:
            yield batch
        elif batch is not None or archive.batches[identifier].newest_revision():  # ended, or damaged as a whole
            archive.close_batch(identifier)


def sweep(services: PageServices, cancel: CancelToken, queues: RedisQueues, publish: Publish) -> SweepReport:
    """Close batches that have ended, and publish messages that were lost.

    Raises:
        ServiceRefused: a service refuses.
        ServiceUnavailable: Redis or the archive is away.
        Stopped: the token has ended.
    """
    ended = []
    published = 0
    for batch in open_batches(services.archive):
        ledger = BatchLedger(services.archive, batch)
        bound = services.for_message(batch, cancel)
        _complete(ledger, bound)
        closed = end_if_done(ledger, bound)
        if closed is not None:
            services.projector.batch(closed)
            ended.append(batch.id)
        elif batch.state == "working" and is_lost(batch, queues):
            published += republish(batch, services.archive, queues, publish)
    return SweepReport(tuple(ended), published)


def is_lost(batch: Batch, queues: RedisQueues) -> bool:
    """Whether no queue can have the messages of a batch: Redis restarted empty since, or all queues are idle."""
    return batch.epoch != queues.epoch() or queues.is_idle()


def republish(batch: Batch, archive: Archive, queues: RedisQueues, publish: Publish) -> int:
    """Publish all messages that a batch still needs, note the epoch of Redis, and return their number.

    Of several callers one publishes; the others return 0.
    """
    noted = batch.model_copy(update={"revision": batch.revision + 1, "epoch": queues.epoch()})
    try:
        archive.batches[noted.id].create(noted)
    except RevisionTaken:
        return 0
    assert batch.lane is not None
    return publish(all_due_messages(noted, archive), batch.lane)


def _complete(ledger: BatchLedger, services: PageServices) -> None:
    """Complete the parts and chunks whose last process died before it could."""
    batch, archive = ledger.batch, services.archive
    request = request_of(batch, services.recipe(batch.language))
    records = archive.journal(batch.id)
    ledger.progress()
    for chunk, part in ledger.open_parts():
        if is_quiet(records, chunk, part, request, archive):
            complete_part(chunk, part, request, Verification(services.projector))
    for chunk in set(records.chunks_with_ended_parts()) - set(records.closed.names()):
        complete_chunk(records, chunk)

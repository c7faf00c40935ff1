"""What keeps batches going when processes died at the wrong moment: derived from the archive, as often as one likes."""

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
class Swept:
    """What a sweep found and did."""

    ended: tuple[str, ...]
    """Batches that it closed."""
    published: int
    """Messages that no queue could hold any more."""


def open_batches(archive: Archive) -> Iterator[Batch]:
    """Yield the queued batches that have not ended, oldest first."""
    for identifier in archive.open_batches():
        batch = archive.batches[identifier].newest()
        if batch is not None and batch.state in UNENDED:
            yield batch
        elif batch is not None:
            archive.close_batch(identifier)


def sweep(tools: PageServices, cancel: CancelToken, lanes: RedisQueues, publish: Publish) -> Swept:
    """Close what has ended, and publish what has been lost.

    Raises:
        ServiceRefused: a service refuses.
        ServiceUnavailable: Redis or the archive is away.
        Stopped: the patience has ended.
    """
    ended = []
    published = 0
    for batch in open_batches(tools.archive):
        book = BatchLedger(tools.archive, batch)
        services = tools.for_message(batch, cancel)
        _settle(book, services)
        closed = end_if_done(book, services)
        if closed is not None:
            tools.projector.batch(closed)
            ended.append(batch.id)
        elif batch.state == "working" and is_lost(batch, lanes):
            published += republish(batch, tools.archive, lanes, publish)
    return Swept(tuple(ended), published)


def is_lost(batch: Batch, lanes: RedisQueues) -> bool:
    """Whether no queue can hold what a batch still needs: Redis has lost its memory since, or nothing is under way."""
    return batch.epoch != lanes.epoch() or lanes.is_idle()


def republish(batch: Batch, archive: Archive, lanes: RedisQueues, publish: Publish) -> int:
    """Publish all that a batch still needs, and note in which life of Redis; of several who try one does it."""
    noted = batch.model_copy(update={"revision": batch.revision + 1, "epoch": lanes.epoch()})
    try:
        archive.batches[noted.id].create(noted)
    except RevisionTaken:
        return 0
    assert batch.lane is not None
    return publish(all_due_messages(noted, archive), batch.lane)


def _settle(book: BatchLedger, services: PageServices) -> None:
    """Derive the end of parts and chunks whose last message's process died before it could."""
    batch, archive = book.batch, services.archive
    request = request_of(batch, services.recipe(batch.language))
    records = archive.journal(batch.id)
    book.progress()
    for chunk, part in book.open_parts():
        if is_quiet(records, chunk, part, request, archive):
            complete_part(chunk, part, request, Verification(services.projector))
    for chunk in set(records.chunks_with_ended_parts()) - set(records.closed.names()):
        complete_chunk(records, chunk)

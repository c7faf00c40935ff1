"""Repair: enqueue exactly what is missing, and nothing that a queue may still have.

Records are repaired by `Project` messages; pages that were never read, or whose newest reading is damaged, by a new
batch; a batch with lost messages by publishing these again. So repeated repairs while the workers are busy add nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from redis import Redis

from pipeline.archive import Archive
from pipeline.batches.messages import PART_SOURCES, Project
from pipeline.core.iterables import batched
from pipeline.core.models import BatchEntry, Lane
from pipeline.core.retry import CancelToken
from pipeline.maintenance.audit import ONLY_REPORTED, TO_READ, Audit, Batches, Difference, DifferenceKind, source_of
from pipeline.projection.projector import CHUNK, Projector
from workers.client import EnqueueRequest, Fleet
from workers.recovery.sweep import is_lost, open_batches, republish
from workers.redis.connection import translated
from workers.redis.queues import REPAIRING

#: Documents or sources that one message repairs.
PROJECT_DOCUMENTS = PART_SOURCES
#: Description of a batch of pages that were never read, in place of its sources.
SHOWN = "pages that were never read or are damaged"


@dataclass(frozen=True, slots=True)
class RepairReport:
    """Result of a repair."""

    totals: dict[str, int]
    """Differences that were found, by kind."""
    batches: tuple[str, ...]
    """Ids of the batches that were begun for pages that have to be read."""
    published: int
    """Messages published for records, and for batches whose messages were lost."""

    @property
    def differences(self) -> int:
        """Number of all differences."""
        return sum(self.totals.values())


def repair(
    archive: Archive,
    projector: Projector,
    fleet: Fleet,
    *,
    dry_run: bool,
    cancel: CancelToken,
    collections: Iterable[str] | None = None,
    found: Callable[[Difference], None] = lambda _difference: None,
    advance: Callable[[], None] = lambda: None,
) -> RepairReport:
    """Compare sources, archive and index, and enqueue what is missing unless it is a dry run.

    Args:
        archive: the truth that records are compared with.
        projector: archive and index; its own token is not used.
        fleet: takes messages and batches.
        dry_run: only compare.
        cancel: bounds the waits for Elasticsearch.
        collections: only these, without records of other collections; all when None.
        found: called with each difference.
        advance: called for each document, source and batch that was compared.

    Raises:
        ServiceRefused: Elasticsearch refuses.
        ServiceUnavailable: Redis is away, or Elasticsearch went away while its records were listed.
        Stopped: the token has ended.
    """
    projector = replace(projector, cancel=cancel)
    return _Repair(projector, fleet, dry_run, found, advance).run(None if collections is None else list(collections))


class _Repair:
    def __init__(
        self,
        projector: Projector,
        fleet: Fleet,
        dry_run: bool,
        found: Callable[[Difference], None],
        advance: Callable[[], None],
    ) -> None:
        self._archive = projector.archive
        self._projector = projector
        self._fleet = fleet
        self._dry_run = dry_run
        self._found = found
        self._batches = Batches(self._archive)
        self._audit = Audit(projector, self._batches, advance)
        self._queued = QueuedRepairs(fleet.redis)
        self._totals: Counter[DifferenceKind] = Counter()
        self._begun: list[str] = []
        self._published = 0

    def run(self, collections: list[str] | None) -> RepairReport:
        names = self._archive.collections.names() if collections is None else collections
        if not self._dry_run:
            self._queued.forget_if_empty(self._fleet)
        self._republish_lost_batches(names)
        for name in names:
            for some in batched(self._audit.documents(name), CHUNK):
                self._repair_records(some)
            self._enqueue_pages(name)
        for scope in [None] if collections is None else names:
            for difference in self._audit.unknown(scope):
                self._note(difference)
        for difference in self._audit.batch_records(names):
            self._repair_batch(difference)
        return RepairReport(
            {kind.value: number for kind, number in self._totals.items()}, tuple(self._begun), self._published
        )

    def _note(self, difference: Difference) -> None:
        self._totals[difference.kind] += 1
        self._found(difference)

    def _republish_lost_batches(self, names: list[str]) -> None:
        for batch in open_batches(self._archive):
            if batch.collection in names and batch.state == "working" and is_lost(batch, self._fleet.queues):
                why = "it has not ended, and no queue has the messages that it still needs"
                self._note(
                    Difference(DifferenceKind.BATCH_LOST, "batch", batch.id, why, batch.collection, batch=batch.id)
                )
                if not self._dry_run:
                    self._published += republish(batch, self._archive, self._fleet.queues, self._fleet.publish)
                    self._projector.batch(self._archive.batches[batch.id].newest() or batch)

    def _repair_records(self, differences: list[Difference]) -> None:
        """Publish messages for the documents and sources of these differences, except those enqueued already."""
        for difference in differences:
            self._note(difference)
        if self._dry_run:
            return
        repairable = [difference for difference in differences if difference.kind not in ONLY_REPORTED]
        due = self._queued.missing(repairable)
        for collection, lane in sorted({self._target(difference) for difference in due}):
            same = [difference for difference in due if self._target(difference) == (collection, lane)]
            self._published += self._fleet.publish(_messages(collection, same), lane)
        self._queued.add(due)

    def _target(self, difference: Difference) -> tuple[str, Lane]:
        assert difference.collection is not None
        return difference.collection, self._batches.lane(difference.batch)

    def _enqueue_pages(self, collection: str) -> None:
        entries = self._entries(collection)
        first = next(entries, None)
        if first is None:
            return
        kept = self._archive.collections[collection].newest()
        assert kept is not None
        request = EnqueueRequest(collection, None, kept.language, Lane.BACKFILL)
        batch = self._fleet.enqueue_sources(request, chain([first], entries), (SHOWN,))
        self._begun.append(batch.id)
        self._projector.batch(batch)

    def _entries(self, collection: str) -> Iterator[BatchEntry]:
        """Compare a collection's sources; yield the sources with pages that have to be read, each document once."""
        documents: set[str] = set()
        for some in batched(self._audit.sources(collection), CHUNK):
            self._repair_records([difference for difference in some if difference.kind not in TO_READ])
            for difference in some:
                if difference.kind not in TO_READ or difference.document in documents:
                    continue
                assert difference.source is not None
                assert difference.document is not None
                documents.add(difference.document)
                self._note(difference)
                if not self._dry_run:
                    yield BatchEntry(url=difference.source, pages=difference.pages)

    def _repair_batch(self, difference: Difference) -> None:
        """Write a batch's record in this process: no message can carry one, and there are few."""
        self._note(difference)
        batch = self._archive.batches[difference.id].newest()
        if batch is not None and not self._dry_run and difference.kind not in ONLY_REPORTED:
            self._projector.batch(batch)


class QueuedRepairs:
    """The differences that earlier repairs have enqueued, noted in Redis: they are lost together with the queues."""

    KEY = REPAIRING
    #: A note outlives its message only after two faults. The difference is then enqueued again after this time.
    KEPT_SECONDS = 24 * 3600

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def forget_if_empty(self, fleet: Fleet) -> None:
        """Forget all notes where no queue has a message and no worker handles one."""
        if fleet.queues.is_idle():
            with translated():
                self._redis.delete(self.KEY)

    def missing(self, differences: list[Difference]) -> list[Difference]:
        """Return the differences without a note."""
        if not differences:
            return []
        with translated():
            noted = self._redis.smismember(self.KEY, [_name(difference) for difference in differences])
        return [difference for difference, is_noted in zip(differences, noted, strict=True) if not is_noted]

    def add(self, differences: list[Difference]) -> None:
        """Note that these differences are enqueued."""
        if not differences:
            return
        with translated():
            self._redis.sadd(self.KEY, *[_name(difference) for difference in differences])
            if self._redis.ttl(self.KEY) < 0:
                self._redis.expire(self.KEY, self.KEPT_SECONDS)


def _name(difference: Difference) -> str:
    return f"{difference.what} {difference.id} {difference.why}"


def _messages(collection: str, differences: list[Difference]) -> Iterator[Project]:
    documents = dict.fromkeys(difference.document for difference in differences if difference.document is not None)
    sources = dict.fromkeys(source_of(difference) for difference in differences if difference.what == "source")
    for some in batched(documents, PROJECT_DOCUMENTS):
        yield Project(collection, tuple(some))
    for some in batched(sources, PROJECT_DOCUMENTS):
        yield Project(collection, (), tuple(some))

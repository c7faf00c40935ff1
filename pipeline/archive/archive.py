"""Values in the archive, and their names.

    collections/<collection>/<revision>.json
    batches/<batch>/<revision>.json
    deletions/<collection>/<revision>.json
    sources/<collection>/<SHA-256 of the URL>/<revision>.json
    readings/<collection>/…                 readings of pages: `pipeline.archive.readings`
    images/…, answers/…, conversions/…      what is stored by content: `pipeline.archive.content`
    fleet/<revision>.json
    tokens/<id>/<revision>.json             tokens for `serve`, as hashes
    runs/<schedule>/…, heard/<schedule>     runs of schedules: `pipeline.archive.runs`
    open/<batch>                            queued batches that have not ended
    drawn/<batch>/<revision>.json           reservations from their budgets
    walks/<batch>/…                         their progress: `pipeline.archive.batch_journal`
    archive.json                            the archive's identity: `pipeline.archive.identity`

`pipeline.archive.chain` tells how revisions are numbered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

from pipeline.archive.batch_journal import BatchJournal
from pipeline.archive.chain import Chain, Chains, decoder, predecessor
from pipeline.archive.content import Answers, Conversions, PageImages, pixels_of
from pipeline.archive.inventory import damaged_files
from pipeline.archive.mending import make_due, mend
from pipeline.archive.readings import DocumentReadings
from pipeline.archive.runs import Runs
from pipeline.archive.store import Store
from pipeline.core.models import AccessToken, Batch, BudgetReservation, Collection, Deletion, FleetState, Source

#: Queued batches whose journals, with the chunks that they cache, are kept in memory.
_JOURNALS_KEPT = 4


def source_id(url: str) -> str:
    """Return the id of a source: SHA-256 of its URL."""
    return hashlib.sha256(url.encode()).hexdigest()


class Archive:
    """Typed access to the archive. Threads and processes share one location without locks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.collections = Chains(store, "collections", decoder(Collection), self._collection_for_damaged)
        """By the collection's name."""
        self.batches = Chains(store, "batches", decoder(Batch), self._batch_for_damaged)
        """By the batch's id, which begins with its time: sorted, the oldest comes first."""
        self.reservations = Chains(store, "drawn", decoder(BudgetReservation))
        """What workers have reserved from the budget of a queued batch, by its id."""
        self.deletions = Chains(store, "deletions", decoder(Deletion))
        """Requests to delete, by the collection's name; each request is a revision."""
        self.fleet = Chain(store, "fleet", decoder(FleetState))
        """Whether workers may process messages. Empty while they always could."""
        self.tokens = Chains(store, "tokens", decoder(AccessToken), lambda *_: None)
        """By the token's id. A damaged revision has no stand-in, since it may be the revocation."""
        self.runs = Runs(store)
        self.images = PageImages(store)
        self.answers = Answers(store)
        self.conversions = Conversions(store)
        self._journals = lru_cache(_JOURNALS_KEPT)(partial(BatchJournal, store))

    @property
    def url(self) -> str:
        """The archive's location."""
        return self._store.url

    @property
    def damaged(self) -> tuple[str, ...]:
        """Names of the damaged files that were found so far. Their readers left them out."""
        return tuple(sorted(self._store.damaged))

    def check(self) -> None:
        """Write something and remove it again.

        Raises:
            ServiceRefused: the location cannot be written.
            ArchiveMissing: the known archive is not there.
        """
        self._store.check()

    def damaged_files(self, advance: Callable[[], None] = lambda: None) -> Iterator[str]:
        """Read every JSON file and yield the names of the damaged ones; `advance` is called for each folder."""
        return damaged_files(self._store, advance)

    def mend(self, name: str) -> bool:
        """Mend a damaged file, and return whether it is mended: see `pipeline.archive.mending`."""
        return mend(self, self._store, name)

    def make_due(self, collection: str, document: str, page: int) -> None:
        """Have a page read again: archive a revision of its reading without a fingerprint."""
        make_due(self, collection, document, page)

    def require(self, identifier: str | None = None) -> str | None:
        """Check that the known archive is there, see `Store.require`."""
        return self._store.require(identifier)

    def establish(self) -> str:
        """Return the archive's id, and make the identity of a new archive; see `Store.establish`."""
        return self._store.establish()

    def sources(self, collection: str) -> Chains[Source]:
        """Return the sources of a collection, by `source_id`."""
        return Chains(self._store, f"sources/{collection}", decoder(Source), _source_for_damaged)

    def documents(self, collection: str) -> list[str]:
        """Return the ids of a collection's documents with at least one reading."""
        return self._store.names(f"readings/{collection}")

    def readings(self, collection: str, document: str) -> DocumentReadings:
        """Return the readings of a document's pages."""
        return DocumentReadings(self._store, collection, document)

    def journal(self, batch_id: str) -> BatchJournal:
        """Return the journal of a queued batch."""
        return self._journals(batch_id)

    def open_batches(self) -> list[str]:
        """Return the ids of the queued batches that have not ended, oldest first; a few may have ended."""
        return self._store.names("open")

    def open_batch(self, batch_id: str) -> None:
        """Mark a queued batch as open, before its first revision is archived."""
        self._store.put(f"open/{batch_id}", b"")

    def close_batch(self, batch_id: str) -> None:
        """Remove the mark of a queued batch, after its last revision was archived."""
        self._store.delete(f"open/{batch_id}")

    def _batch_for_damaged(self, name: str, number: int, before: Batch | None) -> Batch | None:
        """Return what is read for a damaged revision of a batch. Without the mark of an open batch, the batch ended."""
        batch = predecessor(number, before)
        if batch is None or batch.state != "working" or (batch.lane is not None and name in self.open_batches()):
            return batch
        return batch.model_copy(update={"state": "killed", "cause": "its last revision in the archive is damaged"})

    def _collection_for_damaged(self, name: str, number: int, before: Collection | None) -> Collection | None:
        """Return what is read for a damaged revision of a collection: each batch has its language and profile."""
        for identifier in reversed(self.batches.names()):
            batch = self.batches[identifier].newest()
            if batch is not None and batch.collection == name:
                return Collection(
                    name=name,
                    language=batch.language,
                    profile=batch.profile,
                    own_profile=batch.own_profile,
                    revision=number,
                )
        return predecessor(number, before)

    def purge_content(self, document: str, pixels_sha256: str | None = None) -> None:
        """Remove the page images of a document, its PDF, and every answer about the images' pixels.

        An image is archived before the model is called, so image names lead to all answers, even if a killed writer
        left them without a reading. Documents with the same pixels have to be read again. A writer whose image another
        purge removed before the answer came passes the pixels itself.
        """
        keys = self.images.keys(document)
        for pixels in {pixels_of(key) for key in keys} | ({pixels_sha256} if pixels_sha256 else set()):
            self.answers.delete_all(pixels)
        for key in sorted(keys):
            self.images.delete(key)
        self.conversions.delete_all(document)


def _source_for_damaged(_name: str, number: int, before: Source | None) -> Source | None:
    """Return what is read for a damaged revision of a source: without a state, its file is looked at again."""
    source = predecessor(number, before)
    return None if source is None else source.model_copy(update={"state": None})

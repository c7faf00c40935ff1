"""Values in the archive, and their names.

    collections/<collection>/<revision>.json
    batches/<batch>/<revision>.json
    deletions/<collection>/<revision>.json
    sources/<collection>/<SHA-256 of the URL>/<revision>.json
    readings/<collection>/…                 readings of pages: `pipeline.archive.readings`
    images/…, answers/…, conversions/…      what is stored by content: `pipeline.archive.content`
    fleet/<revision>.json
    runs/<schedule>/…, heard/<schedule>     runs of schedules: `pipeline.archive.runs`
    open/<batch>                            queued batches that have not ended
    drawn/<batch>/<revision>.json           reservations from their budgets
    walks/<batch>/…                         their progress: `pipeline.archive.batch_journal`

`pipeline.archive.chain` tells how revisions are numbered.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache, partial

from pipeline.archive.batch_journal import BatchJournal
from pipeline.archive.chain import Chain, Chains
from pipeline.archive.content import Answers, Conversions, PageImages, pixels_of
from pipeline.archive.readings import DocumentReadings
from pipeline.archive.runs import Runs
from pipeline.archive.store import Store
from pipeline.core.models import Batch, BudgetReservation, Collection, Deletion, FleetState, Source

#: Queued batches whose journals, with the chunks that they cache, are kept in memory.
_JOURNALS_KEPT = 4


def source_id(url: str) -> str:
    """Return the id of a source: SHA-256 of its URL."""
    return hashlib.sha256(url.encode()).hexdigest()


class Archive:
    """Typed access to the archive. Threads and processes share one location without locks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.collections = Chains(store, "collections", Collection.model_validate_json)
        """By the collection's name."""
        self.batches = Chains(store, "batches", Batch.model_validate_json)
        """By the batch's id, which begins with its time: sorted, the oldest comes first."""
        self.reservations = Chains(store, "drawn", BudgetReservation.model_validate_json)
        """What workers have reserved from the budget of a queued batch, by its id."""
        self.deletions = Chains(store, "deletions", Deletion.model_validate_json)
        """Requests to delete, by the collection's name; each request is a revision."""
        self.fleet = Chain(store, "fleet", FleetState.model_validate_json)
        """Whether workers may process messages. Empty while they always could."""
        self.runs = Runs(store)
        self.images = PageImages(store)
        self.answers = Answers(store)
        self.conversions = Conversions(store)
        self._journals = lru_cache(_JOURNALS_KEPT)(partial(BatchJournal, store))

    @property
    def url(self) -> str:
        """The archive's location."""
        return self._store.url

    def check(self) -> None:
        """Write something and remove it again.

        Raises:
            ServiceRefused: the location cannot be written.
        """
        self._store.check()

    def sources(self, collection: str) -> Chains[Source]:
        """Return the sources of a collection, by `source_id`."""
        return Chains(self._store, f"sources/{collection}", Source.model_validate_json)

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

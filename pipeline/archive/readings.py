"""The readings of a document's pages: one chain for each page, all in one folder.

readings/<collection>/<document>/<page>.<revision>.json
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from functools import partial
from typing import Annotated

from pydantic import Field, TypeAdapter

from pipeline.archive.chain import Chain, decoded, decoder
from pipeline.archive.store import Store
from pipeline.core.errors import ArchiveDamaged
from pipeline.core.models import Deletion, Reading, Tombstone

PageReading = Annotated[Reading | Tombstone, Field(discriminator="kind")]
_PAGE_READING: TypeAdapter[Reading | Tombstone] = TypeAdapter(PageReading)
#: Readings that are fetched together: a bucket answers 32 requests at once, and more would only take memory.
_READINGS_AT_ONCE = 32


class DocumentReadings:
    """The readings of one document in one collection. Threads and processes share it."""

    def __init__(self, store: Store, collection: str, document: str) -> None:
        self._store = store
        self._collection = collection
        self._document = document
        self._folder = f"readings/{collection}/{document}"

    def page(self, number: int) -> Chain[Reading | Tombstone]:
        """Return the revisions of a page's reading."""
        return Chain(self._store, self._folder, decode_reading, f"{number}.", partial(self._for_damaged, number))

    def newest_revisions(self) -> dict[int, int]:
        """Return the newest revision of each page, by page number. Only names are read."""
        newest: dict[int, int] = {}
        for page, revision in self._names():
            newest[page] = max(revision, newest.get(page, 0))
        return newest

    def newest(self, pages: Container[int] | None = None) -> Iterator[Reading | Tombstone]:
        """Yield the newest reading of each page, or of the given pages, by page number."""
        newest = sorted(self.newest_revisions().items())
        wanted = [(page, revision) for page, revision in newest if pages is None or page in pages]
        for start in range(0, len(wanted), _READINGS_AT_ONCE):
            some = wanted[start : start + _READINGS_AT_ONCE]
            found = self._store.get_many([self._name(page, revision) for page, revision in some])
            for (page, revision), data in zip(some, found, strict=True):
                yield self._read(page, revision, data)

    def damaged_pages(self) -> list[int]:
        """Return the pages whose newest reading is damaged, or was made in place of a damaged one."""
        return [reading.page_number for reading in self.newest() if stands_in(reading)]

    def purge(self, tombstones: Mapping[int, int]) -> None:
        """Remove every revision that is older than its page's tombstone, given as page number to revision."""
        for page, revision in self._names():
            if revision < tombstones.get(page, 0):
                self._store.delete(self._name(page, revision))

    def _read(self, page: int, revision: int, data: bytes | None) -> Reading | Tombstone:
        if data is None:  # a revision that was purged after the listing has a successor
            return self.page(page).revision(revision)
        try:
            return decoded(self._store, self._name(page, revision), data, decode_reading)
        except ArchiveDamaged:
            return self.page(page).revision(revision)

    def _for_damaged(self, page: int, number: int, before: Reading | Tombstone | None) -> Reading | Tombstone:
        """Return what is read for a damaged revision of a page: the reading before, whose page is due again.

        Where a deletion applies to that reading, the damaged revision may have been its tombstone. Where no reading is
        left, a tombstone that every batch lifts is returned.
        """
        deletion = 0
        if isinstance(before, Tombstone):
            deletion = before.deletion
        elif before is not None:
            covering = [request.revision for request in self._deletions_after(before.deletions_seen)]
            if not covering:
                return before.model_copy(update={"revision": number, "fingerprint": ""})
            deletion = covering[-1]
        return Tombstone(
            collection=self._collection,
            document_id=self._document,
            page_number=page,
            revision=number,
            deletion=deletion,
        )

    def _deletions_after(self, number: int) -> Iterator[Deletion]:
        chain = Chain(self._store, f"deletions/{self._collection}", decoder(Deletion))
        return (request for request in chain.after(number) if request.document_id in (None, self._document))

    def _names(self) -> Iterator[tuple[int, int]]:
        for name in self._store.names(self._folder):
            page, _, rest = name.partition(".")
            revision, _, suffix = rest.partition(".")
            if page.isdecimal() and revision.isdecimal() and suffix == "json":
                yield int(page), int(revision)

    def _name(self, page: int, revision: int) -> str:
        return f"{self._folder}/{page}.{revision}.json"


def stands_in(reading: Reading | Tombstone) -> bool:
    """Whether this was made in place of a damaged reading: only then it has no fingerprint, or names no deletion."""
    return not (reading.fingerprint if isinstance(reading, Reading) else reading.deletion)


def decode_reading(data: bytes) -> Reading | Tombstone:
    """Return a revision of a page's reading. Raises `ValidationError`."""
    return _PAGE_READING.validate_json(data, extra="ignore")

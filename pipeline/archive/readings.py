"""The readings of a document's pages: one chain for each page, all in one folder.

readings/<collection>/<document>/<page>.<revision>.json
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Annotated

from pydantic import Field, TypeAdapter

from pipeline.archive.chain import Chain
from pipeline.archive.store import Store
from pipeline.core.models import Reading, Tombstone

PageReading = Annotated[Reading | Tombstone, Field(discriminator="kind")]
_PAGE_READING: TypeAdapter[Reading | Tombstone] = TypeAdapter(PageReading)
#: Readings that are fetched together: a bucket answers 32 requests at once, and more would only take memory.
_READINGS_AT_ONCE = 32


class DocumentReadings:
    """The readings of one document in one collection. Threads and processes share it."""

    def __init__(self, store: Store, collection: str, document: str) -> None:
        self._store = store
        self._folder = f"readings/{collection}/{document}"

    def page(self, number: int) -> Chain[Reading | Tombstone]:
        """Return the revisions of a page's reading."""
        return Chain(self._store, self._folder, _decode, prefix=f"{number}.")

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
                # A revision that was purged after the listing has a successor.
                yield self.page(page).revision(revision) if data is None else _decode(data)

    def purge(self, tombstones: Mapping[int, int]) -> None:
        """Remove every revision that is older than its page's tombstone, given as page number to revision."""
        for page, revision in self._names():
            if revision < tombstones.get(page, 0):
                self._store.delete(self._name(page, revision))

    def _names(self) -> Iterator[tuple[int, int]]:
        for name in self._store.names(self._folder):
            page, revision, _ = name.split(".")
            yield int(page), int(revision)

    def _name(self, page: int, revision: int) -> str:
        return f"{self._folder}/{page}.{revision}.json"


def reading_name(collection: str, document: str, page: int, revision: int) -> str:
    """Return the name of a revision of a page's reading within the archive."""
    return f"readings/{collection}/{document}/{page}.{revision}.json"


def _decode(data: bytes) -> Reading | Tombstone:
    return _PAGE_READING.validate_json(data)

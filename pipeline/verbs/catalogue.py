"""Collections and documents: what there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.archive import Archive
from pipeline.search.listings import CollectionSummary

if TYPE_CHECKING:
    from pipeline.search.index import Index


@dataclass(frozen=True, slots=True)
class CollectionList:
    """Every collection."""

    collections: tuple[CollectionSummary, ...]
    """Those that the index has, by name."""
    not_indexed: tuple[str, ...]
    """Names of those that only the archive has."""


def list_collections(index: Index, archive: Archive, only: frozenset[str] | None = None) -> CollectionList:
    """Return the collections with their counts. `only`: names that the caller may see; None for every collection."""
    found = tuple(summary for summary in index.listings.collections() if only is None or summary.name in only)
    names = {name for name in archive.collections.names() if only is None or name in only}
    return CollectionList(found, tuple(sorted(names - {summary.name for summary in found})))

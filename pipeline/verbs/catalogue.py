"""Collections and documents: what there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.archive import Archive
from pipeline.core.described import DESCRIBED
from pipeline.search.listings import CollectionSummary

if TYPE_CHECKING:
    from pipeline.search.index import Index


@dataclass(frozen=True, slots=True)
class CollectionList:
    """Every collection."""

    __pydantic_config__ = DESCRIBED

    collections: tuple[CollectionSummary, ...]
    """Collections in the index, by name."""
    not_indexed: tuple[str, ...]
    """Names of collections that are in the archive and not in the index."""


def list_collections(index: Index, archive: Archive, only: frozenset[str] | None = None) -> CollectionList:
    """Return the collections with their counts. `only`: names that the caller may see; None for every collection."""
    found = tuple(summary for summary in index.listings.collections() if only is None or summary.name in only)
    names = {name for name in archive.collections.names() if only is None or name in only}
    return CollectionList(found, tuple(sorted(names - {summary.name for summary in found})))

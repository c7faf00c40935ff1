"""Stale pages of whole collections, found and cut to what is to be worked: `pagesight redescribe` and its schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.analysis.estimate import measure, page_tokens
from pipeline.archive import Archive
from pipeline.core.retry import CancelToken
from pipeline.core.stale_filter import Conditions
from pipeline.maintenance.staleness import StaleDocument, StaleTally, stale_documents
from pipeline.pages.recipe import CurrentRecipe

#: What batches of such pages are called, where others name files.
SHOWN = "stale pages"


@dataclass(frozen=True, slots=True)
class Stale:
    """What is stale in a collection."""

    collection: str
    documents: list[StaleDocument]
    """Those that are to be worked."""
    tally: StaleTally
    left_out: int
    """Stale pages of documents that are not."""
    current: CurrentRecipe


def find_stale(
    archive: Archive,
    collection: str,
    current: CurrentRecipe,
    conditions: Conditions,
    cancel: CancelToken,
    wanted: Callable[[StaleDocument], bool],
) -> Stale:
    """Return what is stale in a collection, the newest first; `wanted` says of each document whether it is worked.

    Raises:
        Stopped: the patience has ended.
    """
    tally = StaleTally()
    found = stale_documents(
        archive, collection, current.recipe, conditions, cancel, tally, describes=current.models is not None
    )
    documents = [document for document in found if wanted(document)]
    left_out = sum(len(document.pages) for document in found) - sum(len(document.pages) for document in documents)
    return Stale(collection, documents, tally, left_out, current)


def tokens_of_page(archive: Archive, stale: Stale) -> int:
    """Return what a page of a collection costs at most, by what its answers took before; 0 where no model is asked."""
    current = stale.current
    if current.models is None:
        return 0
    rates = measure(archive, stale.collection, current.models)
    return page_tokens(current.profile, current.recipe.language, rates)

"""Finds the stale pages of whole collections, for `pagesight redescribe` and its schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.analysis.estimate import measure, page_tokens
from pipeline.archive import Archive
from pipeline.core.retry import CancelToken
from pipeline.core.stale_filter import Conditions
from pipeline.maintenance.staleness import StaleDocument, StaleTally, stale_documents
from pipeline.pages.recipe import CurrentRecipe

#: Name of batches of stale pages, in place of the names of files.
SHOWN = "stale pages"


@dataclass(frozen=True, slots=True)
class Stale:
    """Stale pages of a collection."""

    collection: str
    documents: list[StaleDocument]
    """Documents that are to be processed."""
    tally: StaleTally
    left_out: int
    """Stale pages of other documents."""
    current: CurrentRecipe


def find_stale(
    archive: Archive,
    collection: str,
    current: CurrentRecipe,
    conditions: Conditions,
    cancel: CancelToken,
    wanted: Callable[[StaleDocument], bool],
    *,
    downgrade: bool = False,
) -> Stale:
    """Return the stale pages of a collection, newest first; `wanted` selects the documents to process.

    With `downgrade`, pages that a model described are stale without a model, too.

    Raises:
        Stopped: the run was cancelled.
    """
    tally = StaleTally()
    found = stale_documents(archive, collection, current.recipe, conditions, cancel, tally, downgrade=downgrade)
    documents = [document for document in found if wanted(document)]
    left_out = sum(len(document.pages) for document in found) - sum(len(document.pages) for document in documents)
    return Stale(collection, documents, tally, left_out, current)


def tokens_of_page(archive: Archive, stale: Stale) -> int:
    """Return the most tokens that a page of a collection costs, measured on earlier answers; 0 without a model."""
    current = stale.current
    if current.models is None:
        return 0
    rates = measure(archive, stale.collection, current.models)
    return page_tokens(current.profile, current.recipe.language, rates)

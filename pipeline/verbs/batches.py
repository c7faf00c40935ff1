"""Batches of the archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.core.described import DESCRIBED
from pipeline.core.errors import NotFound

if TYPE_CHECKING:
    from pipeline.archive import Archive
    from pipeline.core.models import Batch


@dataclass(frozen=True, slots=True)
class BatchBudget:
    """Limits of a batch; None is unlimited."""

    __pydantic_config__ = DESCRIBED

    tokens: int | None
    """Tokens sent plus tokens received."""
    pages: int | None
    """Processed pages."""


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """Sources, state and results of a batch."""

    __pydantic_config__ = DESCRIBED

    id: str
    """Its id, which begins with the time of its start."""
    collection: str
    """Collection of its documents."""
    language: str
    """Language of the descriptions, as a BCP 47 tag."""
    lane: str | None
    """Its queue; None for a run of `pagesight index`."""
    state: str
    """`working`, `paused`, `cancelled`, `done`, `interrupted`, `halted`, `exhausted` or `killed`."""
    cause: str | None
    """Why it does not continue by itself."""
    budget: BatchBudget
    """Its limits."""
    sources_named: tuple[str, ...]
    """URLs that its caller named."""
    documents: Mapping[str, int]
    """Number of documents by outcome; empty until the batch has ended."""
    pages: Mapping[str, int]
    """Number of pages by outcome; empty until the batch has ended."""
    passed_over: int
    """Files and folders that are litter, or that patterns leave out."""
    descriptions_kept: int
    """Pages that stay as a model described them, because no model is configured."""
    started_at: datetime
    """When it was queued or started."""
    ended_at: datetime | None
    """When it ended; None before that."""

    @classmethod
    def of(cls, batch: Batch) -> BatchSummary:
        """Return the summary of an archived batch."""
        return cls(
            id=batch.id,
            collection=batch.collection,
            language=batch.language,
            lane=batch.lane,
            state=batch.state,
            cause=batch.cause,
            budget=BatchBudget(batch.budget.tokens, batch.budget.pages),
            sources_named=batch.sources,
            documents=batch.documents,
            pages=batch.pages,
            passed_over=batch.passed_over,
            descriptions_kept=batch.descriptions_kept,
            started_at=batch.started_at,
            ended_at=batch.ended_at,
        )


def recent_batches(
    archive: Archive, collection: str | frozenset[str] | None = None, before: str | None = None
) -> Iterator[Batch]:
    """Yield the batches of the archive, newest first.

    Args:
        archive: the archive.
        collection: only those of this collection, or of these.
        before: only those older than the batch with this id.
    """
    wanted = frozenset({collection}) if isinstance(collection, str) else collection
    for name in reversed(archive.batches.names()):
        if before is not None and name >= before:
            continue
        batch = archive.batches[name].newest()
        if batch is not None and (wanted is None or batch.collection in wanted):
            yield batch


def find_batch(archive: Archive, batch_id: str) -> Batch:
    """Return a batch by its id.

    Raises:
        NotFound: the archive has no such batch.
    """
    batch = archive.batches[batch_id].newest() if batch_id in archive.batches.names() else None
    if batch is None:
        raise NotFound(f"there is no batch {batch_id!r}", remedy="`pagesight batches` lists the batches.")
    return batch

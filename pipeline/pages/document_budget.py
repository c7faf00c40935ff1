"""The budget of a document: CPU time and pages over their time limit, summed over all work units of a batch.

    each slice of the document ──▶ notes what it costs ──▶ `walks/<batch>/costs/<document>/` ──▶ read by every slice

When it is spent, the rest of the document ends as one outcome: `end_early` archives it at the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.archive import Archive, source_id
from pipeline.archive.chain import Chain
from pipeline.core.errors import DocumentLimit, RenderTimeout
from pipeline.core.models import DocumentCost, Failure, PageSlice, Reading, Source, Tombstone
from pipeline.pages.recipe import Request
from pipeline.projection.projector import Projector

#: Share of the CPU time that a slice may cost without a note. A document of 20,000 pages has 1,250 slices, so what is
#: not noted is at most 1.25 times the budget, and usual documents write none.
_UNNOTED_SHARE = 1 / 1000


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """What rendering all pages of a document may cost in one batch."""

    cpu_seconds: float
    timeouts: int
    """Pages that may exceed their own time limit."""


class DocumentBudget:
    """The budget of one document, for one slice of it.

    Args:
        notes: what the slices of the document have cost so far.
        limits: of the document.
        shared: whether the document has other slices.
    """

    def __init__(self, notes: Chain[DocumentCost], limits: DocumentLimits, *, shared: bool) -> None:
        self._notes = notes
        self._limits = limits
        self._noted = notes.newest() if shared else None
        self._seconds = 0.0
        self._timeouts = 0

    def require(self) -> None:
        """Check that the budget has room for another page.

        Raises:
            DocumentLimit: it is spent.
        """
        noted = self._noted
        timeouts = self._timeouts + (noted.timeouts if noted else 0)
        seconds = self._seconds + (noted.cpu_seconds if noted else 0)
        if timeouts >= self._limits.timeouts:
            raise DocumentLimit(
                f"{timeouts} of its pages took longer than a page may",
                remedy="If the document is genuine, raise PAGESIGHT_PAGE_SECONDS or PAGESIGHT_DOCUMENT_TIMEOUTS, then "
                "run the same command or `pagesight retry --error document_limit`.",
            )
        if seconds >= self._limits.cpu_seconds:
            raise DocumentLimit(f"its pages took more than {self._limits.cpu_seconds:g} seconds of CPU time together")

    def count(self, seconds: float, rendered: object) -> None:
        """Count a page: its CPU seconds, and the page or the error of rendering it."""
        self._seconds += seconds
        if isinstance(rendered, RenderTimeout):
            self._timeouts += 1
            self.note()  # at once, since other slices are rendered at the same time

    def note(self) -> None:
        """Archive what was counted, unless it is negligible."""
        if not self._timeouts and self._seconds < _UNNOTED_SHARE * self._limits.cpu_seconds:
            return

        def successor(newest: DocumentCost | None) -> DocumentCost:
            before = newest or DocumentCost(revision=0)
            return DocumentCost(
                revision=before.revision + 1,
                cpu_seconds=round(before.cpu_seconds + self._seconds, 2),
                timeouts=before.timeouts + self._timeouts,
            )

        self._noted = self._notes.append(successor)
        self._seconds, self._timeouts = 0.0, 0


def end_early(piece: PageSlice, failure: Failure, request: Request, projector: Projector) -> Source:
    """Archive that the rest of a document is not processed: one outcome, at its source. Return the source.

    One page is marked before, so that the document's record is not the record of a document in progress.
    """
    archive, document = projector.archive, piece.document
    read = archive.readings(request.collection, document.id).newest_revisions()
    if read:
        projector.pages([_marked(archive, request.collection, document.id, min(read))])
    missing = [page for page in range(1, document.pages + 1) if page not in read]
    ended = _with_failure(archive, piece.source, _about(failure, missing, document.pages), request)
    projector.sources([ended])
    projector.documents(request.collection, [document.id])
    return ended


def _about(failure: Failure, missing: list[int], pages: int) -> Failure:
    """Return the failure with the pages that it stands for."""
    if not missing:
        return failure.model_copy(update={"message": f"{failure.message}; its other pages keep their readings"})
    rest = f"{len(missing):,} of {pages:,} pages, from page {missing[0]:,} on, were not processed"
    return failure.model_copy(update={"message": f"{failure.message}; {rest}"})


def _with_failure(archive: Archive, source: Source, failure: Failure, request: Request) -> Source:
    def successor(newest: Source | None) -> Source | None:
        if newest is None or newest.document != source.document:
            return None  # the file was replaced, or its collection was deleted
        if newest.error == failure and newest.batch == request.batch:
            return None
        update = {
            "error": failure,
            "limits": request.recipe.limits,
            "batch": request.batch,
            "revision": newest.revision + 1,
            "observed_at": datetime.now(UTC),
        }
        return newest.model_copy(update=update)

    return archive.sources(source.collection)[source_id(source.url)].append(successor)


def _marked(archive: Archive, collection: str, document: str, page: int) -> Reading | Tombstone:
    def successor(newest: Reading | Tombstone | None) -> Reading | None:
        if not isinstance(newest, Reading) or newest.document.ended_early:
            return None
        info = newest.document.model_copy(update={"ended_early": True})
        update = {"document": info, "revision": newest.revision + 1, "archived_at": datetime.now(UTC)}
        return newest.model_copy(update=update)

    return archive.readings(collection, document).page(page).append(successor)

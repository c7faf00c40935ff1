"""The plan of a document: which of its pages are due, by comparing its newest readings with the request's recipe."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from pipeline.archive import Archive
from pipeline.core.models import Document, Failure, PageStatus, Reading, Source, Tombstone
from pipeline.core.retry import TRANSIENT_ATTEMPTS
from pipeline.pages.recipe import Request
from pipeline.pages.revisions import is_overtaken


@dataclass(frozen=True, slots=True)
class Plan:
    """The state of a document's pages for one request."""

    settled: tuple[Reading, ...]
    """Readings of pages that need no processing."""
    due: tuple[int, ...]
    """Pages to process."""
    deleted: tuple[int, ...]
    """Pages that were deleted after the batch began."""
    known: dict[int, int]
    """Newest revision of each due page that has one."""
    withheld: tuple[int, ...] = ()
    """Pages that are not processed, because the document ended early. They count as failed, by the source's error."""
    descriptions_kept: int = 0
    """How many settled pages are out of date and stay as a model described them, because no model is configured now."""


def plan(document: Document, request: Request, archive: Archive, pages: Collection[int] | None = None) -> Plan:
    """Plan a document, or only some of its pages."""
    settled: list[Reading] = []
    kept = 0
    deleted: list[int] = []
    known: dict[int, int] = {}
    due = set(range(1, document.pages + 1)) if pages is None else set(pages) & set(range(1, document.pages + 1))
    for reading in archive.readings(request.collection, document.id).newest(pages):
        if isinstance(reading, Reading) and _is_settled(reading, document, request):
            settled.append(reading)
        elif isinstance(reading, Reading) and request.keeps(reading):
            settled.append(reading)
            kept += 1
        elif isinstance(reading, Tombstone) and reading.deletion > request.deletions_seen:
            deleted.append(reading.page_number)
        else:
            known[reading.page_number] = reading.revision
            continue
        due.discard(reading.page_number)
    if due and is_overtaken(archive, request.collection, document.id, request.deletions_seen):
        deleted += due  # pages without a reading have no tombstone
        due = set()
    return Plan(tuple(settled), tuple(sorted(due)), tuple(sorted(deleted)), known, descriptions_kept=kept)


def plan_source(source: Source, request: Request, archive: Archive, pages: Collection[int] | None = None) -> Plan:
    """Plan the document of a source, or only some of its pages. If it ended early, the rest is withheld.

    In another batch than the one in which it ended, pages that were read before may be read again.
    """
    assert source.document is not None
    planned = plan(source.document, request, archive, pages)
    if source.error is None:
        return planned
    again = planned.known if source.batch != request.batch else {}
    return replace(
        planned,
        due=tuple(page for page in planned.due if page in again),
        withheld=tuple(page for page in planned.due if page not in again),
    )


def _is_settled(reading: Reading, document: Document, request: Request) -> bool:
    """Whether a page is not due: it was read with this recipe, or failed for a reason that still holds.

    A page that failed in this batch is not tried again in it. If a limit now allows more pages of a spreadsheet, its
    readings have an old page count: they are made again, from archived answers.
    """
    error = reading.error
    if reading.document.pages != document.pages:
        return False
    if reading.fingerprint != request.recipe.fingerprint_of(reading):
        return False
    if request.again and reading.trust.is_left_out and reading.batch != request.batch:
        return False
    if reading.status is not PageStatus.FAILED or error is None or reading.batch == request.batch:
        return True
    return not request.again and not _is_worth_another_try(error)


def _is_worth_another_try(error: Failure) -> bool:
    return error.transient and error.attempts < TRANSIENT_ATTEMPTS

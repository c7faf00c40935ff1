"""Decides which pages would be read differently today, and why, from the archive alone.

    sources ──▶ newest readings of their documents ──▶ fingerprint, then what differs ──▶ stale pages, newest first

A reading whose fingerprint equals that of today's recipe is current, unless it failed. A current reading that is
suspect is left alone, since reading the page again would use the same archived answers.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pipeline.archive import Archive, render_revision_of
from pipeline.core.errors import Stopped
from pipeline.core.models import BatchEntry, PageStatus, Reading
from pipeline.core.retry import CancelToken
from pipeline.core.stale_filter import Conditions, Reason
from pipeline.pages.recipe import Recipe
from pipeline.sources import is_local, source_path


@dataclass(frozen=True, slots=True)
class StaleDocument:
    """Stale pages of one document. `newest` is when the newest of them was archived, in Unix seconds."""

    url: str
    """One of the document's URLs; a file that this machine can see, if there is one."""
    pages: tuple[int, ...]
    newest: float


@dataclass(slots=True)
class StaleTally:
    """Counts of a collection's pages."""

    pages: int = 0
    stale: int = 0
    """Stale pages that match the conditions."""
    reasons: Counter[Reason] = field(default_factory=Counter)
    """Their reasons; a page may have several."""
    suspect_left: int = 0
    """Suspect pages without any other reason."""
    described_left: int = 0
    """Stale pages that a model described, while no model is configured."""


def reasons_of(reading: Reading, recipe: Recipe) -> tuple[Reason, ...]:
    """Return why a page differs from the recipe. A suspect page is stale only if there is another reason."""
    if reading.status is PageStatus.FAILED:
        return (Reason.FAILED,)
    if reading.fingerprint == recipe.fingerprint_of(reading):
        if reading.trust.is_left_out:
            return (Reason.LADDER, Reason.SUSPECT)
        return (Reason.SUSPECT,) if reading.trust.suspect else ()
    rendered = (Reason.RENDER,) if _render_revision(reading) not in (None, recipe.render_revision) else ()
    if reading.status is PageStatus.BLANK:  # no model was called, so only its image can differ
        return rendered
    found = [*_asked_differently(reading, recipe), *rendered]
    if reading.trust.suspect:
        found.append(Reason.SUSPECT)
    return tuple(found) if set(found) - {Reason.SUSPECT} else (Reason.OTHER, *found)


def _asked_differently(reading: Reading, recipe: Recipe) -> Iterator[Reason]:
    model = reading.model
    if model is None:
        return
    if model.name != recipe.reader:
        yield Reason.FALLBACK if reading.status is PageStatus.TEXT_ONLY else Reason.MODEL
        return
    if reading.status is PageStatus.DESCRIBED and model.revision != recipe.reader_revision:
        yield Reason.REVISION
    if (model.profile, model.prompt_revision) != (recipe.profile, recipe.prompt_revision):
        yield Reason.PROFILE
    if reading.language != recipe.language:
        yield Reason.LANGUAGE


def _render_revision(reading: Reading) -> int | None:
    return None if reading.image is None else render_revision_of(reading.image.key)


def stale_documents(
    archive: Archive,
    collection: str,
    recipe: Recipe,
    conditions: Conditions,
    cancel: CancelToken,
    tally: StaleTally,
    *,
    downgrade: bool = False,
) -> list[StaleDocument]:
    """Return the documents of a collection with matching stale pages, the newest first.

    Besides the result, it holds one number for each document in memory.

    Args:
        archive: has the sources and readings.
        collection: its name.
        recipe: how pages would be read today.
        conditions: which stale pages match.
        cancel: ends the search.
        tally: counts the pages.
        downgrade: whether pages that a model described are stale without a model, too. Otherwise they are left as
            they are, so that a missing key does not replace descriptions.

    Raises:
        Stopped: the run was cancelled.
    """
    seen: set[int] = set()
    found: dict[int, StaleDocument] = {}
    for identifier in archive.sources(collection).names():
        if cancel.stopped:
            raise Stopped("stopped while stale pages were looked for")
        source = archive.sources(collection)[identifier].newest()
        if source is None or source.document is None or not conditions.meet_source(source):
            continue
        number = int(source.document.id[:15], 16)
        if number in seen:  # another URL has the same document
            if number in found and not is_there(found[number].url) and is_there(source.url):
                found[number] = replace(found[number], url=source.url)
            continue
        seen.add(number)
        stale = [
            reading
            for reading in archive.readings(collection, source.document.id).newest()
            if isinstance(reading, Reading) and _matches(reading, recipe, conditions, tally, downgrade=downgrade)
        ]
        if stale:
            newest = max(reading.archived_at for reading in stale).timestamp()
            found[number] = StaleDocument(source.url, tuple(reading.page_number for reading in stale), newest)
    return sorted(found.values(), key=lambda document: document.newest, reverse=True)


def is_there(url: str) -> bool:
    """Whether this machine sees a file, or its outermost container; true for objects in buckets."""
    return not is_local(url) or os.path.lexists(source_path(url))


def _matches(reading: Reading, recipe: Recipe, conditions: Conditions, tally: StaleTally, *, downgrade: bool) -> bool:
    """Count a page, and return whether it is stale and matches."""
    tally.pages += 1
    reasons = reasons_of(reading, recipe)
    if not reasons or not conditions.meet(reading, reasons):
        return False
    if set(reasons) == {Reason.SUSPECT}:
        tally.suspect_left += 1
        return False
    if not downgrade and recipe.would_downgrade(reading):
        tally.described_left += 1
        return False
    tally.stale += 1
    tally.reasons.update(reasons)
    return True


def first_pages(documents: Sequence[StaleDocument], pages: int | None) -> Iterator[BatchEntry]:
    """Yield stale pages as the entries of a batch, at most `pages` of them; all with None."""
    left = sum(len(document.pages) for document in documents) if pages is None else pages
    for document in documents:
        if left <= 0:
            return
        yield BatchEntry(url=document.url, pages=document.pages[:left])
        left -= len(document.pages)

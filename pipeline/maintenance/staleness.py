"""Which pages were read otherwise than they would be read today, and why: decided by the archive alone.

    sources ──▶ newest readings of their documents ──▶ fingerprint, then what differs ──▶ stale pages, newest first

A reading whose fingerprint is that of today's recipe is up to date. It may still have failed; and where it is suspect,
asking once more would give the same archived answers, so that it is left.
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
    """Of several places one that this machine sees, if there is one."""
    pages: tuple[int, ...]
    newest: float


@dataclass(slots=True)
class StaleTally:
    """What was seen of the pages of a collection."""

    pages: int = 0
    stale: int = 0
    """Those that are meant."""
    reasons: Counter[Reason] = field(default_factory=Counter)
    """Why these are; a page may have several reasons."""
    suspect_left: int = 0
    """Pages that are suspect and of which nothing has changed since."""
    described_left: int = 0
    """Pages that a model read otherwise than it would today, while none is configured."""


def reasons_of(reading: Reading, recipe: Recipe) -> tuple[Reason, ...]:
    """Return why a page is not as the recipe would have it; a page that is suspect is stale only for more than that."""
    if reading.status is PageStatus.FAILED:
        return (Reason.FAILED,)
    if reading.fingerprint == recipe.fingerprint_of(reading):
        return (Reason.SUSPECT,) if reading.trust.suspect else ()
    rendered = (Reason.RENDER,) if _render_revision(reading) not in (None, recipe.render_revision) else ()
    if reading.status is PageStatus.BLANK:  # nobody was asked, so only its image can differ
        return rendered
    found = [*_asked_otherwise(reading, recipe), *rendered]
    if reading.trust.suspect:
        found.append(Reason.SUSPECT)
    return tuple(found) if set(found) - {Reason.SUSPECT} else (Reason.OTHER, *found)


def _asked_otherwise(reading: Reading, recipe: Recipe) -> Iterator[Reason]:
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
    describes: bool,
) -> list[StaleDocument]:
    """Return the documents of a collection with stale pages that are meant, the newest first.

    Memory is that of what is returned, and of one number for each document.

    Args:
        archive: tells where documents lie and how they were read.
        collection: which one.
        recipe: how pages would be read today.
        conditions: which pages are meant.
        patience: its end ends the search.
        tally: counts what is seen.
        describes: whether a vision model would be asked. Otherwise what one has described is left as it is: nobody is
            to lose it since a key is missing.

    Raises:
        Stopped: the patience has ended.
    """
    seen: set[int] = set()
    found: dict[int, StaleDocument] = {}
    for identifier in archive.source_ids(collection):
        if cancel.stopped:
            raise Stopped("stopped while stale pages were looked for")
        source = archive.source(collection, identifier)
        if source is None or source.document is None or not conditions.meet_source(source):
            continue
        number = int(source.document.id[:15], 16)
        if number in seen:  # it lies in several places
            if number in found and not is_there(found[number].url) and is_there(source.url):
                found[number] = replace(found[number], url=source.url)
            continue
        seen.add(number)
        stale = [
            reading
            for reading in archive.readings(collection, source.document.id)
            if isinstance(reading, Reading) and _is_meant(reading, recipe, conditions, tally, describes=describes)
        ]
        if stale:
            newest = max(reading.archived_at for reading in stale).timestamp()
            found[number] = StaleDocument(source.url, tuple(reading.page_number for reading in stale), newest)
    return sorted(found.values(), key=lambda document: document.newest, reverse=True)


def is_there(url: str) -> bool:
    """Whether this machine sees a file, or its outermost container; objects are taken to be where they were."""
    return not is_local(url) or os.path.lexists(source_path(url))


def _is_meant(reading: Reading, recipe: Recipe, conditions: Conditions, tally: StaleTally, *, describes: bool) -> bool:
    """Whether a page is stale and meant; either way it is counted."""
    tally.pages += 1
    reasons = reasons_of(reading, recipe)
    if not reasons or not conditions.meet(reading, reasons):
        return False
    if set(reasons) == {Reason.SUSPECT}:
        tally.suspect_left += 1
        return False
    if not describes and reading.status is PageStatus.DESCRIBED:
        tally.described_left += 1
        return False
    tally.stale += 1
    tally.reasons.update(reasons)
    return True


def first_pages(documents: Sequence[StaleDocument], pages: int | None) -> Iterator[BatchEntry]:
    """Yield the first stale pages as what a batch is to work, not more than so many where there is a bound."""
    left = sum(len(document.pages) for document in documents) if pages is None else pages
    for document in documents:
        if left <= 0:
            return
        yield BatchEntry(url=document.url, pages=document.pages[:left])
        left -= len(document.pages)

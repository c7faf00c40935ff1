"""A new generation of indices from the archive, beside live traffic, and the way back.

    fill the new indices from the archive            nobody sees them
    apply what differs from the archive              again and again, until it is little
    compare counts, a sample of records, searches
    show the new indices in place of the live ones   one request, all aliases
    apply what differs from the archive              what was written to the former ones meanwhile

Writers know only the aliases, and each archives a revision before it writes the record. So what came before the new
indices were shown is in the archive when the last difference is taken, and what comes later is written to them: nothing
is lost, and nobody has to write twice or to wait. What was deleted is a revision as well. Killed anywhere, what is live
is whole, and what was being filled is seen by nobody and deleted by the next run.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TypeVar

from pipeline.core.errors import Overtaken, PagesightError, RecordRefused, ServiceRefused, SettingsError
from pipeline.core.models import Failure, Reading
from pipeline.core.retry import ELASTICSEARCH_WAITS_SECONDS, Waiting, retry_until_available
from pipeline.core.threads import repeating
from pipeline.projection.catch_up import Reconciler, ReconcileResult
from pipeline.projection.projector import CHUNK, Projector
from pipeline.projection.records import page_id, page_record
from pipeline.search import BATCHES, DOCUMENTS, PAGES, RUNS, SOURCES, Generation, Generations, State

T = TypeVar("T")
#: Told of the step that goes on (`filling`, `comparing`, `following`) and of how many pages were looked at in it.
Advance = Callable[[str, int], None]

#: Whoever fills indices says so often that it lives, …
BEAT_SECONDS = 3.0
#: … and is taken for dead once nothing was heard of it for so long. One that is not loses its work, and says so.
SILENCE_SECONDS = 20.0
#: Records that may differ when the new indices are shown: the last difference is then applied within a second or two.
FEW = CHUNK
#: Pages whose records are compared word for word, and searched for, before new indices are shown.
SAMPLE = 50
#: Words of a page that it is searched by.
SAMPLE_WORDS = 3
#: What depends on when a record was made, and with which settings and analyzers: one that is kept may have others.
NOT_COMPARED = frozenset({"indexed_at", "view", "i18n"})
#: How often new indices may disagree with the archive. A deletion that is carried out meanwhile explains one.
COMPARISONS = 3


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What came of it."""

    indices: tuple[str, ...]
    """What is live now."""
    former: tuple[str, ...] = ()
    """What was live before, and is kept for the way back."""
    pages: int = 0
    """Pages that have a record now."""
    written: int = 0
    """Records of pages that were written or deleted."""
    refused: Mapping[str, Failure] = field(default_factory=dict)
    """By record id, what Elasticsearch refused."""
    changes: tuple[str, ...] = ()
    """What the installation changed, in words."""
    pruned: tuple[str, ...] = ()
    """Indices that were deleted in the end."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Intended:
    """What would be done."""

    live: tuple[str, ...]
    """What is live."""
    shown: tuple[str, ...] = ()
    """What would be live in its place."""
    written: int = 0
    """Records of pages that would be written or deleted."""
    deleted: tuple[str, ...] = ()
    """Indices that would be deleted."""


def reindex(
    projector: Projector,
    collections: Sequence[str] | None = None,
    advance: Advance = lambda step, pages: None,
    keep: int | None = None,
) -> Reindexed:
    """Make new indices from the archive and show them in place of the live ones.

    With collections, or where nothing is live, the live indices are brought up to date instead. `keep` deletes in the
    end all former generations but so many; None: none.

    Raises:
        Overtaken: another process has changed the indices first; those that were made here are deleted.
        ServiceRefused: Elasticsearch refuses, or the new indices are not what the archive says: they are deleted. Or
            the archive is empty and the live indices are not.
        Stopped: the patience has ended; likewise.
    """
    began = time.monotonic()
    generations = projector.index.generations
    nothing_live = not _ask(projector, generations.live)
    changes = _ask(projector, projector.index.install if collections else projector.index.prepare)
    if collections or nothing_live:
        found = _level_live(projector, collections, partial(advance, "following"))
        projector.refresh()
        former: tuple[str, ...] = ()
    else:
        _refuse_lost_archive(projector)
        _clear(projector)
        former = tuple(sorted(_ask(projector, generations.live).values()))
        found = _fill_and_show(projector, advance)
    pruned = () if keep is None else prune(projector, keep)
    return _reindexed(projector, found, began, former=former, changes=changes, pruned=pruned)


def rollback(projector: Projector, advance: Advance = lambda step, pages: None) -> Reindexed:
    """Show the generation again that was live before, having brought it up to date: nothing written since is lost.

    Raises:
        SettingsError: there is none.
        ServiceRefused: another version of Pagesight made it, Elasticsearch refuses, or it is not what the archive says.
        Overtaken: another process has changed the indices first.
        Stopped: the patience has ended.
    """
    began = time.monotonic()
    target = _former(projector)
    former = tuple(sorted(_ask(projector, projector.index.generations.live).values()))
    found = _bring_up_and_show(projector, target, State.KEPT, advance)
    return _reindexed(projector, found, began, former=former)


def prune(projector: Projector, keep: int) -> tuple[str, ...]:
    """Delete former generations, all but the `keep` that `rollback` would come to first, and what dead runs left.

    Returns the names of the indices.
    """
    cleared = _clear(projector)
    generations = projector.index.generations
    doomed = _prunable(_ask(projector, generations.all), keep)
    for generation in doomed:
        cleared += _ask(projector, partial(generations.drop, generation))
    return tuple(cleared)


def intended(projector: Projector, collections: Sequence[str] | None, advance: Advance) -> Intended:
    """Return what `reindex` would do. Nothing is changed."""
    found = _ask(projector, projector.index.generations.all)
    live = _names(found, State.LIVE)
    in_place = bool(collections) or not live
    counting = Reconciler(projector, in_use=True, empty=not (in_place and live), writes=False)
    written = counting.level(collections, partial(advance, "comparing")).written
    number = max((generation.number for generation in found), default=0) + 1
    shown = live if live and in_place else projector.index.generations.names(number)
    return Intended(live, shown, written, () if in_place else _names(found, State.FILLING))


def intended_rollback(projector: Projector, advance: Advance) -> Intended:
    """Return what `rollback` would do; raises what it does. Nothing is changed."""
    target = _former(projector)
    counting = Reconciler(projector.of(projector.index.of(target, State.KEPT)), in_use=False, writes=False)
    written = counting.level(None, partial(advance, "comparing")).written
    live = _names(_ask(projector, projector.index.generations.all), State.LIVE)
    return Intended(live, tuple(sorted(target.indices)), written)


def intended_prune(projector: Projector, keep: int) -> Intended:
    """Return what `prune` would do; of what is being filled it deletes only what is dead. Nothing is changed."""
    found = _ask(projector, projector.index.generations.all)
    doomed = [name for generation in _prunable(found, keep) for name in generation.indices]
    return Intended(_names(found, State.LIVE), deleted=(*doomed, *_names(found, State.FILLING, State.DROPPED)))


# -- new indices


def _refuse_lost_archive(projector: Projector) -> None:
    """Keep an archive that is lost, or not mounted, from taking everything that is found with it."""
    if not projector.archive.collections() and _ask(projector, partial(projector.index.count, PAGES)):
        raise ServiceRefused(
            "archive",
            f"the archive at {projector.archive.url} is empty and the indices are not: nothing would be found any more",
            remedy="See that PAGESIGHT_ARCHIVE is right. Where the archive is lost: docs/operations.md, Backing up.",
        )


def _fill_and_show(projector: Projector, advance: Advance) -> ReconcileResult:
    """Fill a new generation and show it; delete it where that fails."""
    generations = projector.index.generations
    generation = _ask(projector, partial(generations.create, _made_by()))
    try:
        with _beating(generations, generation, _made_by()):
            return _bring_up_and_show(projector, generation, State.FILLING, advance)
    except BaseException as error:
        if _abandon(generations, generation) and isinstance(error, ServiceRefused):
            raise Overtaken(
                error.service,
                "another process took this one for dead, since nothing was heard of it, and deleted its indices",
                remedy="What is live is whole. Run the same command again.",
            ) from error
        raise


def _made_by() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _beating(generations: Generations, generation: Generation, made_by: str) -> AbstractContextManager[None]:
    """Say every few seconds that we live. A beat that cannot be told is none: the next one may."""
    beats = count(1)

    def beat() -> None:
        with suppress(PagesightError):
            generations.beat(generation, next(beats), made_by)

    return repeating(beat, BEAT_SECONDS)


def _abandon(generations: Generations, generation: Generation) -> bool:
    """Delete what was made here unless it is live by now; return whether somebody else has deleted it before."""
    with suppress(PagesightError):
        found = [other for other in generations.all() if other.number == generation.number]
        if not any(other.has(State.FILLING) or other.has(State.LIVE) for other in found):
            return True
        generations.drop(generation)
    return False


def _bring_up_and_show(projector: Projector, generation: Generation, state: State, advance: Advance) -> ReconcileResult:
    """Bring a generation that is not live up to the archive, show it, and apply what was written meanwhile."""
    index = projector.index
    live = _ask(projector, index.generations.live)
    hidden = projector.of(index.of(generation, state))
    found = _level_hidden(hidden, generation, empty=state is State.FILLING, advance=advance)
    found = _require_agreement(hidden, found, advance)
    _ask(projector, partial(index.generations.show, generation, state, live))
    index.look_again()
    last = _level_live(projector, None, partial(advance, "following"))
    projector.refresh()
    return found.followed_by(last)


def _level_hidden(hidden: Projector, generation: Generation, *, empty: bool, advance: Advance) -> ReconcileResult:
    """Apply what differs until it is little, or does not become less."""
    found = Reconciler(hidden, in_use=False, empty=empty).level(None, partial(advance, "filling"))
    while not _ask(hidden, partial(hidden.index.generations.finish, generation)):
        hidden.cancel.wait(0, Waiting("elasticsearch", "copies of the new shards", time.time()))
    before = found.written
    while True:
        last = Reconciler(hidden, in_use=False).level(None, partial(advance, "following"))
        found = found.followed_by(last)
        if last.written <= FEW or last.written >= before:
            return found
        before = last.written


def _level_live(
    projector: Projector, collections: Sequence[str] | None, advance: Callable[[int], None]
) -> ReconcileResult:
    return Reconciler(projector, in_use=True).level(collections, advance)


# -- comparing


def _require_agreement(hidden: Projector, found: ReconcileResult, advance: Advance) -> ReconcileResult:
    """Return what was found in the end.

    Raises:
        ServiceRefused: the indices are not what the archive says.
    """
    for _ in range(COMPARISONS):
        hidden.refresh()
        differing = _ask(hidden, partial(_disagreements, hidden, found.records))
        if not differing:
            return found
        found = found.followed_by(Reconciler(hidden, in_use=False).level(None, partial(advance, "following")))
    raise ServiceRefused(
        "elasticsearch",
        f"the new indices are not what the archive says, and are not shown: {'; '.join(differing[:5])}",
        remedy="Look at Elasticsearch's log, then run the same command again. What is live was not touched.",
    )


def _disagreements(hidden: Projector, records: Counter[str]) -> list[str]:
    """Return in words how indices that nobody writes to but us differ from what was to be written."""
    counts = {alias: hidden.index.count(alias) for alias in (PAGES, SOURCES, DOCUMENTS, BATCHES, RUNS)}
    return [
        *(
            f"there are to be {records[alias]} {alias}, and {count} are found"
            for alias, count in counts.items()
            if count != records[alias]
        ),
        *_disagreements_of_pages(hidden, list(_sampled(hidden))),
    ]


def _sampled(hidden: Projector) -> Iterator[Reading]:
    """Yield the newest readings of some pages, by chance."""
    archive = hidden.archive
    documents = [(name, document) for name in archive.collections() for document in archive.documents(name)]
    for name, document in random.sample(documents, min(SAMPLE, len(documents))):
        page, revision = random.choice(sorted(archive.revisions(name, document).items()))
        reading = archive.reading(name, document, page, revision)
        if isinstance(reading, Reading):
            yield reading


def _disagreements_of_pages(hidden: Projector, readings: Sequence[Reading]) -> Iterator[str]:
    """Yield in words how the records of these pages differ from their readings, and which of them are not found."""
    index = hidden.index
    by_id = {page_id(reading.collection, reading.document.id, reading.page_number): reading for reading in readings}
    searched: dict[str, str] = {}
    for key, (version, found) in index.records(PAGES, list(by_id)).items():
        reading = by_id[key]
        if version != reading.revision or found.get("error", {}).get("type") == RecordRefused.code:
            continue  # archived since, or refused: both are told elsewhere
        wanted = page_record(reading, index.languages, hidden.signer, reading.archived_at)
        differing = sorted(name for name in {*wanted, *found} - NOT_COMPARED if wanted.get(name) != found.get(name))
        if differing:
            yield f"{key} has another {differing[0]}"
        elif words := _words(reading.description or reading.text or ""):
            searched[key] = words
    for key in searched.keys() - index.queries.found(searched):
        yield f"{key} is not found by {searched[key]!r}"


def _words(text: str) -> str:
    """Return some words that mean themselves in a search: letters only, and whole."""
    return " ".join([word for word in text.split() if word.isalpha() and 3 <= len(word) <= 30][:SAMPLE_WORDS])


# -- former indices


def _former(projector: Projector) -> Generation:
    """Return the generation that was live before, if it can be shown again."""
    found = _ask(projector, projector.index.generations.all)
    number = _previous(found)
    target = next((generation for generation in found if generation.number == number), None)
    if target is None or not target.is_whole(State.KEPT):
        raise SettingsError(
            "no former indices are kept that could be shown again",
            remedy="`pagesight reindex` makes new ones from the archive.",
        )
    for name, schema in target.schemas.items():
        ours = projector.index.generations.schema_of(name)
        if schema != ours:
            raise ServiceRefused(
                "elasticsearch",
                f"the index {name} has the schema version {schema}; this version of Pagesight writes {ours}",
                remedy="Run `pagesight reindex --rollback` of the version of Pagesight that made it.",
            )
    return target


def _previous(found: Sequence[Generation]) -> int | None:
    """Return the number of the generation that was live before the one that is."""
    return next((generation.previous for generation in reversed(found) if generation.has(State.LIVE)), None)


def _prunable(found: Sequence[Generation], keep: int) -> list[Generation]:
    """Return the kept generations but those that going back `keep` times would come to."""
    kept = {generation.number: generation for generation in found if generation.has(State.KEPT)}
    number = _previous(found)
    for _ in range(keep):
        spared = kept.pop(number or 0, None)
        number = spared.previous if spared else None
    return list(kept.values())


def _clear(projector: Projector) -> list[str]:
    """Delete what dead runs have left; return the names of the indices. Whoever lives is left alone."""
    generations = projector.index.generations
    found = _ask(projector, generations.all)
    beats = {generation.number: generation.beat for generation in found if generation.has(State.FILLING)}
    if beats:
        why = f"a sign of life of what fills {', '.join(_names(found, State.FILLING))}"
        projector.cancel.wait(SILENCE_SECONDS, Waiting("elasticsearch", why, time.time()))
    cleared: list[str] = []
    for generation in _ask(projector, generations.all):
        is_dead = generation.number in beats and generation.beat == beats[generation.number]
        if generation.has(State.DROPPED) or (is_dead and generation.has(State.FILLING)):
            with suppress(Overtaken):  # it has come to life, or another one deletes it
                cleared += _ask(projector, partial(generations.drop, generation))
    return cleared


# -- beneath


def _ask(projector: Projector, call: Callable[[], T]) -> T:
    return retry_until_available(call, projector.cancel, ELASTICSEARCH_WAITS_SECONDS)


def _names(found: Sequence[Generation], *states: State) -> tuple[str, ...]:
    return tuple(sorted(name for one in found for name, state in one.indices.items() if state in states))


def _reindexed(
    projector: Projector,
    found: ReconcileResult,
    began: float,
    *,
    former: tuple[str, ...] = (),
    changes: tuple[str, ...] = (),
    pruned: tuple[str, ...] = (),
) -> Reindexed:
    return Reindexed(
        indices=tuple(sorted(_ask(projector, projector.index.generations.live).values())),
        former=former,
        pages=found.records[PAGES],
        written=found.written,
        refused=found.refused,
        changes=changes,
        pruned=pruned,
        seconds=time.monotonic() - began,
    )

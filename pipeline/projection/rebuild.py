"""Builds a new generation of indices from the archive beside live traffic, and rolls back to a former generation.

    fill the new indices from the archive            searches and writers do not see them
    apply the differences from the archive           repeated until they are few
    compare counts, a sample of records, searches
    switch all aliases to the new indices            one request
    apply the differences from the archive           records that were written to the former indices meanwhile

Writers use only the aliases, and archive each revision before they write its record. So every record that a writer
wrote before the switch has its revision in the archive when the last differences are applied. Records after the switch
are written to the new indices. Nothing is lost, and writers neither write twice nor wait. Deletions are revisions too.
If the process is killed at any point, the live indices are complete, and the next run deletes the unfinished ones.
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
from typing import TYPE_CHECKING, TypeVar

from pipeline.core.errors import Overtaken, PagesightError, RecordRefused, ServiceRefused, SettingsError
from pipeline.core.models import Failure, Reading
from pipeline.core.retry import ELASTICSEARCH_WAITS_SECONDS, Waiting, retry_until_available
from pipeline.core.threads import repeating
from pipeline.projection.catch_up import Reconciler, ReconcileResult
from pipeline.projection.projector import CHUNK, Projector
from pipeline.projection.records import page_id, page_record
from pipeline.search import BATCHES, DOCUMENTS, PAGES, RUNS, SOURCES, State

if TYPE_CHECKING:
    from pipeline.search.generations import Generation, Generations

T = TypeVar("T")
#: Called with the current step (`filling`, `comparing`, `following`) and the number of pages compared in it.
Advance = Callable[[str, int], None]

#: Seconds between two heartbeats of a process that fills indices.
BEAT_SECONDS = 3.0
#: Seconds without a heartbeat after which that process counts as dead. If it is alive, it loses its work and reports
#: that.
SILENCE_SECONDS = 20.0
#: Maximum number of differing records at the switch of aliases. Applying the last ones then takes one or two seconds.
FEW = CHUNK
#: Number of pages whose records are compared and searched for before the switch.
SAMPLE = 50
#: Number of a page's words that a search for it contains.
SAMPLE_WORDS = 3
#: Fields that depend on the time, settings or analyzers when a record was made, and may differ in kept indices.
NOT_COMPARED = frozenset({"embedding", "indexed_at", "view", "i18n"})
#: Number of failed comparisons after which the run ends. A deletion during the run can explain one failure.
COMPARISONS = 3


@dataclass(frozen=True, slots=True)
class Reindexed:
    """Result of a re-index or rollback."""

    indices: tuple[str, ...]
    """Live indices."""
    former: tuple[str, ...] = ()
    """Indices that were live before and are kept for a rollback."""
    pages: int = 0
    """Pages with a record."""
    written: int = 0
    """Records of pages that were written or deleted."""
    refused: Mapping[str, Failure] = field(default_factory=dict)
    """Records that Elasticsearch refused, by id."""
    changes: tuple[str, ...] = ()
    """Changes that the installation made, in words."""
    pruned: tuple[str, ...] = ()
    """Deleted former indices."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Intended:
    """Effects that a run would have."""

    live: tuple[str, ...]
    """Live indices."""
    shown: tuple[str, ...] = ()
    """Indices that would be live afterwards."""
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
    """Build new indices from the archive, and switch the aliases to them.

    If collections are given, or no indices are live, no generation is built: the live indices, which are created if
    necessary, are updated. At the end, former generations are deleted, except the `keep` that `rollback` reaches first;
    with None all are kept.

    Raises:
        Overtaken: another process changed the indices first; the new indices are deleted.
        ServiceRefused: Elasticsearch refuses, or the new indices differ from the archive and are deleted, or the
            archive is empty and the live indices are not.
        Stopped: the run was cancelled; the new indices are deleted.
    """
    began = time.monotonic()
    generations = projector.index.generations
    nothing_live = not _ask(projector, generations.live)
    changes = _ask(projector, projector.index.ensure if collections else projector.index.prepare)
    if collections or nothing_live:
        found = _update_live(projector, collections, partial(advance, "following"))
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
    """Update the generation that was live before, and switch the aliases back to it. No record is lost.

    Raises:
        SettingsError: no such generation is kept.
        ServiceRefused: another version of Pagesight made it, Elasticsearch refuses, or it differs from the archive.
        Overtaken: another process changed the indices first.
        Stopped: the run was cancelled.
    """
    began = time.monotonic()
    target = _former(projector)
    former = tuple(sorted(_ask(projector, projector.index.generations.live).values()))
    found = _bring_up_and_show(projector, target, State.KEPT, advance)
    return _reindexed(projector, found, began, former=former)


def prune(projector: Projector, keep: int) -> tuple[str, ...]:
    """Delete former generations, except for the `keep` that `rollback` reaches first, and indices of dead runs.

    Returns the names of the deleted indices.
    """
    cleared = _clear(projector)
    generations = projector.index.generations
    doomed = _prunable(_ask(projector, generations.all), keep)
    for generation in doomed:
        cleared += _ask(projector, partial(generations.drop, generation))
    return tuple(cleared)


def intended(projector: Projector, collections: Sequence[str] | None, advance: Advance) -> Intended:
    """Return the effects that `reindex` would have. Nothing is changed."""
    found = _ask(projector, projector.index.generations.all)
    live = _names(found, State.LIVE)
    in_place = bool(collections) or not live
    counting = Reconciler(projector, in_use=True, empty=not (in_place and live), writes=False)
    written = counting.reconcile(collections, partial(advance, "comparing")).written
    number = max((generation.number for generation in found), default=0) + 1
    shown = live if live and in_place else projector.index.generations.names(number)
    return Intended(live, shown, written, () if in_place else _names(found, State.FILLING))


def intended_rollback(projector: Projector, advance: Advance) -> Intended:
    """Return the effects that `rollback` would have. Nothing is changed. Raises `SettingsError` as `rollback` does."""
    target = _former(projector)
    counting = Reconciler(projector.of(projector.index.of(target, State.KEPT)), in_use=False, writes=False)
    written = counting.reconcile(None, partial(advance, "comparing")).written
    live = _names(_ask(projector, projector.index.generations.all), State.LIVE)
    return Intended(live, tuple(sorted(target.indices)), written)


def intended_prune(projector: Projector, keep: int) -> Intended:
    """Return the effects that `prune` would have. Nothing is changed.

    Indices that a live run fills are listed too, although `prune` does not delete them.
    """
    found = _ask(projector, projector.index.generations.all)
    doomed = [name for generation in _prunable(found, keep) for name in generation.indices]
    return Intended(_names(found, State.LIVE), deleted=(*doomed, *_names(found, State.FILLING, State.DROPPED)))


# -- new indices


def _refuse_lost_archive(projector: Projector) -> None:
    """Refuse an empty archive while the indices have pages: it may be lost or not mounted."""
    if not projector.archive.collections.names() and _ask(projector, partial(projector.index.count, PAGES)):
        raise ServiceRefused(
            "archive",
            f"the archive at {projector.archive.url} is empty and the indices are not: no page would be found",
            remedy="Check PAGESIGHT_ARCHIVE. For a lost archive see docs/operations.md, Backing up.",
        )


def _fill_and_show(projector: Projector, advance: Advance) -> ReconcileResult:
    """Fill a new generation and switch to it; delete it on failure."""
    generations = projector.index.generations
    generation = _ask(projector, partial(generations.create, _made_by()))
    try:
        with _beating(generations, generation, _made_by()):
            return _bring_up_and_show(projector, generation, State.FILLING, advance)
    except BaseException as error:
        if _abandon(generations, generation) and isinstance(error, ServiceRefused):
            raise Overtaken(
                error.service,
                "another process received no heartbeat from this one, and deleted its indices",
                remedy="The live indices are complete. Run the same command again.",
            ) from error
        raise


def _made_by() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _beating(generations: Generations, generation: Generation, made_by: str) -> AbstractContextManager[None]:
    """Send a heartbeat every few seconds. A failed one is ignored, since the next one may succeed."""
    beats = count(1)

    def beat() -> None:
        with suppress(PagesightError):
            generations.beat(generation, next(beats), made_by)

    return repeating(beat, BEAT_SECONDS)


def _abandon(generations: Generations, generation: Generation) -> bool:
    """Delete the new generation unless it is live. Return whether another process has already deleted it."""
    with suppress(PagesightError):
        found = [other for other in generations.all() if other.number == generation.number]
        if not any(other.has(State.FILLING) or other.has(State.LIVE) for other in found):
            return True
        generations.drop(generation)
    return False


def _bring_up_and_show(projector: Projector, generation: Generation, state: State, advance: Advance) -> ReconcileResult:
    """Update a hidden generation, switch to it, and apply the differences that arose meanwhile."""
    index = projector.index
    live = _ask(projector, index.generations.live)
    hidden = projector.of(index.of(generation, state))
    found = _update_hidden(hidden, generation, empty=state is State.FILLING, advance=advance)
    found = _require_agreement(hidden, found, advance)
    _ask(projector, partial(index.generations.show, generation, state, live))
    index.look_again()
    last = _update_live(projector, None, partial(advance, "following"))
    projector.refresh()
    return found.followed_by(last)


def _update_hidden(hidden: Projector, generation: Generation, *, empty: bool, advance: Advance) -> ReconcileResult:
    """Apply differences until they are few, or no longer decrease."""
    found = Reconciler(hidden, in_use=False, empty=empty).reconcile(None, partial(advance, "filling"))
    while not _ask(hidden, partial(hidden.index.generations.finish, generation)):
        hidden.cancel.wait(0, Waiting("elasticsearch", "copies of the new shards", time.time()))
    before = found.written
    while True:
        last = Reconciler(hidden, in_use=False).reconcile(None, partial(advance, "following"))
        found = found.followed_by(last)
        if last.written <= FEW or last.written >= before:
            return found
        before = last.written


def _update_live(
    projector: Projector, collections: Sequence[str] | None, advance: Callable[[int], None]
) -> ReconcileResult:
    return Reconciler(projector, in_use=True).reconcile(collections, advance)


# -- comparing


def _require_agreement(hidden: Projector, found: ReconcileResult, advance: Advance) -> ReconcileResult:
    """Return the result after comparing the hidden indices with the archive.

    Raises:
        ServiceRefused: they differ.
    """
    for _ in range(COMPARISONS):
        hidden.refresh()
        differing = _ask(hidden, partial(_disagreements, hidden, found.records))
        if not differing:
            return found
        found = found.followed_by(Reconciler(hidden, in_use=False).reconcile(None, partial(advance, "following")))
    raise ServiceRefused(
        "elasticsearch",
        f"the new indices differ from the archive and do not become live: {'; '.join(differing[:5])}",
        remedy="Read Elasticsearch's log, then run the same command again. The live indices are unchanged.",
    )


def _disagreements(hidden: Projector, records: Counter[str]) -> list[str]:
    """Describe the differences of the hidden indices, to which only this process writes, from the archive."""
    counts = {alias: hidden.index.count(alias) for alias in (PAGES, SOURCES, DOCUMENTS, BATCHES, RUNS)}
    return [
        *(
            f"{alias}: {records[alias]} are expected and {count} found"
            for alias, count in counts.items()
            if count != records[alias]
        ),
        *_disagreements_of_pages(hidden, list(_sampled(hidden))),
    ]


def _sampled(hidden: Projector) -> Iterator[Reading]:
    """Yield the newest readings of a random sample of pages."""
    archive = hidden.archive
    documents = [(name, document) for name in archive.collections.names() for document in archive.documents(name)]
    for name, document in random.sample(documents, min(SAMPLE, len(documents))):
        page, revision = random.choice(sorted(archive.readings(name, document).newest_revisions().items()))
        reading = archive.readings(name, document).page(page).revision(revision)
        if isinstance(reading, Reading):
            yield reading


def _disagreements_of_pages(hidden: Projector, readings: Sequence[Reading]) -> Iterator[str]:
    """Describe differences of some pages' records from their readings, and name the pages that a search misses."""
    index = hidden.index
    by_id = {page_id(reading.collection, reading.document.id, reading.page_number): reading for reading in readings}
    searched: dict[str, str] = {}
    for key, (version, found) in index.records(PAGES, list(by_id)).items():
        reading = by_id[key]
        if version != reading.revision or found.get("error", {}).get("type") == RecordRefused.code:
            continue  # the reading was archived after its record was written, or the record was refused
        wanted = page_record(reading, index.languages, hidden.signer, reading.archived_at)
        differing = sorted(name for name in {*wanted, *found} - NOT_COMPARED if wanted.get(name) != found.get(name))
        if differing:
            yield f"{key} has another {differing[0]}"
        elif words := _words(reading.description or reading.text or ""):
            searched[key] = words
    for key in searched.keys() - index.queries.found(searched):
        yield f"{key} is not found by {searched[key]!r}"


def _words(text: str) -> str:
    """Return the first words of a text that consist of letters only, and so have no special meaning in a search."""
    return " ".join([word for word in text.split() if word.isalpha() and 3 <= len(word) <= 30][:SAMPLE_WORDS])


# -- former indices


def _former(projector: Projector) -> Generation:
    """Return the generation that was live before, if it can be live again."""
    found = _ask(projector, projector.index.generations.all)
    number = _previous(found)
    target = next((generation for generation in found if generation.number == number), None)
    if target is None or not target.is_whole(State.KEPT):
        raise SettingsError(
            "no former indices are kept for a rollback",
            remedy="`pagesight reindex` makes new ones from the archive.",
        )
    for name, schema in target.schemas.items():
        ours = projector.index.generations.schema_of(name)
        if schema != ours:
            raise ServiceRefused(
                "elasticsearch",
                f"the index {name} has the schema version {schema}; this version of Pagesight writes {ours}",
                remedy="Run `pagesight reindex --rollback` with the version of Pagesight that made it.",
            )
    return target


def _previous(found: Sequence[Generation]) -> int | None:
    """Return the number of the generation that was live before the current one."""
    return next((generation.previous for generation in reversed(found) if generation.has(State.LIVE)), None)


def _prunable(found: Sequence[Generation], keep: int) -> list[Generation]:
    """Return the kept generations beyond the reach of `keep` rollbacks."""
    kept = {generation.number: generation for generation in found if generation.has(State.KEPT)}
    number = _previous(found)
    for _ in range(keep):
        spared = kept.pop(number or 0, None)
        number = spared.previous if spared else None
    return list(kept.values())


def _clear(projector: Projector) -> list[str]:
    """Delete the indices of dead runs, and return their names. Live runs are not touched."""
    generations = projector.index.generations
    found = _ask(projector, generations.all)
    beats = {generation.number: generation.beat for generation in found if generation.has(State.FILLING)}
    if beats:
        why = f"a heartbeat of the process that fills {', '.join(_names(found, State.FILLING))}"
        projector.cancel.wait(SILENCE_SECONDS, Waiting("elasticsearch", why, time.time()))
    cleared: list[str] = []
    for generation in _ask(projector, generations.all):
        is_dead = generation.number in beats and generation.beat == beats[generation.number]
        if generation.has(State.DROPPED) or (is_dead and generation.has(State.FILLING)):
            with suppress(Overtaken):  # it is alive after all, or another process deletes it
                cleared += _ask(projector, partial(generations.drop, generation))
    return cleared


# -- helpers


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

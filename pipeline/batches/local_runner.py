"""The runner without a broker: one process walks, registers and works.

    walk ─▶ register ─▶ plan ─▶ (queue of ranges) ─▶ process_unit, several at a time

One thread walks and registers, several process work units; the threads of `PageServices.pages` read their pages.
The queue between them is bounded, so that memory stays flat however long the walk is.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from pipeline.archive import source_id
from pipeline.core.errors import ServiceRefused, Stopped
from pipeline.core.models import (
    BatchEntry,
    Document,
    DocumentStatus,
    Failure,
    PageSlice,
    PageStatus,
    Reading,
    Source,
    WorkUnit,
)
from pipeline.pages.paths import leave, with_place
from pipeline.pages.plan import plan
from pipeline.pages.process import UNIT_PAGES, PageServices, UnitOutcome, process_unit
from pipeline.pages.recipe import Request
from pipeline.pages.registration import members_of, register, source_failed, vanished_sources
from pipeline.pages.revisions import forget_source
from pipeline.projection.records import document_status
from pipeline.projection.verify import Verification
from pipeline.sources import FoundFile, walk

#: Ranges that registration may be ahead of the work: it makes the total, and so the ETA, known early.
UNITS_AHEAD = 1000
_TICK_SECONDS = 0.25


@dataclass(slots=True)
class RunTally:
    """What a run has come to so far. Written by the run's threads, read by whoever shows it."""

    pages_found: int = 0
    pages_unchanged: int = 0
    pages: Counter[PageStatus] = field(default_factory=Counter)
    documents: Counter[DocumentStatus] = field(default_factory=Counter)
    cached_answers: int = 0
    walked: bool = False
    """True once every source is known, and with it the number of pages."""
    used_up: str = ""
    """Which budget of the run has no room for more, in words; empty where none was met."""

    @property
    def pages_done(self) -> int:
        """Pages that ended, or had ended before."""
        return self.pages.total()

    @property
    def pages_unfinished(self) -> int:
        """Pages found and not ended."""
        return self.pages_found - self.pages_done


def run_batch(
    roots: Iterable[str],
    excluded: Iterable[str],
    request: Request,
    tools: PageServices,
    units_at_once: int,
    tally: RunTally,
    tick: Callable[[], None],
    *,
    entries: Iterable[BatchEntry] = (),
    max_pages: int | None = None,
) -> None:
    """Work everything below the roots, given by their URLs; `tick` is called a few times a second, in this thread.

    A stop (`PageServices.cancel`) lets what is in flight end; the rest is counted as unfinished. So is the rest once
    `max_pages` pages are on their way: nothing is looked for any further, and `tally.used_up` says so.

    Args:
        entries: sources that are worked besides, or some of their pages, and not what lies within them.
        max_pages: how many pages may be worked; any number when None.

    Raises:
        ServiceRefused: a service says no to everything. What was finished is archived.
    """
    run = _LocalRun(request, tools, tally, units_at_once, max_pages)
    with ThreadPoolExecutor(units_at_once + 1, thread_name_prefix="pagesight") as pool:
        pending = {pool.submit(run.discover, roots, tuple(excluded), entries)}
        pending |= {pool.submit(run.work) for _ in range(units_at_once)}
        while pending:
            _, pending = wait(pending, _TICK_SECONDS, FIRST_EXCEPTION)
            tick()
    run.close()


@dataclass(slots=True)
class _DocumentProgress:
    """A document on its way."""

    document: Document
    wanted: int
    """How many of its pages are to end."""
    pages: Counter[PageStatus] = field(default_factory=Counter)
    broken: bool = False


class _LocalRun:
    """One batch at work. Its lock guards the tally and the documents on their way."""

    def __init__(
        self, request: Request, tools: PageServices, tally: RunTally, workers: int, max_pages: int | None
    ) -> None:
        self._request = request
        self._tools = tools
        self._tally = tally
        self._workers = workers
        self._max_pages = max_pages
        self._pages_begun = 0
        self._queue: queue.Queue[WorkUnit | None] = queue.Queue(UNITS_AHEAD)
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._slices: list[PageSlice] = []
        self._claimed: set[bytes] = set()
        self._failed: set[str] = set()
        self._repeated: list[Source] = []
        self._broken: list[Source] = []
        self._on_their_way: dict[str, _DocumentProgress] = {}
        self._verification = Verification(tools.projector)

    # -- registration: one thread

    def discover(self, roots: Iterable[str], excluded: tuple[str, ...], entries: Iterable[BatchEntry]) -> None:
        """Register what lies below the roots, and what is named besides, and queue what is to be worked."""
        try:
            for root in roots:
                self._discover_below(root, excluded)
            for entry in entries:
                if self._is_over:
                    break
                source, before = self._look_at(FoundFile(entry.url))
                self._take(source, before, entry.pages)
            self._flush()
            self._verification.flush()
        except Stopped:
            pass
        except BaseException as error:
            self._halt(error)
        finally:
            self._tally.walked = True
            for _ in range(self._workers):
                self._queue.put(None)

    def _discover_below(self, root: str, excluded: tuple[str, ...]) -> None:
        seen: set[str] = set()
        for place in walk([root], excluded, self._tools.cancel):
            if self._is_over:
                return
            self._discover(place, seen)
        if seen and not self._is_over:  # an empty folder is a disk that is not mounted rather than everything removed
            self._forget_vanished(root, seen)

    def _discover(self, place: FoundFile, seen: set[str]) -> None:
        """Register what lies at a place, then what lies within that."""
        source, before = self._look_at(place)
        seen.add(source_id(source.url))
        self._take(source, before)
        for member in members_of(source, self._tools.files):
            if self._is_over:
                return
            self._discover(member, seen)

    @property
    def _is_over(self) -> bool:
        """Whether nothing more is to be looked for."""
        return self._tools.cancel.stopped or bool(self._tally.used_up)

    def _look_at(self, place: FoundFile) -> tuple[Source, Source | None]:
        tools = self._tools
        return register(place, self._request, tools.archive, tools.opener, tools.files, tools.max_file_bytes)

    def _take(self, source: Source, before: Source | None, pages: tuple[int, ...] | None = None) -> None:
        """Plan the work on a source's document, or on some of its pages; `before` is what lay there before."""
        self._verification.source(source)
        if before is not None and before.document is not None:
            leave(self._tools.projector, self._request.collection, before.document.id, before.path)
        if source.document is None and source.error is None:
            return  # its collection was deleted meanwhile
        if source.document is None:
            self._count_failed(source)
            return
        identifier = bytes.fromhex(source.document.id)
        if identifier in self._claimed:
            self._repeated.append(source)
            return
        self._claimed.add(identifier)
        self._plan(source, source.document, pages)

    def _count_failed(self, source: Source) -> None:
        if source.url in self._failed:
            return  # two of the roots lead to it
        self._failed.add(source.url)
        with self._lock:
            self._tally.documents[DocumentStatus.FAILED] += 1

    def _forget_vanished(self, root: str, seen: set[str]) -> None:
        """Take a place from the document that lay there, where the whole walk found nothing there any more.

        The index tells which places it knows below the root: a hint, which costs little however large the collection.
        """
        archive, collection = self._tools.archive, self._request.collection
        known = self._tools.projector.source_urls_below(root, collection)
        for source in vanished_sources(archive, self._tools.files, collection, known, seen):
            if source.document is not None:
                leave(self._tools.projector, self._request.collection, source.document.id, source.path)
            self._verification.source(forget_source(archive, source))

    def _plan(self, source: Source, document: Document, pages: tuple[int, ...] | None) -> None:
        planned = plan(document, self._request, self._tools.archive, pages)
        settled = [with_place(self._tools.archive, reading, source) for reading in planned.settled]
        self._verification.pages(settled)
        statuses = Counter(reading.status for reading in settled)
        wanted = document.pages if pages is None else len(settled) + len(planned.due)
        with self._lock:
            self._tally.pages_found += wanted
            self._tally.pages_unchanged += len(settled)
            self._tally.pages.update(statuses)
            if not planned.due:
                self._tally.documents[document_status(statuses, wanted)] += 1
            else:
                self._on_their_way[document.id] = _DocumentProgress(document, wanted, statuses)
        if planned.due:
            self._cut(source, document, self._within_budget(planned.due))
        elif pages is None:
            self._verification.document(settled)
        else:  # the rest of the document was not looked at, and its record is about all of it
            self._tools.projector.documents(self._request.collection, [document.id])

    def _within_budget(self, due: tuple[int, ...]) -> tuple[int, ...]:
        """Return those of the pages that may still be worked, and note where that is not all of them."""
        left = len(due) if self._max_pages is None else self._max_pages - self._pages_begun
        if left < len(due):
            self._tally.used_up = f"the budget of {self._max_pages:,} pages is used up"
        self._pages_begun += len(due[:left])
        return due[:left]

    def _cut(self, source: Source, document: Document, due: tuple[int, ...]) -> None:
        """Cut a document into ranges; small documents share one."""
        while due:
            room = UNIT_PAGES - sum(len(part.page_numbers) for part in self._slices)
            self._slices.append(PageSlice(source, document, due[:room]))
            due = due[room:]
            if room <= len(self._slices[-1].page_numbers):
                self._flush()

    def _flush(self) -> None:
        if self._slices:
            request = self._request
            self._queue.put(
                WorkUnit(
                    collection=request.collection,
                    batch=request.batch,
                    language=request.recipe.language,
                    deletions_seen=request.deletions_seen,
                    slices=tuple(self._slices),
                )
            )
            self._slices = []

    # -- work: several threads

    def work(self) -> None:
        """Work ranges until there are none. After a stop they are let pass, so that registration never blocks."""
        while (work := self._queue.get()) is not None:
            if not self._tools.cancel.stopped:
                self._process(work)

    def _process(self, work: WorkUnit) -> None:
        try:
            self._record(process_unit(work, self._tools, self._tools.cancel, self._count_page))
        except Stopped:
            return
        except BaseException as error:
            self._halt(error)

    def _count_page(self, status: PageStatus) -> None:
        with self._lock:
            self._tally.pages[status] += 1

    def _record(self, outcome: UnitOutcome) -> None:
        for source, failure in outcome.broken:
            self._break(source, failure)
        done = []
        with self._lock:
            self._tally.cached_answers += outcome.cached_answers
            self._tally.pages.subtract(outcome.refused)
            self._tally.pages[PageStatus.FAILED] += outcome.refused.total()
            for identifier, statuses in outcome.pages.items():
                progress = self._on_their_way[identifier]
                progress.pages.update(statuses)
                if progress.pages.total() == progress.wanted:
                    done.append(self._on_their_way.pop(identifier))
        self._tools.projector.documents(self._request.collection, [progress.document.id for progress in done])
        for progress in done:
            with self._lock:
                self._tally.documents[document_status(progress.pages, progress.wanted)] += 1

    def _break(self, source: Source, failure: Failure) -> None:
        """Archive that a source's file is no longer the one that was identified."""
        broken = source_failed(self._tools.archive, source, failure)
        self._tools.projector.sources([broken])
        with self._lock:
            self._broken.append(source)
            if source.document is not None and source.document.id in self._on_their_way:
                self._on_their_way[source.document.id].broken = True

    def _halt(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
        self._tools.cancel.stop()

    # -- the end

    def close(self) -> None:
        """Finish what needs all ranges to be done, as far as a run that was halted still can.

        Raises:
            ServiceRefused: what halted the run.
        """
        try:
            for source in self._broken:
                # Pages that were read before the file changed; the archived source no longer tells of them.
                assert source.document is not None
                leave(self._tools.projector, self._request.collection, source.document.id, source.path)
            for source in self._repeated:
                self._repeat(source)
            self._verification.flush()
            self._tools.projector.documents(self._request.collection, self._on_their_way)
        except Stopped:
            pass  # the next run finds what the index lacks
        except ServiceRefused as error:
            self._error = self._error or error
        for progress in self._on_their_way.values():
            status = DocumentStatus.FAILED if progress.broken else DocumentStatus.WORKING
            self._tally.documents[status] += 1
        if self._error is not None:
            raise self._error

    def _repeat(self, source: Source) -> None:
        """Add a second place to a document that was worked in this run already."""
        assert source.document is not None
        readings = self._tools.archive.readings(self._request.collection, source.document.id).newest()
        live = [
            with_place(self._tools.archive, reading, source) for reading in readings if isinstance(reading, Reading)
        ]
        self._verification.pages(live)
        self._verification.document(live)

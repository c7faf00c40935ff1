"""The runner without a broker: one process walks, registers and processes.

    walk ─▶ intake ─▶ (queue of work units) ─▶ process_unit, several at a time

One thread runs the intake, and several threads process work units, whose pages are read by the threads of
`PageServices.pages`. The queue of work units is bounded, so memory does not grow with the length of the walk. Files
that were replaced during the run are processed in a second round, after all others.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

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
from pipeline.pages.document_budget import end_early
from pipeline.pages.intake import Intake
from pipeline.pages.page_services import PageServices
from pipeline.pages.paths import with_path
from pipeline.pages.process import UnitOutcome, process_unit
from pipeline.pages.recipe import Request
from pipeline.pages.units import pack, slices_of, work_unit
from pipeline.pages.vanished import FoundUrls, forget_vanished
from pipeline.projection.projector import lingering
from pipeline.projection.records import document_status
from pipeline.projection.verify import Verification
from pipeline.sources import FoundFile, PathFilter, walk

#: Maximum number of queued work units. It is large, so that the number of pages, and with it the ETA, is known early.
UNITS_AHEAD = 1000
_TICK_SECONDS = 0.25


@dataclass(slots=True)
class RunTally:
    """Counts of a run so far. The run's threads write them, and the progress display reads them."""

    pages_found: int = 0
    pages_unchanged: int = 0
    pages: Counter[PageStatus] = field(default_factory=Counter)
    documents: Counter[DocumentStatus] = field(default_factory=Counter)
    cached_answers: int = 0
    passed_over: int = 0
    """Files and folders that are litter, or left out by patterns."""
    descriptions_kept: int = 0
    """Pages that stay as a model described them, because no model is configured now."""
    walked: bool = False
    """True once the walk has ended, so that the number of pages is known."""
    used_up: str = ""
    """Describes the budget of the run that is used up; empty while every budget has room."""

    def pass_over(self, number: int) -> None:
        """Count files and folders that are litter, or left out by patterns."""
        self.passed_over += number

    @property
    def pages_done(self) -> int:
        """Number of pages that have ended, in this run or before."""
        return self.pages.total()

    @property
    def pages_unfinished(self) -> int:
        """Number of pages that were found and have not ended."""
        return self.pages_found - self.pages_done


def run_batch(
    roots: Iterable[str],
    excluded: Iterable[str],
    request: Request,
    services: PageServices,
    units_at_once: int,
    tally: RunTally,
    tick: Callable[[], None],
    *,
    entries: Iterable[BatchEntry] = (),
    max_pages: int | None = None,
) -> None:
    """Process everything below the roots, given by their URLs. `tick` is called a few times a second, in this thread.

    If `PageServices.cancel` is cancelled, pages in flight end, and the rest counts as unfinished. The same happens when
    `max_pages` pages have been started: the walk ends, and `tally.used_up` gives the reason.

    Args:
        roots: files, folders and buckets.
        excluded: folders that are never walked.
        request: the request of the batch.
        services: bound to the batch.
        units_at_once: number of work units that are processed at once.
        tally: counts the run.
        tick: shows the progress.
        entries: further sources, whole or only some of their pages. The files within them are not processed.
        max_pages: maximum number of pages to process; None for no limit.

    Raises:
        ServiceRefused: a service refuses everything. Finished pages are archived.
    """
    run = _LocalRun(request, services, tally, max_pages)
    with ThreadPoolExecutor(units_at_once + 1, thread_name_prefix="pagesight") as pool:

        def process_all(sources: Iterator[PageSlice]) -> None:
            pending = {pool.submit(run.take_in, sources, units_at_once)}
            pending |= {pool.submit(run.process_queue) for _ in range(units_at_once)}
            while pending:
                _, pending = wait(pending, _TICK_SECONDS, FIRST_EXCEPTION)
                tick()

        process_all(run.discover(roots, tuple(excluded), entries))
        while run.has_broken:
            process_all(run.resolve_broken())
    run.close()


@dataclass(slots=True)
class _DocumentProgress:
    """A document whose pages are being processed."""

    document: Document
    wanted: int
    """Number of its pages that have to end."""
    pages: Counter[PageStatus] = field(default_factory=Counter)


class _LocalRun:
    """One batch in this process. Its lock guards the tally and the documents in progress."""

    def __init__(self, request: Request, services: PageServices, tally: RunTally, max_pages: int | None) -> None:
        self._request = request
        self._services = services
        self._tally = tally
        self._max_pages = max_pages
        self._pages_begun = 0
        self._intake = Intake(services, request)
        self._chosen = PathFilter(request.patterns)
        self._queue: queue.Queue[WorkUnit | None] = queue.Queue(UNITS_AHEAD)
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._found = FoundUrls()
        self._claimed: set[bytes] = set()
        self._failed: set[str] = set()
        self._repeated: list[Source] = []
        self._broken: list[tuple[Source, Failure]] = []
        self._resolved: set[str] = set()
        self._in_progress: dict[str, _DocumentProgress] = {}

    # -- the intake: one thread

    def take_in(self, slices: Iterator[PageSlice], workers: int) -> None:
        """Queue the work units of these slices, then end the queue for `workers` threads.

        What was registered before a stop is verified in the index, too: its source records would be missing until the
        next run.
        """
        try:
            try:
                for packed in pack(slices):
                    self._queue.put(work_unit(self._request, packed))
            finally:
                self._intake.verify()
        except Stopped:
            pass
        except BaseException as error:
            self._halt(error)
        finally:
            self._tally.walked = True
            for _ in range(workers):
                self._queue.put(None)

    def discover(
        self, roots: Iterable[str], excluded: tuple[str, ...], entries: Iterable[BatchEntry]
    ) -> Iterator[PageSlice]:
        """Register the files below the roots, and the entries. Yield slices of their due pages."""
        for root in roots:
            yield from self._discover_below(root, excluded)
        for entry in entries:
            if self._is_over:
                return
            yield from self._plan(self._intake.register(FoundFile(entry.url, root=entry.root)), entry.pages)

    def resolve_broken(self) -> Iterator[PageSlice]:
        """Resolve the broken sources. Yield slices of the due pages of their new documents."""
        broken = {source.url: (source, failure) for source, failure in reversed(self._broken)}
        self._broken = []
        for source, failure in broken.values():
            if self._is_over:
                return
            yield from self._drop(source)
            first = source.url not in self._resolved
            self._resolved.add(source.url)
            yield from self._plan(self._intake.resolve(source, failure, first=first))

    @property
    def has_broken(self) -> bool:
        """Whether `resolve_broken` has sources to resolve, and the run is not over."""
        return bool(self._broken) and not self._is_over

    @property
    def _is_over(self) -> bool:
        """Whether the intake has to end."""
        return self._services.cancel.stopped or bool(self._tally.used_up)

    def _discover_below(self, root: str, excluded: tuple[str, ...]) -> Iterator[PageSlice]:
        is_any_found = False
        for found in walk([root], excluded, self._services.cancel, self._tally.pass_over, self._chosen.listing):
            if self._is_over:
                return
            is_any_found = is_any_found or found.error is None
            yield from self._discover(found)
        if is_any_found and not self._is_over:
            forget_vanished(root, self._found, self._request.collection, self._services, self._request.patterns)

    def _discover(self, found: FoundFile) -> Iterator[PageSlice]:
        """Register a file, then the files within it. Yield slices of their due pages."""
        self._found.add(found.url)
        source = self._intake.register(found)
        yield from self._plan(source)
        before = self._intake.passed_over
        members = self._intake.members(source)
        self._tally.pass_over(self._intake.passed_over - before)
        for member in members:
            if self._is_over:
                return
            yield from self._discover(member)

    def _plan(self, source: Source, pages: tuple[int, ...] | None = None) -> Iterator[PageSlice]:
        """Plan a source's document, or some of its pages. Yield slices of its due pages. A document is planned once."""
        document = source.document
        if document is None:
            self._count_failed(source)
        elif bytes.fromhex(document.id) in self._claimed:
            self._repeated.append(source)
        else:
            self._claimed.add(bytes.fromhex(document.id))
            yield from slices_of(source, document, self._due_pages(source, document, pages))

    def _due_pages(self, source: Source, document: Document, pages: tuple[int, ...] | None) -> tuple[int, ...]:
        planned = self._intake.plan(source, pages)
        assert planned is not None
        statuses = Counter(reading.status for reading in planned.settled)
        statuses += Counter({PageStatus.FAILED: len(planned.withheld)})
        wanted = document.pages if pages is None else statuses.total() + len(planned.due)
        with self._lock:
            self._tally.pages_found += wanted
            self._tally.pages_unchanged += len(planned.settled)
            self._tally.descriptions_kept += planned.descriptions_kept
            self._tally.pages.update(statuses)
            if planned.due:
                self._in_progress[document.id] = _DocumentProgress(document, wanted, statuses)
            else:
                self._tally.documents[document_status(statuses, wanted)] += 1
        if not planned.due and pages is not None:  # `plan` verifies a document's record only if it plans all pages
            self._services.projector.documents(self._request.collection, [document.id])
        return self._within_budget(planned.due)

    def _count_failed(self, source: Source) -> None:
        if source.error is None or source.url in self._failed:
            return  # its collection was deleted meanwhile, or another root contains it too
        self._failed.add(source.url)
        with self._lock:
            self._tally.documents[DocumentStatus.FAILED] += 1

    def _within_budget(self, due: tuple[int, ...]) -> tuple[int, ...]:
        """Return the pages that the page budget covers. Set `used_up` if it does not cover all."""
        left = len(due) if self._max_pages is None else self._max_pages - self._pages_begun
        if left < len(due):
            self._tally.used_up = f"the budget of {self._max_pages:,} pages is used up"
        self._pages_begun += len(due[:left])
        return due[:left]

    def _drop(self, broken: Source) -> Iterator[PageSlice]:
        """Remove the document of a broken source from the tally. If it has another path, plan it there.

        Yields slices of its due pages at that path.
        """
        document = broken.document
        assert document is not None
        progress = self._in_progress.pop(document.id, None)
        if progress is None:
            return  # it is not in progress: another of its sources dropped it, or all its pages ended
        with self._lock:
            self._tally.pages_found -= progress.wanted
            self._tally.pages.subtract(progress.pages)
        self._claimed.discard(bytes.fromhex(document.id))
        copies = [source for source in self._repeated if source.document and source.document.id == document.id]
        self._repeated = [source for source in self._repeated if source not in copies]
        for copy in copies:
            yield from self._plan(copy)

    # -- processing: several threads

    def process_queue(self) -> None:
        """Process work units until the queue ends. After a stop, discard them, so that the intake never blocks."""
        while (unit := self._queue.get()) is not None:
            if not self._services.cancel.stopped:
                self._process(unit)

    def _process(self, unit: WorkUnit) -> None:
        try:
            self._record(process_unit(unit, self._services, self._count_page))
        except Stopped:
            return
        except BaseException as error:
            self._halt(error)

    def _count_page(self, status: PageStatus) -> None:
        with self._lock:
            self._tally.pages[status] += 1

    def _record(self, outcome: UnitOutcome) -> None:
        for piece, failure in outcome.ended:
            end_early(piece, failure, self._request, self._services.projector)
        done = []
        with self._lock:
            self._broken += outcome.broken
            self._tally.cached_answers += outcome.cached_answers
            self._tally.pages.subtract(outcome.refused)
            self._tally.pages[PageStatus.FAILED] += outcome.refused.total()
            self._tally.pages[PageStatus.FAILED] += sum(len(piece.page_numbers) for piece, _ in outcome.ended)
            for identifier, statuses in _all_pages(outcome).items():
                progress = self._in_progress[identifier]
                progress.pages.update(statuses)
                if progress.pages.total() == progress.wanted:
                    done.append(self._in_progress.pop(identifier))
        projector = lingering(self._services.projector)
        projector.documents(self._request.collection, [progress.document.id for progress in done])
        for progress in done:
            with self._lock:
                self._tally.documents[document_status(progress.pages, progress.wanted)] += 1

    def _halt(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
        self._services.cancel.stop()

    # -- the end

    def close(self) -> None:
        """Add repeated paths and write the records of unfinished documents, as far as a halted run can.

        Raises:
            ServiceRefused: the refusal that halted the run.
        """
        try:
            self._add_repeated_paths()
            lingering(self._services.projector).documents(self._request.collection, self._in_progress)
        except Stopped:
            pass  # the next run brings the index up to date
        except ServiceRefused as error:
            self._error = self._error or error
        self._tally.documents[DocumentStatus.WORKING] += len(self._in_progress)
        if self._error is not None:
            raise self._error

    def _add_repeated_paths(self) -> None:
        """Add the paths of repeated sources to the pages of their documents."""
        archive, verification = self._services.archive, Verification(self._services.projector)
        for source in self._repeated:
            assert source.document is not None
            readings = archive.readings(self._request.collection, source.document.id).newest()
            live = [with_path(archive, reading, source) for reading in readings if isinstance(reading, Reading)]
            verification.pages(live)
            verification.document(live)
        verification.flush()


def _all_pages(outcome: UnitOutcome) -> dict[str, Counter[PageStatus]]:
    """Return the pages of a work unit by document and status; those of a document that ended early count as failed."""
    counted = {identifier: Counter(statuses) for identifier, statuses in outcome.pages.items()}
    for piece, _ in outcome.ended:
        counted.setdefault(piece.document.id, Counter())[PageStatus.FAILED] += len(piece.page_numbers)
    return counted

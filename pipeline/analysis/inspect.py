"""Shows the result that indexing files would have. It uses the same functions, but neither archives nor calls a model.

    walk ─▶ identify ─▶ open ─▶ render each page, count it and drop it

Without a `Memory` every file is inspected as if it were new. With one, the files and pages that indexing would skip are
skipped. Several files are inspected at once, one per sandbox. Results are in the order of the listing.
"""

from __future__ import annotations

import math
import queue
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import BinaryIO, Protocol

from pipeline.core.errors import EncryptedFile, OutcomeError, Stopped
from pipeline.core.formats import MediaType
from pipeline.core.languages import DETECT_MAX_CHARACTERS, detect_language
from pipeline.core.models import (
    Document,
    DocumentStatus,
    Failure,
    FilePatterns,
    FileState,
    LayerState,
    PageKind,
    PageStatus,
    RenderedCrop,
    RenderedPage,
    Source,
)
from pipeline.core.retry import STOP_POLL_SECONDS, CancelToken
from pipeline.documents.opening import Opener, OpenPages
from pipeline.pages.registration import document_of, identified_source
from pipeline.projection.records import document_status
from pipeline.sources import FoundFile, PathFilter, SourceFiles, display_path, require_unchanged, walk
from pipeline.vision.endpoint.cost import NO_COST, Cost, page_cost
from pipeline.vision.profile import Profile

#: Maximum number of files that are listed and not yet yielded. It is large, so that the ETA is known early.
FILES_AHEAD = 1_000
_TICK_SECONDS = 0.25

#: Returns a page in a number of overlapping bands; raises OutcomeError if it cannot be rendered.
Crops = Callable[[int], tuple[RenderedCrop, ...]]


class Encryption(StrEnum):
    """Whether a file needs a password."""

    NONE = "none"
    """It opens without a password."""
    OPENED = "opened"
    """One of the given passwords opens it."""
    LOCKED = "locked"
    """None of the given passwords opens it."""


@dataclass(frozen=True, slots=True)
class PageCounts:
    """Counts of a document's pages."""

    kinds: Counter[PageKind] = field(default_factory=Counter)
    """Kinds of the pages that can be rendered."""
    hidden: int = 0
    language: str | None = None
    """Language of their text layers, if it can be detected."""
    cost: Cost = NO_COST
    failed: dict[Failure, tuple[int, ...]] = field(default_factory=dict)
    """Numbers of the pages that fail, by failure."""
    settled: int = 0
    """Number of pages that were processed before and would be skipped. The other counts do not include them."""
    archived: int = 0
    """Number of archived answers about the other pages."""
    calls: Counter[str] = field(default_factory=Counter)
    """Missing answers, by question."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """The result that indexing one file would have."""

    url: str
    path: str
    state: FileState | None = None
    media_type: MediaType | None = None
    document: Document | None = None
    encryption: Encryption | None = None
    """None if the file failed earlier."""
    pages: PageCounts = PageCounts()
    error: Failure | None = None
    """Failure of the file as a whole."""
    repeated: bool = False
    """Whether the same document, or the same failed file, came before in the listing. Pages are inspected once."""

    @property
    def failures(self) -> tuple[tuple[Failure, tuple[int, ...]], ...]:
        """The failure of the file, without page numbers, or else the failures of its pages."""
        return ((self.error, ()),) if self.error else tuple(self.pages.failed.items())

    @property
    def status(self) -> DocumentStatus:
        """Status that the document would have, derived from its failed pages."""
        if self.error is not None or self.document is None:
            return DocumentStatus.FAILED
        # The model is assumed to read the other pages.
        failed = sum(map(len, self.pages.failed.values()))
        counts = Counter({PageStatus.FAILED: failed, PageStatus.DESCRIBED: self.document.pages - failed})
        return document_status(counts, self.document.pages)


@dataclass(frozen=True, slots=True)
class Asking:
    """Cost of reading a page: calls, and archived answers."""

    cost: Cost = NO_COST
    archived: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    """Calls by question."""


class Memory(Protocol):
    """The archive's knowledge of files and pages. Threads share it."""

    def source(self, url: str, state: FileState) -> Source | None:
        """Return the archived source of a URL if it is still valid, else None. Without one, the file is opened."""
        ...

    def due(self, document: Document) -> Collection[int]:
        """Return the numbers of the pages that would be processed."""
        ...

    def asking(self, document: str, page: RenderedPage, crops: Crops) -> Asking:
        """Return the cost of reading a page of a document."""
        ...


@dataclass(frozen=True, slots=True)
class Inspector:
    """Inspects files. Built once per process; its threads share it."""

    opener: Opener
    files: SourceFiles
    max_file_bytes: int
    files_at_once: int
    """Number of sandboxes."""
    profile: Profile | None
    """The profile whose questions would be asked; None without a configured model."""
    language: str
    """BCP 47 tag of the requested language."""
    memory: Memory | None = None

    def asking(self, document: str, page: RenderedPage, crops: Crops) -> Asking:
        """Return the cost of reading a page of a document; `crops` renders it in bands."""
        if page.blank or self.profile is None:
            return Asking()
        if self.memory is not None:
            return self.memory.asking(document, page, crops)
        return Asking(page_cost(self.profile, self.language, page))

    def due(self, document: Document) -> Collection[int]:
        """Return the numbers of the pages to inspect, in order."""
        return range(1, document.pages + 1) if self.memory is None else self.memory.due(document)


@dataclass(slots=True)
class Totals:
    """Sums over the inspected files. Repeated files are counted only as repeated."""

    found: int = 0
    """Files that the listing has found."""
    walked: bool = False
    """Whether the listing is complete."""
    passed_over: int = 0
    """Files and folders that are litter, or left out by patterns."""
    files: int = 0
    repeated: int = 0
    bytes: int = 0
    documents: Counter[DocumentStatus] = field(default_factory=Counter)
    formats: dict[MediaType | None, Counter[DocumentStatus]] = field(default_factory=dict)
    pages_by_format: Counter[MediaType | None] = field(default_factory=Counter)
    pages: Counter[PageKind] = field(default_factory=Counter)
    pages_failed: int = 0
    hidden: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Failed files and pages, by error code."""
    cost: Cost = NO_COST
    settled: int = 0
    """Pages that would be skipped."""
    archived: int = 0
    """Archived answers."""
    calls: Counter[str] = field(default_factory=Counter)
    """Missing answers, by question."""

    def add(self, seen: Inspected) -> None:
        """Count a file."""
        self.files += 1
        if seen.repeated:
            self.repeated += 1
            return
        kind = seen.media_type
        self.bytes += seen.state.bytes if seen.state else 0
        self.documents[seen.status] += 1
        self.formats.setdefault(kind, Counter())[seen.status] += 1
        for failure, numbers in seen.failures:
            self.failures[failure.type] += len(numbers) or 1
            self.pages_failed += len(numbers)
        self.pages.update(seen.pages.kinds)
        self.pages_by_format[kind] += seen.document.pages if seen.document and not seen.error else 0
        self.hidden += seen.pages.hidden
        self.cost += seen.pages.cost
        self.settled += seen.pages.settled
        self.archived += seen.pages.archived
        self.calls.update(seen.pages.calls)


def inspect_source(
    found: FoundFile, inspector: Inspector, cancel: CancelToken, is_new: Callable[[str], bool] = lambda _id: True
) -> Inspected:
    """Inspect one file. Errors of the file are part of the result.

    Args:
        is_new: returns whether the pages of a document are to be inspected, given its id.

    Raises:
        ServiceRefused: no sandbox can be started, or the store of the file refuses every request.
        Stopped: the run was cancelled.
    """
    seen = Inspected(url=found.url, path=display_path(found.url))
    files = replace(inspector.files, cancel=cancel)
    try:
        if found.error:
            raise found.error
        state = files.state(found.url, found.root)
        seen = replace(seen, state=state)
        known = None if inspector.memory is None else inspector.memory.source(found.url, state)
        if known is not None and (known.document is None or not inspector.due(known.document)):
            return _as_known(seen, known, is_new)
        opening = identified_source(found, state, inspector.opener, files, inspector.max_file_bytes)
        with opening as (file, document_id, media_type):
            seen = replace(seen, media_type=media_type)
            with inspector.opener.open(file, document_id, seen.path, media_type, cancel) as opened:
                document = document_of(document_id, media_type, state, opened)
                encryption = Encryption.OPENED if opened.unlocked else Encryption.NONE
                seen = replace(seen, document=document, encryption=encryption)
                if not is_new(document.id):
                    return replace(seen, repeated=True)
                return replace(seen, pages=_look_at(opened, file, state, document, inspector, cancel))
    except OutcomeError as error:
        locked = Encryption.LOCKED if isinstance(error, EncryptedFile) else seen.encryption
        return replace(seen, encryption=locked, error=Failure.of(error))


def _as_known(seen: Inspected, known: Source, is_new: Callable[[str], bool]) -> Inspected:
    """Return the archived result of a file that would be skipped."""
    document = known.document
    if document is None:
        return replace(seen, error=known.error)
    settled = PageCounts(settled=document.pages) if is_new(document.id) else PageCounts()
    return replace(seen, media_type=document.media_type, document=document, pages=settled)


def _look_at(
    opened: OpenPages, file: BinaryIO, state: FileState, document: Document, inspector: Inspector, cancel: CancelToken
) -> PageCounts:
    """Render the pages one by one, as `process_unit` does, and keep only counts.

    Raises:
        SourceChanged: the file changed after it was identified.
        ServiceRefused, Stopped: as `inspect_source` raises them.
    """
    kinds: Counter[PageKind] = Counter()
    failed: dict[Failure, list[int]] = {}
    hidden, sample, cost, archived = 0, "", NO_COST, 0
    calls: Counter[str] = Counter()
    due = inspector.due(document)
    for number in due:
        if cancel.stopped:
            raise Stopped("stopped while pages were inspected")
        try:
            page = opened.render(number)
        except OutcomeError as error:
            failed.setdefault(Failure.of(error), []).append(number)
        else:
            kinds[page.kind] += 1
            hidden += page.hidden
            asking = inspector.asking(document.id, page, partial(opened.render_crops, number))
            cost += asking.cost
            archived += asking.archived
            calls += asking.calls
            if page.facts.layer is not LayerState.GARBAGE and len(sample) < DETECT_MAX_CHARACTERS:
                sample += f"{page.layer_text or ''}\n"
        require_unchanged(file, state)
    numbers = {failure: tuple(pages) for failure, pages in failed.items()}
    settled = document.pages - len(due)
    return PageCounts(kinds, hidden, detect_language(sample), cost, numbers, settled, archived, calls)


def inspect_below(
    roots: Iterable[str],
    excluded: Iterable[str],
    inspector: Inspector,
    cancel: CancelToken,
    totals: Totals,
    tick: Callable[[], None],
    patterns: FilePatterns | None = None,
) -> Iterator[Inspected]:
    """Yield the result that indexing would have for each file below the roots' URLs, in the order of the listing.

    The members of a container follow it. `totals` sums up the yielded files. During waits, `tick` is called a few times
    a second.

    Raises:
        ServiceRefused: a bucket refuses every request, or no sandbox can be started.
        Stopped: the run was cancelled.
    """
    run = _Inspection(inspector, cancel.within(math.inf), totals, tick, PathFilter(patterns))
    with ThreadPoolExecutor(inspector.files_at_once + 1, thread_name_prefix="inspect") as pool:
        walking = pool.submit(run.walk, tuple(roots), tuple(excluded))
        for _ in range(inspector.files_at_once):
            pool.submit(run.work)
        try:
            while (task := run.next()) is not None:
                yield from run.settled(task)
            walking.result()
        finally:
            run.cancel.stop()  # a caller that stops iterating ends the threads too


@dataclass(frozen=True, slots=True, order=True)
class _Task:
    """A file to inspect."""

    position: tuple[int, ...]
    """Number in the listing. For a member: the container's position, and the member's number in the container."""
    found: FoundFile = field(compare=False)
    seen: Future[Inspected] = field(compare=False, default_factory=Future)


#: A position before all others: that of a document that was yielded.
_BEFORE = ()


class _Inspection:
    """The files in progress, and the documents and failures found until now."""

    def __init__(
        self, inspector: Inspector, cancel: CancelToken, totals: Totals, tick: Callable[[], None], chosen: PathFilter
    ) -> None:
        self.cancel = cancel
        self._inspector = inspector
        self._files = replace(inspector.files, cancel=cancel)
        self._totals = totals
        self._tick = tick
        self._chosen = chosen
        self._walked: queue.Queue[_Task | None] = queue.Queue(FILES_AHEAD)
        # Files are inspected in the order of the listing: a container's members before the files after it.
        self._due: queue.PriorityQueue[_Task] = queue.PriorityQueue()
        self._first: dict[bytes, tuple[int, ...]] = {}
        """Position of the first file of a document, by the document's id."""
        self._failed: set[str] = set()
        self._lock = threading.Lock()

    def walk(self, roots: tuple[str, ...], excluded: tuple[str, ...]) -> None:
        """List the files, at most `FILES_AHEAD` ahead of the results."""
        try:
            for number, found in enumerate(walk(roots, excluded, self.cancel, self._pass_over, self._chosen.listing)):
                self._put(self._begin((number,), found))
            self._totals.walked = True
        finally:
            self._put(None)

    def work(self) -> None:
        """Inspect one file after the other until the run is cancelled."""
        while not self.cancel.stopped:
            try:
                task = self._due.get(timeout=STOP_POLL_SECONDS)
            except queue.Empty:
                continue
            try:
                task.seen.set_result(self._inspect(task))
            except BaseException as error:
                task.seen.set_exception(error)

    def next(self) -> _Task | None:
        """Return the next listed file; None at the end.

        Raises:
            Stopped: the run was cancelled.
        """
        while True:
            self._go_on()
            try:
                return self._walked.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                continue

    def settled(self, task: _Task) -> Iterator[Inspected]:
        """Yield the result for a file, then for its members."""
        seen = self._settle(task, self._wait_for(task))
        self._totals.add(seen)
        yield seen
        if seen.document is None or not seen.document.members:
            return
        assert seen.state is not None
        members = self._files.members(seen.url, seen.state, task.found.root, self._pass_over)
        members = self._chosen.members(members, self._pass_over)
        for inside in [self._begin((*task.position, number), found) for number, found in enumerate(members)]:
            yield from self.settled(inside)

    def _pass_over(self, number: int) -> None:
        with self._lock:
            self._totals.passed_over += number

    def _begin(self, place: tuple[int, ...], found: FoundFile) -> _Task:
        task = _Task(place, found)
        with self._lock:
            self._totals.found += 1
        self._due.put(task)
        return task

    def _settle(self, task: _Task, seen: Inspected) -> Inspected:
        """Return the final result of a file. All earlier files have final results, and it can repeat only these."""
        if seen.document is not None and seen.error is None:
            identifier = bytes.fromhex(seen.document.id)
            if self._first[identifier] < task.position:
                return replace(seen, repeated=True, pages=PageCounts())
            self._first[identifier] = _BEFORE
            return seen
        repeated = seen.url in self._failed  # two roots contain it
        self._failed.add(seen.url)
        return replace(seen, repeated=repeated)

    def _inspect(self, task: _Task) -> Inspected:
        return inspect_source(
            task.found, self._inspector, self.cancel, lambda document: self._is_first(document, task.position)
        )

    def _is_first(self, document: str, place: tuple[int, ...]) -> bool:
        """Whether no earlier file is known to be the same document."""
        identifier = bytes.fromhex(document)
        with self._lock:
            self._first[identifier] = min(self._first.get(identifier, place), place)
            return self._first[identifier] == place

    def _put(self, task: _Task | None) -> None:
        while not self.cancel.stopped:
            try:
                return self._walked.put(task, timeout=STOP_POLL_SECONDS)
            except queue.Full:
                continue
        return None

    def _wait_for(self, task: _Task) -> Inspected:
        self._go_on()
        while not wait([task.seen], _TICK_SECONDS).done:
            self._go_on()
        return task.seen.result()

    def _go_on(self) -> None:
        self._tick()
        if self.cancel.stopped:
            raise Stopped("stopped while files were inspected")

"""Inspecting: what indexing would make of files, by the same doors, with nothing archived and nobody asked.

    walk ─▶ identify ─▶ open ─▶ render each page, look at it, and let it go

An inspector without a memory looks at everything, as if nothing had ever been indexed; one that has one leaves out what
indexing would leave out. Several files are looked at at once, one a sandbox; what was seen comes in the order of the
walk.
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
from pipeline.sources import FoundFile, SourceFiles, display_path, require_unchanged, walk
from pipeline.vision.endpoint.cost import NO_COST, Cost, page_cost
from pipeline.vision.profile import Profile

#: Files that the walk may be ahead of what was seen: it makes their number, and so the ETA, known early.
FILES_AHEAD = 1_000
_TICK_SECONDS = 0.25

#: Returns a page in so many overlapping bands; raises OutcomeError where it cannot be rendered.
Crops = Callable[[int], tuple[RenderedCrop, ...]]


class Encryption(StrEnum):
    """How a file stands to passwords."""

    NONE = "none"
    """It opens without one."""
    OPENED = "opened"
    """It wants one, and one of those given opens it."""
    LOCKED = "locked"
    """It wants one, and none of those given opens it."""


@dataclass(frozen=True, slots=True)
class PageCounts:
    """What was seen of a document's pages."""

    kinds: Counter[PageKind] = field(default_factory=Counter)
    """Counts of those that can be had."""
    hidden: int = 0
    language: str | None = None
    """That of their text layers, where it can be told."""
    cost: Cost = NO_COST
    failed: dict[Failure, tuple[int, ...]] = field(default_factory=dict)
    """Numbers of the pages that cannot be had, by what would be said of them."""
    settled: int = 0
    """Those that were worked before and need not be again: nothing else here counts them."""
    archived: int = 0
    """Answers about the others that need not be asked for."""
    calls: Counter[str] = field(default_factory=Counter)
    """Those that must be, by question."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What indexing would make of the file at a place."""

    url: str
    path: str
    state: FileState | None = None
    media_type: MediaType | None = None
    document: Document | None = None
    encryption: Encryption | None = None
    """None where it was not come so far."""
    pages: PageCounts = PageCounts()
    error: Failure | None = None
    """Why the file as a whole cannot be had."""
    repeated: bool = False
    """Whether it was seen before in the same walk, here or elsewhere: its pages are looked at once."""

    @property
    def failures(self) -> tuple[tuple[Failure, tuple[int, ...]], ...]:
        """What would be said of the file, without page numbers, or of pages of it."""
        return ((self.error, ()),) if self.error else tuple(self.pages.failed.items())

    @property
    def status(self) -> DocumentStatus:
        """How the document would end, as far as its pages can be had."""
        if self.error is not None or self.document is None:
            return DocumentStatus.FAILED
        # Its failed pages tell; that the model reads the others is taken for granted.
        failed = sum(map(len, self.pages.failed.values()))
        counts = Counter({PageStatus.FAILED: failed, PageStatus.DESCRIBED: self.document.pages - failed})
        return document_status(counts, self.document.pages)


@dataclass(frozen=True, slots=True)
class Asking:
    """What reading a page comes to: calls, and answers that are there."""

    cost: Cost = NO_COST
    archived: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    """By question."""


class Memory(Protocol):
    """What the archive knows. Threads share it."""

    def source(self, url: str, state: FileState) -> Source | None:
        """Return what was archived of a place, where that still holds; else the file is opened."""
        ...

    def due(self, document: Document) -> Collection[int]:
        """Return the numbers of the pages that would be worked."""
        ...

    def asking(self, page: RenderedPage, crops: Crops) -> Asking:
        """Return what reading a page would come to."""
        ...


@dataclass(frozen=True, slots=True)
class Inspector:
    """What files are looked at with: built once per process, shared by its threads."""

    opener: Opener
    files: SourceFiles
    max_file_bytes: int
    files_at_once: int
    """One a sandbox."""
    profile: Profile | None
    """The questions that a model would be asked; None where no model is configured."""
    language: str
    """BCP 47 tag of the language that they would be asked in."""
    memory: Memory | None = None

    def asking(self, page: RenderedPage, crops: Crops) -> Asking:
        """Return what it would come to to read a page, which `crops` shows in parts."""
        if page.blank or self.profile is None:
            return Asking()
        if self.memory is not None:
            return self.memory.asking(page, crops)
        return Asking(page_cost(self.profile, self.language, page))

    def due(self, document: Document) -> Collection[int]:
        """Return the numbers of the pages that are to be looked at, in order."""
        return range(1, document.pages + 1) if self.memory is None else self.memory.due(document)


@dataclass(slots=True)
class Totals:
    """What the files that were seen so far come to. Those that repeat others count as nothing but that."""

    found: int = 0
    """Files that the walk has come to."""
    walked: bool = False
    """True once it has come to all of them."""
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
    """Files and pages that cannot be had, by class of error."""
    cost: Cost = NO_COST
    settled: int = 0
    """Pages that need not be worked again."""
    archived: int = 0
    """Answers that need not be asked for."""
    calls: Counter[str] = field(default_factory=Counter)
    """Those that must be, by question."""

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
    """Look at what lies at a place; every way this can end is a value.

    Args:
        is_new: told the document's id, says whether its pages are to be looked at.

    Raises:
        ServiceRefused: no sandbox can be started, or no file of this place can be had.
        Stopped: the patience has ended meanwhile.
    """
    seen = Inspected(url=found.url, path=display_path(found.url))
    files = replace(inspector.files, cancel=cancel)
    try:
        if found.error:
            raise found.error
        state = files.state(found.url)
        seen = replace(seen, state=state)
        known = None if inspector.memory is None else inspector.memory.source(found.url, state)
        if known is not None and (known.document is None or not inspector.due(known.document)):
            return _as_known(seen, known, is_new)
        opening = identified_source(found.url, state, inspector.opener, files, inspector.max_file_bytes)
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
    """Return what is archived of a place that needs no work."""
    document = known.document
    if document is None:
        return replace(seen, error=known.error)
    settled = PageCounts(settled=document.pages) if is_new(document.id) else PageCounts()
    return replace(seen, media_type=document.media_type, document=document, pages=settled)


def _look_at(
    opened: OpenPages, file: BinaryIO, state: FileState, document: Document, inspector: Inspector, cancel: CancelToken
) -> PageCounts:
    """Render page after page, as `process_unit` does, and keep nothing of them but counts.

    Raises:
        SourceChanged: the file is not the one that was identified.
        ServiceRefused, Stopped: as `inspect_source` raises them.
    """
    kinds: Counter[PageKind] = Counter()
    failed: dict[Failure, list[int]] = {}
    hidden, sample, cost, archived = 0, "", NO_COST, 0
    calls: Counter[str] = Counter()
    due = inspector.due(document)
    for number in due:
        if cancel.stopped:
            raise Stopped("stopped while pages were looked at")
        try:
            page = opened.render(number)
        except OutcomeError as error:
            failed.setdefault(Failure.of(error), []).append(number)
        else:
            kinds[page.kind] += 1
            hidden += page.hidden
            asking = inspector.asking(page, partial(opened.render_crops, number))
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
) -> Iterator[Inspected]:
    """Yield what indexing would make of every file below the roots, given by their URLs, in the order of the walk.

    What lies in a container follows it. `totals` holds what was yielded so far; `tick` is called a few times a second
    while the next file is waited for.

    Raises:
        ServiceRefused: a bucket says no to everything, or no sandbox can be started.
        Stopped: the patience has ended.
    """
    run = _Inspection(inspector, cancel.within(math.inf), totals, tick)
    with ThreadPoolExecutor(inspector.files_at_once + 1, thread_name_prefix="inspect") as pool:
        walking = pool.submit(run.walk, tuple(roots), tuple(excluded))
        for _ in range(inspector.files_at_once):
            pool.submit(run.work)
        try:
            while (task := run.next()) is not None:
                yield from run.settled(task)
            walking.result()
        finally:
            run.cancel.stop()  # whoever takes no more leaves nobody at work


@dataclass(frozen=True, slots=True, order=True)
class _Task:
    """A file to be looked at."""

    place: tuple[int, ...]
    """Its number in the walk, or in its container, behind the place of that: so places sort as files are met."""
    found: FoundFile = field(compare=False)
    seen: Future[Inspected] = field(compare=False, default_factory=Future)


#: A place before all others, that of documents which were yielded.
_BEFORE = ()


class _Inspection:
    """Files on their way, and which documents and failures were seen."""

    def __init__(self, inspector: Inspector, cancel: CancelToken, totals: Totals, tick: Callable[[], None]) -> None:
        self.cancel = cancel
        self._inspector = inspector
        self._files = replace(inspector.files, cancel=cancel)
        self._totals = totals
        self._tick = tick
        self._walked: queue.Queue[_Task | None] = queue.Queue(FILES_AHEAD)
        # The first in the order of the walk is the next to be looked at: a container's members go before other files.
        self._due: queue.PriorityQueue[_Task] = queue.PriorityQueue()
        self._first: dict[bytes, tuple[int, ...]] = {}
        """Place of the first file that is a document, by the document's id."""
        self._failed: set[str] = set()
        self._lock = threading.Lock()

    def walk(self, roots: tuple[str, ...], excluded: tuple[str, ...]) -> None:
        """Find files, as far ahead as may be."""
        try:
            for number, found in enumerate(walk(roots, excluded, self.cancel)):
                self._put(self._begin((number,), found))
            self._totals.walked = True
        finally:
            self._put(None)

    def work(self) -> None:
        """Look at one file after the other, until the patience ends."""
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
        """Return the next file that was found; None at the end.

        Raises:
            Stopped: the patience has ended.
        """
        while True:
            self._go_on()
            try:
                return self._walked.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                continue

    def settled(self, task: _Task) -> Iterator[Inspected]:
        """Yield what was seen of a file, then of those in it."""
        seen = self._settle(task, self._wait_for(task))
        self._totals.add(seen)
        yield seen
        if seen.document is None or not seen.document.members:
            return
        assert seen.state is not None
        members = self._files.members(seen.url, seen.state)
        for inside in [self._begin((*task.place, number), found) for number, found in enumerate(members)]:
            yield from self.settled(inside)

    def _begin(self, place: tuple[int, ...], found: FoundFile) -> _Task:
        task = _Task(place, found)
        with self._lock:
            self._totals.found += 1
        self._due.put(task)
        return task

    def _settle(self, task: _Task, seen: Inspected) -> Inspected:
        """Return what was seen, now that every file before it was: only those are what it can repeat."""
        if seen.document is not None and seen.error is None:
            identifier = bytes.fromhex(seen.document.id)
            if self._first[identifier] < task.place:
                return replace(seen, repeated=True, pages=PageCounts())
            self._first[identifier] = _BEFORE
            return seen
        repeated = seen.url in self._failed  # two of the roots lead to it
        self._failed.add(seen.url)
        return replace(seen, repeated=repeated)

    def _inspect(self, task: _Task) -> Inspected:
        return inspect_source(
            task.found, self._inspector, self.cancel, lambda document: self._is_first(document, task.place)
        )

    def _is_first(self, document: str, place: tuple[int, ...]) -> bool:
        """Whether no file before this one is known to be the same document."""
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
            raise Stopped("stopped while files were looked at")

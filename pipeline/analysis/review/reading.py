"""From sampled pages to their readings. Pages without a reading are read now.

Files are opened, rendered and read by the functions of `pagesight index`. Page images and answers are archived as
there, readings are not: indexing the same files later asks no question twice.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, replace
from itertools import groupby

from pipeline.analysis.inspect import Inspector
from pipeline.analysis.review.candidates import NO_BATCH, opened_file
from pipeline.analysis.review.sampling import SampleCandidate
from pipeline.archive import Archive
from pipeline.core.errors import OutcomeError, Stopped
from pipeline.core.models import PageSlice, Reading, RenderedPage, Source, Tombstone, WorkUnit
from pipeline.core.retry import STOP_POLL_SECONDS, CancelToken
from pipeline.core.threads import PrioritySemaphore
from pipeline.documents.opening import Opener
from pipeline.pages.page_services import recipe_of
from pipeline.pages.process import DocumentRerenderer
from pipeline.pages.readings import failed_reading, new_reading, read_reading, rendered_reading
from pipeline.rendering.protocol import RENDER_REVISION
from pipeline.sources import FoundFile, require_unchanged
from pipeline.vision.reader import Reader

_TICK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class ReviewedPage:
    """A page with one or several readings."""

    readings: tuple[Reading, ...]
    """At least one; all have the same page image."""

    @property
    def suspect(self) -> bool:
        """Whether a person should check it."""
        return any(reading.is_in_doubt for reading in self.readings)

    @property
    def sort_key(self) -> tuple[str, str, int]:
        """Sort key: name and id of the document, page number."""
        first = self.readings[0]
        return first.document.name, first.document.id, first.page_number


@dataclass(frozen=True, slots=True)
class PageReaders:
    """Reads pages for review. Threads share it."""

    inspector: Inspector
    cropper: Opener
    """Renders pages again after doubtful answers."""
    archive: Archive
    readers: Sequence[Reader]
    """Each reads every page."""
    language: str
    """BCP 47 tag of the requested language."""
    executor: Executor
    in_hand: PrioritySemaphore
    """Pages rendered and not yet read."""


def archived_page(archive: Archive, collection: str, candidate: SampleCandidate) -> ReviewedPage | None:
    """Return an archived page, None if it was deleted in the meantime."""
    assert candidate.revision is not None
    reading = archive.readings(collection, candidate.document).page(candidate.page_number).revision(candidate.revision)
    return None if isinstance(reading, Tombstone) else ReviewedPage((reading,))


def read_pages(
    candidates: Iterable[SampleCandidate], page_readers: PageReaders, cancel: CancelToken, tick: Callable[[], None]
) -> Iterator[ReviewedPage]:
    """Read pages without readings; yield them by document and page, while the next ones are rendered.

    `tick` is called a few times a second during waits.

    Raises:
        ServiceRefused: no page can be read, or rendered.
        Stopped: the run was cancelled.
    """
    ours = cancel.within(math.inf)
    begun: deque[Future[ReviewedPage]] = deque()
    try:
        for _, pages in groupby(sorted(candidates, key=lambda one: one.page_key), key=lambda one: one.document):
            for future in _start_document(list(pages), page_readers, ours, tick):
                begun.append(future)
                while begun and begun[0].done():
                    yield begun.popleft().result()
        while begun:
            while not wait([begun[0]], _TICK_SECONDS).done:
                tick()
            yield begun.popleft().result()
    finally:
        ours.stop()  # a caller that stops iterating ends the threads too


def _start_document(
    candidates: list[SampleCandidate], page_readers: PageReaders, cancel: CancelToken, tick: Callable[[], None]
) -> Iterator[Future[ReviewedPage]]:
    """Render pages of one file, and submit each for reading. If the file fails, all its pages fail."""
    source = candidates[0].source
    assert source is not None
    assert source.state is not None
    waiting = iter(candidates)
    files = replace(page_readers.inspector.files, cancel=cancel)
    try:
        found = FoundFile(source.url, root=source.root)
        with opened_file(found, source.state, page_readers.inspector, files) as (file, _, opened):
            for candidate in waiting:
                _acquire(page_readers.in_hand, cancel, tick)
                rendered: RenderedPage | OutcomeError
                try:
                    wants_pixels = any(reader.wants_pixels for reader in page_readers.readers)
                    rendered = opened.render(candidate.page_number, with_pixels=wants_pixels)
                    require_unchanged(file, source.state)
                except OutcomeError as error:
                    rendered = error
                yield page_readers.executor.submit(_read, source, candidate.page_number, rendered, page_readers, cancel)
    except OutcomeError as error:
        for candidate in waiting:
            _acquire(page_readers.in_hand, cancel, tick)
            yield page_readers.executor.submit(_read, source, candidate.page_number, error, page_readers, cancel)


def _acquire(in_hand: PrioritySemaphore, cancel: CancelToken, tick: Callable[[], None]) -> None:
    while not in_hand.acquire(STOP_POLL_SECONDS):
        tick()
        if cancel.stopped:
            raise Stopped("stopped while pages were read")


def _read(
    source: Source, number: int, rendered: RenderedPage | OutcomeError, page_readers: PageReaders, cancel: CancelToken
) -> ReviewedPage:
    try:
        readings = [_reading(source, number, rendered, reader, page_readers, cancel) for reader in page_readers.readers]
    finally:
        page_readers.in_hand.release()
    return ReviewedPage(tuple(readings))


def _reading(
    source: Source,
    number: int,
    rendered: RenderedPage | OutcomeError,
    reader: Reader,
    page_readers: PageReaders,
    cancel: CancelToken,
) -> Reading:
    assert source.document is not None
    part = PageSlice(source, source.document, (number,))
    work = WorkUnit(source.collection, NO_BATCH, page_readers.language, 0, (part,))
    recipe = recipe_of(reader, page_readers.language, "", page_readers.inspector.opener.passwords)
    reading = new_reading(part, number, work, recipe)
    try:
        if isinstance(rendered, OutcomeError):
            raise rendered
        reading = rendered_reading(reading, rendered, page_readers.archive, RENDER_REVISION)
        if rendered.blank:
            return reading
        files = replace(page_readers.inspector.files, cancel=cancel)
        shown = DocumentRerenderer(part, number, files, page_readers.cropper)
        return read_reading(reading, reader.read(rendered, work.language, cancel, shown), reader)
    except OutcomeError as error:
        return failed_reading(reading, recipe, error, None)

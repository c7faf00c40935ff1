"""Processes a work unit. Both runners call `process_unit`, and no stage below knows which runner called.

    render ──▶ read ──▶ save ──▶ project

A page is read as soon as it is rendered, while the next one is being rendered. Each answer is archived when it arrives,
and the reading of a page when it is complete. The records of the work unit are sent to Elasticsearch together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Set
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

from pipeline.core.errors import (
    DocumentLimit,
    OutcomeError,
    ServiceRefused,
    SourceChanged,
    SourceUnreadable,
    SourceVanished,
    Stopped,
)
from pipeline.core.models import (
    Failure,
    FileState,
    PageSlice,
    PageStatus,
    Reading,
    RenderedCrop,
    RenderedPage,
    Source,
    Tombstone,
    WorkUnit,
)
from pipeline.core.retry import STOP_POLL_SECONDS
from pipeline.documents.opening import Opener, OpenPages
from pipeline.pages.deletion import purge_late_page
from pipeline.pages.document_budget import DocumentBudget
from pipeline.pages.page_services import PageServices, Stage, unmeasured
from pipeline.pages.readings import failed_reading, new_reading, read_reading, rendered_reading
from pipeline.pages.revisions import is_overtaken, save_reading
from pipeline.projection.projector import lingering
from pipeline.projection.records import page_id
from pipeline.rendering.protocol import RENDER_REVISION
from pipeline.sources import SourceFiles, require_unchanged

#: Errors of a file, after which no further page of it is processed.
_SOURCE_ERRORS = (SourceChanged, SourceVanished, SourceUnreadable)


@dataclass(frozen=True, slots=True)
class UnitOutcome:
    """The outcome of a work unit."""

    pages: dict[str, Counter[PageStatus]]
    """Number of pages by document and status."""
    refused: Counter[PageStatus]
    """Number of pages whose record Elasticsearch refused, by the status of their reading.

    `pages` counts them as failed.
    """
    broken: tuple[tuple[Source, Failure], ...]
    """Sources whose file is gone, unreadable or not the identified one. Their remaining pages were not processed."""
    ended: tuple[tuple[PageSlice, Failure], ...]
    """Pages that were not processed, because the budget of their document is spent."""
    cached_answers: int
    rest: tuple[PageSlice, ...]
    """Pages that were not read, or not written to the index, because the cancel token ended."""


def process_unit(unit: WorkUnit, services: PageServices, on_page: Callable[[PageStatus], None]) -> UnitOutcome:
    """Process the pages of a work unit until the cancel token ends. Call `on_page` with the status of each read page.

    Raises:
        ServiceRefused: the model or Elasticsearch refuses all requests. The pages that were read are archived.
    """
    started, broken, spent = _start_unit(unit, services, on_page)
    finished = [_gather(futures) for futures in started]
    readings = [page.reading for pages in finished for page in pages.values() if page.reading is not None]
    try:
        with services.stage("project"):
            refused: Set[str] = lingering(services.projector).pages(readings).keys()
    except Stopped:  # the readings are archived, and the next attempt verifies the index
        readings, refused = [], set()
        finished = [{} for _ in finished]
    for futures in started:
        _raise_refusal(futures)
    return UnitOutcome(
        pages=_count(readings, refused),
        refused=Counter(reading.status for reading in _live(readings) if _page_id(reading) in refused),
        broken=tuple(broken.values()),
        ended=tuple(
            (left, failure)
            for number, failure in spent.items()
            if (left := _without(unit.slices[number], finished[number])) is not None
        ),
        cached_answers=sum(page.cached for pages in finished for page in pages.values()),
        rest=tuple(
            left
            for number, (piece, pages) in enumerate(zip(unit.slices, finished, strict=True))
            if number not in broken and number not in spent and (left := _without(piece, pages)) is not None
        ),
    )


def _start_unit(
    unit: WorkUnit, services: PageServices, on_page: Callable[[PageStatus], None]
) -> tuple[list[dict[int, Future[_Finished]]], dict[int, tuple[Source, Failure]], dict[int, Failure]]:
    """Start the pages of each slice.

    Return their futures by slice, and by slice number the broken sources and the failures of spent budgets.
    """
    started: list[dict[int, Future[_Finished]]] = []
    broken: dict[int, tuple[Source, Failure]] = {}
    spent: dict[int, Failure] = {}
    for number, piece in enumerate(unit.slices):
        futures: dict[int, Future[_Finished]] = {}
        started.append(futures)
        try:
            for page, future in _start_pages(piece, unit, services, on_page):
                futures[page] = future
        except DocumentLimit as error:
            spent[number] = Failure.of(error)
        except OutcomeError as error:
            broken[number] = (piece.source, Failure.of(error))
    return started, broken, spent


def _start_pages(
    piece: PageSlice, unit: WorkUnit, services: PageServices, on_page: Callable[[PageStatus], None]
) -> Iterator[tuple[int, Future[_Finished]]]:
    """Render the pages of a slice one by one, and submit each for reading.

    Raises:
        SourceChanged, SourceVanished, SourceUnreadable: the file is gone, unreadable or not the identified one.
        LinkOutOfTree: its path leads out of its root by now.
        OutcomeError: as `SourceFiles.open_document` raises it.
        DocumentLimit: the budget of the document is spent.
    """
    newest = services.archive.readings(unit.collection, piece.document.id).newest_revisions()
    finisher = _PageFinisher(piece, unit, services, newest, on_page)
    source, state = piece.source, piece.source.state
    assert state is not None
    try:
        with services.files.open_document(source.url, state, piece.document.id, source.root) as file:
            for number, rendered in _render_pages(file, state, piece, unit.batch, services):
                yield number, services.pages.submit(finisher.finish, number, rendered)
    except Stopped:  # while waiting for a bucket or a sandbox: the whole slice is left
        return


def _render_pages(
    file: BinaryIO, state: FileState, piece: PageSlice, batch: str, services: PageServices
) -> Iterator[tuple[int, RenderedPage | OutcomeError]]:
    """Yield each rendered page, or the error of rendering it. Wait for a permit before each page."""
    document = piece.document
    notes = services.archive.journal(batch).costs[document.id]
    is_shared = document.pages > len(piece.page_numbers)
    budget = DocumentBudget(notes, services.document_limits, shared=is_shared)
    budget.require()
    numbers = iter(piece.page_numbers)
    try:
        opened_document = services.opener.open(
            file, document.id, piece.source.path, document.media_type, services.cancel
        )
        with opened_document as opened:
            require_unchanged(file, state)  # else the pages may be those of another document
            for number in numbers:
                budget.require()
                if not _take_permit(services):
                    return
                seconds = opened.cpu_seconds
                rendered = _render(opened, number, services)
                budget.count(opened.cpu_seconds - seconds, rendered)
                try:
                    require_unchanged(file, state)
                except OutcomeError:
                    services.in_hand.release()
                    raise
                yield number, rendered
    except (*_SOURCE_ERRORS, DocumentLimit):
        raise
    except OutcomeError as error:  # the file cannot be opened: each of its remaining pages fails with the reason
        require_unchanged(file, state)
        budget.count(0, error)
        for number in numbers:
            if not _take_permit(services):
                return
            yield number, error
    finally:
        budget.note()


def _take_permit(services: PageServices) -> bool:
    """Wait for a permit to hold one more rendered page. Return False if the cancel token ends first."""
    while not services.cancel.stopped:
        if services.in_hand.acquire(STOP_POLL_SECONDS, urgent=services.cancel.urgent):
            return True
    return False


def _render(opened: OpenPages, number: int, services: PageServices) -> RenderedPage | OutcomeError:
    try:
        with services.stage("render"):
            return opened.render(number, with_pixels=services.reader.wants_pixels)
    except OutcomeError as error:
        return error


@dataclass(frozen=True, slots=True)
class _Finished:
    reading: Reading | Tombstone | None
    """The newest reading of the page; None if the document was deleted before the page was read."""
    cached: int = 0


@dataclass(frozen=True, slots=True)
class _PageFinisher:
    """Reads and archives the rendered pages of one slice. Several threads share it."""

    piece: PageSlice
    unit: WorkUnit
    services: PageServices
    newest: dict[int, int]
    """The newest archived revision of each page before the slice was started."""
    on_page: Callable[[PageStatus], None]

    def finish(self, number: int, rendered: RenderedPage | OutcomeError) -> _Finished:
        """Read a page and archive its reading.

        Raises:
            ServiceRefused: a service refuses all pages.
            Stopped: the cancel token ended before the page was read.
        """
        services, unit = self.services, self.unit
        try:
            if is_overtaken(services.archive, unit.collection, self.piece.document.id, unit.deletions_seen):
                self._clean_up(rendered)
                return _Finished(None)  # the model is not asked about a deleted document
            known = self._known(number)
            reading, cached = self._read(number, rendered, known)
            saved = save_reading(services.archive, reading, known)
            if isinstance(saved, Tombstone):
                self._clean_up(rendered)
        except (Stopped, ServiceRefused):
            self._clean_up(rendered)
            raise
        finally:
            services.in_hand.release()
        services.cancel.made_progress()
        if isinstance(saved, Reading):
            self.on_page(saved.status)
        return _Finished(saved, cached)

    def _clean_up(self, rendered: RenderedPage | OutcomeError) -> None:
        """If the document was purged meanwhile, remove everything that this page added to the archive."""
        unit = self.unit
        pixels = None if isinstance(rendered, OutcomeError) else rendered.pixels_sha256
        purge_late_page(self.services.archive, unit.collection, self.piece.document.id, unit.deletions_seen, pixels)

    def _known(self, number: int) -> Reading | Tombstone | None:
        revision = self.newest.get(number)
        if revision is None:
            return None
        return (
            self.services.archive.readings(self.unit.collection, self.piece.document.id).page(number).revision(revision)
        )

    def _read(
        self, number: int, rendered: RenderedPage | OutcomeError, known: Reading | Tombstone | None
    ) -> tuple[Reading, int]:
        services, unit = self.services, self.unit
        recipe = services.recipe(unit.language)
        reading = new_reading(self.piece, number, unit, recipe)
        try:
            if isinstance(rendered, OutcomeError):
                raise rendered
            reading = rendered_reading(reading, rendered, services.archive, RENDER_REVISION)
            if rendered.blank:
                return reading, 0
            with services.stage("read"):
                rerenderer = DocumentRerenderer(self.piece, number, services.files, services.cropper, services.stage)
                found = services.reader.read(rendered, unit.language, services.cancel, rerenderer)
        except OutcomeError as error:
            before = known.error if isinstance(known, Reading) else None
            return failed_reading(reading, recipe, error, before), 0
        return read_reading(reading, found, services.reader), found.cached


@dataclass(frozen=True, slots=True)
class DocumentRerenderer:
    """Renders a page again. It opens the file a second time."""

    part: PageSlice
    number: int
    files: SourceFiles
    cropper: Opener
    """As in `PageServices`."""
    stage: Callable[[Stage], AbstractContextManager[None]] = unmeasured

    def crops(self, bands: int) -> tuple[RenderedCrop, ...]:
        """Return the page in bands; see `pipeline.vision.reader.Rerenderer`."""
        with self._open() as opened:
            return opened.render_crops(self.number, bands)

    def pixels(self) -> RenderedPage:
        """Return the page with its pixels; see `pipeline.vision.reader.Rerenderer`."""
        with self._open() as opened:
            return opened.render(self.number, with_pixels=True)

    @contextmanager
    def _open(self) -> Iterator[OpenPages]:
        source, document = self.part.source, self.part.document
        assert source.state is not None
        cancel = self.files.cancel
        with (
            self.stage("render"),
            self.files.open_document(source.url, source.state, document.id, source.root) as file,
            self.cropper.open(file, document.id, source.path, document.media_type, cancel) as opened,
        ):
            require_unchanged(file, source.state)
            yield opened
            require_unchanged(file, source.state)


def _gather(futures: dict[int, Future[_Finished]]) -> dict[int, _Finished]:
    """Wait for the pages of a slice; return the ones that were read, by page number."""
    finished = {}
    for number, future in futures.items():
        try:
            finished[number] = future.result()
        except (Stopped, ServiceRefused):
            continue
    return finished


def _raise_refusal(futures: dict[int, Future[_Finished]]) -> None:
    for future in futures.values():
        if isinstance(future.exception(), ServiceRefused):
            future.result()


def _without(piece: PageSlice, finished: Collection[int]) -> PageSlice | None:
    """Return a slice of the pages that are not finished; None if all are finished."""
    left = tuple(number for number in piece.page_numbers if number not in finished)
    return replace(piece, page_numbers=left) if left else None


def _count(readings: list[Reading | Tombstone], refused: Set[str]) -> dict[str, Counter[PageStatus]]:
    """Count pages by document and status. A page whose record the index refused counts as failed."""
    counts: dict[str, Counter[PageStatus]] = {}
    for reading in _live(readings):
        status = PageStatus.FAILED if _page_id(reading) in refused else reading.status
        counts.setdefault(reading.document.id, Counter())[status] += 1
    return counts


def _live(readings: list[Reading | Tombstone]) -> list[Reading]:
    return [reading for reading in readings if isinstance(reading, Reading)]


def _page_id(reading: Reading) -> str:
    return page_id(reading.collection, reading.document.id, reading.page_number)

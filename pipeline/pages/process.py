"""The recipe: how a range of pages is worked. Both runners call `process_unit`; no stage below knows which one did.

    render ──▶ read ──▶ save ──▶ project

A page is read as soon as it is rendered, while the next one renders. Its answers are archived when they come and its
reading when it is complete; the range's records go to Elasticsearch together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Set
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

from pipeline.archive import Archive
from pipeline.core.errors import (
    OutcomeError,
    ServiceRefused,
    SourceChanged,
    SourceUnreadable,
    SourceVanished,
    Stopped,
)
from pipeline.core.models import (
    Batch,
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
from pipeline.core.retry import STOP_POLL_SECONDS, CancelToken
from pipeline.core.threads import PrioritySemaphore
from pipeline.documents.opening import Opener, OpenPages
from pipeline.documents.passwords import Passwords
from pipeline.pages.deletion import clean_up_behind
from pipeline.pages.readings import failed_reading, new_reading, read_reading, rendered_reading
from pipeline.pages.recipe import Recipe
from pipeline.pages.revisions import is_overtaken, save_reading
from pipeline.projection.projector import Projector
from pipeline.projection.records import page_id
from pipeline.rendering.protocol import RENDER_REVISION
from pipeline.sources import SourceFiles, require_unchanged
from pipeline.vision.budget import Budget
from pipeline.vision.profile import kept_profile
from pipeline.vision.reader import Reader

#: Pages worked together. One bulk request of 16 records is 6.5 times as fast per record as 16 of one.
UNIT_PAGES = 16

Stage = Literal["register", "render", "read", "project"]

_SOURCE_ERRORS = (SourceChanged, SourceVanished, SourceUnreadable)


def _no_stage(_stage: Stage) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class PageServices:
    """What the recipe works with: built once per process, shared by its threads."""

    archive: Archive
    projector: Projector
    opener: Opener
    cropper: Opener
    """Opens documents once more, to show pages anew: with sandboxes of its own."""
    files: SourceFiles
    reader: Reader
    cancel: CancelToken
    """That of the whole process."""
    pages: Executor
    """Runs the reading of pages."""
    in_hand: PrioritySemaphore
    """Pages rendered and not yet read: enough to keep the model busy, few enough to keep memory flat."""
    limits: str
    """The limits in force, as fingerprints hold them."""
    max_file_bytes: int
    stage: Callable[[Stage], AbstractContextManager[None]] = _no_stage
    """Told of each stage that is gone through: a worker measures them."""

    def of_batch(self, batch: Batch) -> PageServices:
        """Return these tools with a reader that asks the questions of a batch's profile.

        Raises:
            SettingsError: this version cannot use the profile.
        """
        return replace(self, reader=self.reader.with_profile(kept_profile(batch.profile, batch.own_profile)))

    def within(self, budget: Budget) -> PageServices:
        """Return these tools with a reader whose calls a budget bounds."""
        return replace(self, reader=self.reader.within(budget))

    def recipe(self, language: str) -> Recipe:
        """Return how pages are read with these tools."""
        return recipe_of(self.reader, language, self.limits, self.opener.passwords)


def recipe_of(reader: Reader, language: str, limits: str, passwords: Passwords) -> Recipe:
    """Return how pages are read by a reader, in a language, within limits as fingerprints hold them."""
    return Recipe(
        language=language,
        reader=reader.name,
        reader_revision=reader.revision,
        profile=reader.profile,
        prompt_revision=reader.prompt_revision,
        render_revision=RENDER_REVISION,
        limits=limits,
        passwords=passwords,
    )


@dataclass(frozen=True, slots=True)
class UnitOutcome:
    """What came of a range."""

    pages: dict[str, Counter[PageStatus]]
    """How the pages ended, by document."""
    refused: Counter[PageStatus]
    """Pages whose record Elasticsearch refused, by the status they would have; in `pages` they are failed."""
    broken: tuple[tuple[Source, Failure], ...]
    """Sources whose file was no longer the one that was identified; their pages were not worked."""
    cached_answers: int
    rest: tuple[PageSlice, ...]
    """What is still to be done, where the patience ended before the range: pages not read, or not in the index."""


def process_unit(
    work: WorkUnit, tools: PageServices, cancel: CancelToken, on_page: Callable[[PageStatus], None]
) -> UnitOutcome:
    """Work the pages of a range for as long as the patience lasts; `on_page` hears of each that ended.

    Raises:
        ServiceRefused: the model or Elasticsearch says no to everything. What was finished is archived.
    """
    started: list[dict[int, Future[_Finished]]] = []
    broken: dict[int, tuple[Source, Failure]] = {}
    for place, part in enumerate(work.slices):
        futures: dict[int, Future[_Finished]] = {}
        started.append(futures)
        try:
            for number, future in _start_pages(part, work, tools, cancel, on_page):
                futures[number] = future
        except _SOURCE_ERRORS as error:
            broken[place] = (part.source, Failure.of(error))
    finished = [_gather(futures) for futures in started]
    readings = [page.reading for pages in finished for page in pages.values() if page.reading is not None]
    try:
        with tools.stage("project"):
            refused: Set[str] = replace(tools.projector, cancel=cancel).pages(readings).keys()
    except Stopped:  # everything is archived, and what is not in the index is found there by whoever goes on
        readings, refused = [], set()
        finished = [{} for _ in finished]
    for futures in started:
        _raise_refusal(futures)
    return UnitOutcome(
        pages=_count(readings, refused),
        refused=Counter(reading.status for reading in _live(readings) if _page_id(reading) in refused),
        broken=tuple(broken.values()),
        cached_answers=sum(page.cached for pages in finished for page in pages.values()),
        rest=tuple(
            left
            for place, (part, pages) in enumerate(zip(work.slices, finished, strict=True))
            if place not in broken and (left := _without(part, pages)) is not None
        ),
    )


def _start_pages(
    part: PageSlice, work: WorkUnit, tools: PageServices, cancel: CancelToken, on_page: Callable[[PageStatus], None]
) -> Iterator[tuple[int, Future[_Finished]]]:
    """Render a slice's pages one after the other, and hand each on at once to be read.

    Raises:
        SourceChanged, SourceVanished, SourceUnreadable: the file is not the one that was identified.
    """
    newest = tools.archive.revisions(work.collection, part.document.id)
    desk = _PageFinisher(part, work, tools, cancel, newest, on_page)
    state = part.source.state
    assert state is not None
    files = replace(tools.files, cancel=cancel)
    try:
        with files.open_document(part.source.url, state, part.document.id) as file:
            for number, rendered in _render_pages(file, state, part, tools, cancel):
                yield number, tools.pages.submit(desk.finish, number, rendered)
    except Stopped:  # before its bucket was back, or a sandbox was free: the slice is left as a whole
        return


def _render_pages(
    file: BinaryIO, state: FileState, part: PageSlice, tools: PageServices, cancel: CancelToken
) -> Iterator[tuple[int, RenderedPage | OutcomeError]]:
    """Yield each page as rendered, or why it could not be, no more of them at a time than may be in hand."""
    numbers = iter(part.page_numbers)
    document = part.document
    try:
        with tools.opener.open(file, document.id, part.source.path, document.media_type, cancel) as opened:
            for number in numbers:
                if not _may_start(tools, cancel):
                    return
                rendered = _render(opened, number, tools)
                try:
                    require_unchanged(file, state)
                except OutcomeError:
                    tools.in_hand.give_back()
                    raise
                yield number, rendered
    except _SOURCE_ERRORS:
        raise
    except OutcomeError as error:  # the file cannot be opened any more: each of its pages says so
        for number in numbers:
            if not _may_start(tools, cancel):
                return
            yield number, error


def _may_start(tools: PageServices, cancel: CancelToken) -> bool:
    """Take a place for one more page in hand, unless the patience has ended."""
    while not cancel.stopped:
        if tools.in_hand.take(STOP_POLL_SECONDS, urgent=cancel.urgent):
            return True
    return False


def _render(opened: OpenPages, number: int, tools: PageServices) -> RenderedPage | OutcomeError:
    try:
        with tools.stage("render"):
            return opened.render(number, with_pixels=tools.reader.wants_pixels)
    except OutcomeError as error:
        return error


@dataclass(frozen=True, slots=True)
class _Finished:
    reading: Reading | Tombstone | None
    """The newest one; None where the document was deleted before the page was read."""
    cached: int = 0


@dataclass(frozen=True, slots=True)
class _PageFinisher:
    """Where the pages of one slice are finished, by several threads."""

    part: PageSlice
    work: WorkUnit
    tools: PageServices
    cancel: CancelToken
    newest: dict[int, int]
    """The newest archived revision of each page when the slice was begun."""
    on_page: Callable[[PageStatus], None]

    def finish(self, number: int, rendered: RenderedPage | OutcomeError) -> _Finished:
        """Read a page and archive its reading.

        Raises:
            ServiceRefused: no page can be read.
            Stopped: the patience has ended before the page was read.
        """
        tools, work = self.tools, self.work
        try:
            if is_overtaken(tools.archive, work.collection, self.part.document.id, work.deletions_seen):
                self._clean_up(rendered)
                return _Finished(None)  # nobody is asked about what is deleted by now
            known = self._known(number)
            reading, cached = self._read(number, rendered, known)
            saved = save_reading(tools.archive, reading, known)
            if isinstance(saved, Tombstone):
                self._clean_up(rendered)
        except (Stopped, ServiceRefused):
            self._clean_up(rendered)
            raise
        finally:
            tools.in_hand.give_back()
        if isinstance(saved, Reading):
            self.on_page(saved.status)
        return _Finished(saved, cached)

    def _clean_up(self, rendered: RenderedPage | OutcomeError) -> None:
        """Leave nothing of a page whose document is purged by now."""
        work = self.work
        pixels = None if isinstance(rendered, OutcomeError) else rendered.pixels_sha256
        clean_up_behind(self.tools.archive, work.collection, self.part.document.id, work.deletions_seen, pixels)

    def _known(self, number: int) -> Reading | Tombstone | None:
        revision = self.newest.get(number)
        if revision is None:
            return None
        return self.tools.archive.reading(self.work.collection, self.part.document.id, number, revision)

    def _read(
        self, number: int, rendered: RenderedPage | OutcomeError, known: Reading | Tombstone | None
    ) -> tuple[Reading, int]:
        tools, work = self.tools, self.work
        recipe = tools.recipe(work.language)
        reading = new_reading(self.part, number, work, recipe)
        try:
            if isinstance(rendered, OutcomeError):
                raise rendered
            reading = rendered_reading(reading, rendered, tools.archive, RENDER_REVISION)
            if rendered.blank:
                return reading, 0
            with tools.stage("read"):
                files = replace(tools.files, cancel=self.cancel)
                shown = DocumentRerenderer(self.part, number, files, tools.cropper, tools.stage)
                found = tools.reader.read(rendered, work.language, self.cancel, shown)
        except OutcomeError as error:
            before = known.error if isinstance(known, Reading) else None
            return failed_reading(reading, recipe, error, before), 0
        return read_reading(reading, found, tools.reader), found.cached


@dataclass(frozen=True, slots=True)
class DocumentRerenderer:
    """Shows a page anew: its file is opened once more."""

    part: PageSlice
    number: int
    files: SourceFiles
    cropper: Opener
    """As in `PageServices`."""
    stage: Callable[[Stage], AbstractContextManager[None]] = _no_stage

    def crops(self, bands: int) -> tuple[RenderedCrop, ...]:
        """Return the page in bands; see `pipeline.vision.reader.Rerenderer`."""
        with self._open() as opened:
            return opened.render_crops(self.number, bands)

    def pixels(self) -> RenderedPage:
        """Return the page with its pixels; likewise."""
        with self._open() as opened:
            return opened.render(self.number, with_pixels=True)

    @contextmanager
    def _open(self) -> Iterator[OpenPages]:
        source, document = self.part.source, self.part.document
        assert source.state is not None
        cancel = self.files.cancel
        with (
            self.stage("render"),
            self.files.open_document(source.url, source.state, document.id) as file,
            self.cropper.open(file, document.id, source.path, document.media_type, cancel) as opened,
        ):
            yield opened
            require_unchanged(file, source.state)


def _gather(futures: dict[int, Future[_Finished]]) -> dict[int, _Finished]:
    """Wait for the pages of a slice; return those that ended, by page number."""
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


def _without(part: PageSlice, finished: Collection[int]) -> PageSlice | None:
    """Return what is left of a slice, or None."""
    left = tuple(number for number in part.page_numbers if number not in finished)
    return replace(part, page_numbers=left) if left else None


def _count(readings: list[Reading | Tombstone], refused: Set[str]) -> dict[str, Counter[PageStatus]]:
    """Count pages by document and status; a page whose record the index refused has failed."""
    counts: dict[str, Counter[PageStatus]] = {}
    for reading in _live(readings):
        status = PageStatus.FAILED if _page_id(reading) in refused else reading.status
        counts.setdefault(reading.document.id, Counter())[status] += 1
    return counts


def _live(readings: list[Reading | Tombstone]) -> list[Reading]:
    return [reading for reading in readings if isinstance(reading, Reading)]


def _page_id(reading: Reading) -> str:
    return page_id(reading.collection, reading.document.id, reading.page_number)

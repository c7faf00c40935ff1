"""What a message of the queue leads to: the stages called in their order, and the messages that are to follow.

    Part   ──▶ register 16 sources ──▶ work those that fit ──▶ Pages for the others
    Pages  ──▶ work up to 16 pages of a document

Each function returns what is still to be published; whoever delivers messages publishes that before it acknowledges.
The same message may come twice, or half-done: what is settled is left out, so nothing is asked or written twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from pipeline.archive import source_id
from pipeline.batches.budget import BatchBudget
from pipeline.batches.completion import complete_part, is_quiet
from pipeline.batches.listing import add_members
from pipeline.batches.messages import PART_SOURCES, Message, Pages, Part, Project
from pipeline.core.errors import Quarantined, Stopped, outcome_error
from pipeline.core.models import (
    Batch,
    BatchEntry,
    Document,
    Failure,
    PageSlice,
    PageStatus,
    PartState,
    PendingDocument,
    Source,
    Tombstone,
    WorkUnit,
)
from pipeline.core.retry import CancelToken
from pipeline.pages.paths import leave, with_place
from pipeline.pages.plan import Plan, plan
from pipeline.pages.process import UNIT_PAGES, PageServices, UnitOutcome, process_unit
from pipeline.pages.readings import failed_reading, new_reading
from pipeline.pages.recipe import Request
from pipeline.pages.registration import members_of, quarantine_source, register, source_failed
from pipeline.pages.revisions import save_reading
from pipeline.projection.projector import Projector
from pipeline.projection.verify import Verification
from pipeline.sources import FoundFile


@dataclass(slots=True)
class MessageReport:
    """What working a message came to, for logs and metrics. It decides nothing."""

    pages: Counter[PageStatus] = field(default_factory=Counter)
    cached_answers: int = 0
    sources: int = 0


OnPage = Callable[[PageStatus], None]


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What every message of a batch is worked with."""

    batch: Batch
    tools: PageServices
    cancel: CancelToken
    report: MessageReport
    purse: BatchBudget
    """What this process may spend of the batch's budgets; `tools` ask within it."""

    @property
    def request(self) -> Request:
        """What the batch asks for."""
        recipe = self.tools.recipe(self.batch.language)
        return Request(self.batch.collection, self.batch.id, self.batch.deletions_seen, recipe, self.batch.again)


def handle_part(message: Part, job: BatchContext) -> list[Message]:
    """Register the sources of a part, and work those whose pages fit into a range."""
    records = job.tools.archive.journal(message.batch)
    chunk = records.chunk(message.chunk)
    if chunk is None:
        return []
    if records.part(message.chunk, message.part) is not None:
        return add_members(message, (), job.tools.archive)  # those that were found when it was worked
    return _PartHandler(message, _entries_of(message, chunk.entries), job).work()


def handle_pages(message: Pages, job: BatchContext) -> list[Message]:
    """Work pages of a document that an earlier message registered."""
    archive = job.tools.archive
    records = archive.journal(message.batch)
    chunk = records.chunk(message.chunk)
    if chunk is None or records.part(message.chunk, message.part) is not None:
        return []
    entry = chunk.entries[message.part * PART_SOURCES + message.entry]
    source = archive.sources(job.batch.collection)[source_id(entry.url)].newest()
    if source is not None and source.document is not None and source.document.id == message.document:
        follow = _work_document(message, entry, source, source.document, job)
    else:
        follow = []  # another document lies there now, and who archived that has queued it; or all of it was deleted
    if not follow and is_quiet(records, message.chunk, message.part, job.request, archive):
        complete_part(message.chunk, message.part, job.request, _verification(job))
    return follow


def project(message: Project, tools: PageServices, cancel: CancelToken) -> None:
    """Bring the index to what the archive holds of documents and sources.

    Raises:
        Stopped: the patience has ended while Elasticsearch was away.
    """
    projector = replace(tools.projector, cancel=cancel)
    archive = tools.archive
    for document in message.documents:
        projector.pages(archive.readings(message.collection, document).newest())
    projector.documents(message.collection, message.documents)
    sources = (archive.sources(message.collection)[identifier].newest() for identifier in message.sources)
    projector.sources(source for source in sources if source is not None)


def quarantine(message: Part | Pages, evidence: str, job: BatchContext) -> list[Message]:
    """End a page, or a source of which no page is known, that killed its process each time it was worked alone."""
    archive = job.tools.archive
    records = archive.journal(message.batch)
    chunk = records.chunk(message.chunk)
    assert chunk is not None
    assert message.entry is not None
    entry = chunk.entries[message.part * PART_SOURCES + message.entry]
    error = Quarantined(evidence)
    if isinstance(message, Part):
        files = replace(job.tools.files, cancel=job.cancel)
        failed = quarantine_source(archive, entry.url, job.request, Failure.of(error), files)
        _projector(job).sources([failed])
        records.begin(message.chunk, message.part, message.entry, PartState(documents=()))
    else:
        source = archive.sources(job.batch.collection)[source_id(entry.url)].newest()
        if source is not None and source.document is not None and source.document.id == message.document:
            _quarantine_pages(message, source, error, job)
    if is_quiet(records, message.chunk, message.part, job.request, archive):
        complete_part(message.chunk, message.part, job.request, _verification(job))
    return []


@dataclass(slots=True)
class _Registered:
    entry: int
    source: Source
    planned: Plan | None
    """None where there is no document."""


class _PartHandler:
    """A part at work."""

    def __init__(self, message: Part, entries: dict[int, BatchEntry], job: BatchContext) -> None:
        self._message = message
        self._entries = entries
        self._job = job
        self._request = job.request
        self._verification = _verification(job)

    def work(self) -> list[Message]:
        registered = []
        for number, entry in self._entries.items():
            if self._job.cancel.stopped:
                return [self._message]
            registered.append(self._register(number, entry))
        self._project(registered)
        try:
            members = self._members(registered)
        except Stopped:
            return [self._message]
        due = [found for found in registered if found.planned and found.planned.due]
        large = [found for found in due if self._is_large(found)]
        begun = PartState(documents=tuple(map(self._begun, large)))
        if large or self._message.suspect:
            message = self._message
            records = self._job.tools.archive.journal(message.batch)
            records.begin(message.chunk, message.part, message.entry, begun)
        left = self._work_here([found for found in due if not self._is_large(found)], again=True)
        if left:
            return [self._message]  # which brings the members as well
        follow: list[Message] = [message for found in large for message in self._messages(found)]
        if not follow:
            self._settle()
        return [*members, *follow]

    def _members(self, registered: list[_Registered]) -> list[Message]:
        """Archive what lies within the sources, where all of it is wanted; return what is to be done about it."""
        files = replace(self._job.tools.files, cancel=self._job.cancel)
        whole = (found.source for found in registered if self._entries[found.entry].pages is None)
        inside = (member for source in whole for member in members_of(source, files))
        return add_members(self._message, inside, self._job.tools.archive)

    def _register(self, number: int, entry: BatchEntry) -> _Registered:
        source = _register(entry, self._job)
        archive = self._job.tools.archive
        planned = plan(source.document, self._request, archive, entry.pages) if source.document else None
        return _Registered(number, source, planned)

    def _project(self, registered: list[_Registered]) -> None:
        """Bring the index to what is known already: the sources, and the pages that need no work."""
        _projector(self._job).sources(found.source for found in registered)
        for found in registered:
            if found.planned is not None:
                _add_settled(found.planned, found.source, self._verification, self._job)
        self._verification.flush()

    def _is_large(self, found: _Registered) -> bool:
        """Whether its pages go into messages of their own: too many, or suspected to kill their process."""
        assert found.planned is not None
        return len(found.planned.due) > UNIT_PAGES or self._message.suspect

    def _begun(self, found: _Registered) -> PendingDocument:
        document, planned = found.source.document, found.planned
        assert document is not None
        assert planned is not None
        return PendingDocument(
            entry=found.entry,
            document=document.id,
            pages=document.pages,
            due=planned.due,
            known=planned.known,
        )

    def _messages(self, found: _Registered) -> Iterator[Pages]:
        document, planned, message = found.source.document, found.planned, self._message
        assert document is not None
        assert planned is not None
        step = 1 if message.suspect else UNIT_PAGES
        for start in range(0, len(planned.due), step):
            pages = planned.due[start : start + step]
            yield Pages(
                message.batch, message.chunk, message.part, found.entry, document.id, pages, suspect=message.suspect
            )

    def _work_here(self, due: list[_Registered], *, again: bool) -> bool:
        """Work small documents, several of them in one range; return whether something is left to do.

        A file that was replaced meanwhile is identified anew, once; then it counts as `changed`.
        """
        broken: set[str] = set()
        documents: set[str] = set()
        for slices in _ranges(due):
            outcome = _process(slices, self._job)
            if outcome.rest:
                return True
            documents |= outcome.pages.keys()
            for source, failure in outcome.broken:
                broken.add(source.url)
                assert source.document is not None
                leave(_projector(self._job), self._request.collection, source.document.id, source.path)
                _projector(self._job).sources([source_failed(self._job.tools.archive, source, failure)])
        _projector(self._job).documents(self._request.collection, sorted(documents))
        if not broken:
            return False
        anew = [
            self._register(number, entry) for number, entry in self._entries.items() if entry.url in broken and again
        ]
        if any(found.planned and found.planned.due and self._is_large(found) for found in anew):
            return True
        self._project(anew)
        return self._work_here([found for found in anew if found.planned and found.planned.due], again=False)

    def _settle(self) -> None:
        message, archive = self._message, self._job.tools.archive
        if message.entry is None:
            complete_part(message.chunk, message.part, self._request, self._verification, registered=True)
        elif is_quiet(archive.journal(message.batch), message.chunk, message.part, self._request, archive):
            complete_part(message.chunk, message.part, self._request, self._verification)


def _entries_of(message: Part, entries: tuple[BatchEntry, ...]) -> dict[int, BatchEntry]:
    first = message.part * PART_SOURCES
    part = dict(enumerate(entries[first : first + PART_SOURCES]))
    return part if message.entry is None else {message.entry: part[message.entry]}


def _ranges(due: Iterable[_Registered]) -> Iterator[list[PageSlice]]:
    """Put documents together into ranges; one that does not fit any more begins the next."""
    slices: list[PageSlice] = []
    pages = 0
    for found in due:
        assert found.planned is not None
        assert found.source.document is not None
        if pages + len(found.planned.due) > UNIT_PAGES:
            yield slices
            slices, pages = [], 0
        slices.append(PageSlice(found.source, found.source.document, found.planned.due))
        pages += len(found.planned.due)
    if slices:
        yield slices


def divide(slices: Iterable[PageSlice], pages: int) -> tuple[list[PageSlice], list[PageSlice]]:
    """Return the first so many pages of some slices, and the others."""
    first, others = [], []
    for part in slices:
        now, later = part.page_numbers[:pages], part.page_numbers[pages:]
        pages -= len(now)
        first += [replace(part, page_numbers=now)] if now else []
        others += [replace(part, page_numbers=later)] if later else []
    return first, others


def _process(slices: list[PageSlice], job: BatchContext) -> UnitOutcome:
    """Work as many of the pages as the batch's budget has room for; the others are a rest like any other."""
    batch = job.batch
    with job.purse.pages(sum(len(part.page_numbers) for part in slices)) as share:
        now, later = divide(slices, share.room)
        work = WorkUnit(batch.collection, batch.id, batch.language, batch.deletions_seen, tuple(now))
        outcome = process_unit(work, job.tools, job.cancel, share.count)
    for statuses in outcome.pages.values():
        job.report.pages.update(statuses)
    job.report.cached_answers += outcome.cached_answers
    return replace(outcome, rest=(*outcome.rest, *later))


def _register(entry: BatchEntry, job: BatchContext) -> Source:
    """Look at a place; pages of a document that lay there before lose it."""
    tools = job.tools
    found = FoundFile(entry.url, outcome_error(entry.error.type, entry.error.message) if entry.error else None)
    with tools.stage("register"):
        files = replace(tools.files, cancel=job.cancel)
        source, before = register(found, job.request, tools.archive, tools.opener, files, tools.max_file_bytes)
    job.report.sources += 1
    if before is not None and before.document is not None:
        leave(_projector(job), job.batch.collection, before.document.id, before.path)
    return source


def _work_document(
    message: Pages, entry: BatchEntry, source: Source, document: Document, job: BatchContext
) -> list[Message]:
    """Work those pages of a message that are due; return what is left of it."""
    planned = plan(document, job.request, job.tools.archive, message.pages)
    _verify(planned, source, job)
    if not planned.due:
        return []
    outcome = _process([PageSlice(source, document, planned.due)], job)
    _leave_if_replaced(source, document, job)
    if outcome.broken:  # another file lies there by now: the part is registered and planned again
        _projector(job).sources([_register(entry, job)])
        return [Part(message.batch, message.chunk, message.part)]
    return [replace(message, pages=left.page_numbers) for left in outcome.rest]


def _leave_if_replaced(source: Source, document: Document, job: BatchContext) -> None:
    """Take a place from pages that were read while another document came to lie there: who saw that came too early."""
    now = job.tools.archive.sources(source.collection)[source_id(source.url)].newest()
    if now is None or now.document is None or now.document.id != document.id:
        leave(_projector(job), source.collection, document.id, source.path)


def _quarantine_pages(message: Pages, source: Source, error: Quarantined, job: BatchContext) -> None:
    archive, request = job.tools.archive, job.request
    document = source.document
    assert document is not None
    part = PageSlice(source, document, message.pages)
    work = WorkUnit(request.collection, request.batch, job.batch.language, request.deletions_seen, (part,))
    known = {
        reading.page_number: reading
        for reading in archive.readings(request.collection, document.id).newest(message.pages)
    }
    saved = []
    for page in message.pages:
        base = new_reading(part, page, work, request.recipe)
        newest = save_reading(archive, failed_reading(base, request.recipe, error, None), known.get(page))
        if newest is not None and not isinstance(newest, Tombstone):
            saved.append(newest)
    job.report.pages[PageStatus.FAILED] += len(saved)
    _projector(job).pages(saved)


def _verify(planned: Plan, source: Source, job: BatchContext) -> None:
    verification = _verification(job)
    _add_settled(planned, source, verification, job)
    verification.flush()


def _add_settled(planned: Plan, source: Source, verification: Verification, job: BatchContext) -> None:
    settled = [with_place(job.tools.archive, reading, source) for reading in planned.settled]
    verification.pages(settled)
    if not planned.due and not planned.deleted and source.document and len(settled) == source.document.pages:
        verification.document(settled)


def _projector(job: BatchContext) -> Projector:
    return replace(job.tools.projector, cancel=job.cancel)


def _verification(job: BatchContext) -> Verification:
    return Verification(_projector(job))

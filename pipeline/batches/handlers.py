"""The handlers of the queue's messages: each calls the stages in their order, and returns the messages that follow.

    Part   ──▶ take in 16 sources ──▶ process the small documents ──▶ Pages for the large ones
    Pages  ──▶ process up to 16 pages of a document

The caller publishes the returned messages before it acknowledges the handled one. A message may be delivered twice, or
again after half of it was handled. Pages that have ended are left out, so no page is read or written twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from pipeline.archive import source_id
from pipeline.batches.budget import BatchBudget
from pipeline.batches.completion import complete_part, end_damaged_part, fail_damaged_list, is_quiet
from pipeline.batches.listing import add_members
from pipeline.batches.messages import PART_SOURCES, Message, Pages, Part, Project, members_id
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
    Reading,
    Source,
)
from pipeline.core.retry import CancelToken
from pipeline.pages.document_budget import end_early
from pipeline.pages.intake import Intake, due_slices
from pipeline.pages.page_services import PageServices
from pipeline.pages.paths import remove_path
from pipeline.pages.plan import Plan
from pipeline.pages.process import UnitOutcome, process_unit
from pipeline.pages.readings import failed_reading, new_reading
from pipeline.pages.recipe import Request, request_of
from pipeline.pages.registration import quarantine_source
from pipeline.pages.revisions import save_reading
from pipeline.pages.roots import with_root
from pipeline.pages.units import UNIT_PAGES, divide, pack, pages_in, work_unit
from pipeline.projection.verify import Verification
from pipeline.sources import FoundFile


@dataclass(slots=True)
class MessageReport:
    """Counts of one handled message. They are only for logs and metrics."""

    pages: Counter[PageStatus] = field(default_factory=Counter)
    cached_answers: int = 0
    sources: int = 0


OnPage = Callable[[PageStatus], None]


@dataclass(frozen=True, slots=True)
class BatchContext:
    """The context of a handler: the batch, and the services bound to its message."""

    batch: Batch
    services: PageServices
    """Bound to the batch, the message's cancel token and the budget."""
    report: MessageReport
    budget: BatchBudget

    @property
    def request(self) -> Request:
        """The request of the batch."""
        return request_of(self.batch, self.services.recipe(self.batch.language))

    def intake(self) -> Intake:
        """Return an intake for one message."""
        return Intake(self.services, self.request)

    def end_damaged(self, message: Part | Pages) -> None:
        """Archive the end of a message's part, whose chunk is damaged, and the failure that stands for its files."""
        fail_damaged_list(message.chunk, self.batch, self.services.projector)
        end_damaged_part(self.services.archive.journal(message.batch), message.chunk, message.part)

    def complete_if_quiet(self, message: Part | Pages) -> None:
        """Archive the end of a message's part if all pages of the part have ended."""
        archive, request = self.services.archive, self.request
        if is_quiet(archive.journal(message.batch), message.chunk, message.part, request, archive):
            complete_part(message.chunk, message.part, request, Verification(self.services.projector))


def handle_part(message: Part, context: BatchContext) -> list[Message]:
    """Take in the sources of a part, and process the documents whose pages fit into a work unit."""
    archive = context.services.archive
    records = archive.journal(message.batch)
    chunk = records.chunk(message.chunk)
    if chunk is None:
        context.end_damaged(message)
        return []
    if records.part(message.chunk, message.part) is not None:
        return add_members(message, (), archive)  # messages about the members found before the part ended
    entries = _entries_of(message, chunk.entries)
    return _PartHandler(message, entries, context).handle() if entries else []


def handle_pages(message: Pages, context: BatchContext) -> list[Message]:
    """Process pages of a document that an earlier message registered."""
    archive = context.services.archive
    records = archive.journal(message.batch)
    chunk = records.chunk(message.chunk)
    if chunk is None:
        context.end_damaged(message)
    if chunk is None or records.part(message.chunk, message.part) is not None:
        return []
    position = message.part * PART_SOURCES + message.entry
    if position >= len(chunk.entries):
        return []
    source = archive.sources(context.batch.collection)[source_id(chunk.entries[position].url)].newest()
    if source is not None and source.document is not None and source.document.id == message.document:
        follow = _process_pages(message, with_root(source, archive), source.document, context)
    else:
        follow = []  # the document was deleted, or replaced: the message that registered the new one queued its pages
    if not follow:
        context.complete_if_quiet(message)
    return follow


def handle_project(message: Project, services: PageServices, cancel: CancelToken) -> None:
    """Bring the index up to date with the archive for some documents and sources.

    Raises:
        Stopped: the cancel token ended while Elasticsearch was unavailable.
    """
    archive, projector = services.archive, services.with_cancel(cancel).projector
    for document in message.documents:
        projector.pages(archive.readings(message.collection, document).newest())
    projector.documents(message.collection, message.documents)
    sources = (archive.sources(message.collection)[identifier].newest() for identifier in message.sources)
    projector.sources(source for source in sources if source is not None)


def quarantine(message: Part | Pages, evidence: str, context: BatchContext) -> list[Message]:
    """Fail a poison page or source. Processing the page alone, or opening the source, killed the process each time."""
    archive = context.services.archive
    records = archive.journal(message.batch)
    chunk = records.chunk(message.chunk)
    if chunk is None:
        context.end_damaged(message)
        return []
    assert message.entry is not None
    entry = chunk.entries[message.part * PART_SOURCES + message.entry]
    error = Quarantined(evidence)
    if isinstance(message, Part):
        files = context.services.files
        failed = quarantine_source(archive, entry.url, context.request, Failure.of(error), files)
        context.services.projector.sources([failed])
        records.begin(message.chunk, message.part, message.entry, PartState(documents=()))
    else:
        source = archive.sources(context.batch.collection)[source_id(entry.url)].newest()
        if source is not None and source.document is not None and source.document.id == message.document:
            _quarantine_pages(message, PageSlice(source, source.document, message.pages), error, context)
    context.complete_if_quiet(message)
    return []


@dataclass(slots=True)
class _PlannedSource:
    entry: int
    source: Source
    plan: Plan | None
    """None without a document."""

    @property
    def is_due(self) -> bool:
        return self.plan is not None and bool(self.plan.due)


class _PartHandler:
    """Handles one part."""

    def __init__(self, message: Part, entries: dict[int, BatchEntry], context: BatchContext) -> None:
        self._message = message
        self._entries = entries
        self._context = context
        self._services = context.services
        self._intake = context.intake()

    def handle(self) -> list[Message]:
        planned = []
        for number in self._entries:
            if self._services.cancel.stopped:
                return [self._message]
            planned.append(self._take_in(number))
        self._intake.verify()
        try:
            members = self._members(planned)
        except Stopped:
            return [self._message]
        large = [found for found in planned if found.is_due and self._is_large(found)]
        self._begin(large)
        if self._is_left([found for found in planned if found.is_due and not self._is_large(found)]):
            return [self._message]  # handling it again returns the members as well
        follow: list[Message] = [message for found in large for message in self._page_messages(found)]
        if not follow:
            self._complete()
        return [*members, *follow]

    def _take_in(self, number: int) -> _PlannedSource:
        entry = self._entries[number]
        error = outcome_error(entry.error.type, entry.error.message) if entry.error else None
        source = self._intake.register(FoundFile(entry.url, error, root=entry.root))
        self._context.report.sources += 1
        return _PlannedSource(number, source, self._intake.plan(source, entry.pages))

    def _members(self, planned: list[_PlannedSource]) -> list[Message]:
        """Archive the files within sources whose pages are all requested; return the messages about them."""
        whole = (found.source for found in planned if self._entries[found.entry].pages is None)
        inside = [member for source in whole for member in self._intake.members(source)]
        self._intake.note_contents(members_id(self._message))
        return add_members(self._message, inside, self._services.archive, self._intake.passed_over)

    def _is_large(self, found: _PlannedSource) -> bool:
        """Whether its pages get messages of their own: they exceed a work unit, or may have killed a process."""
        assert found.plan is not None
        return len(found.plan.due) > UNIT_PAGES or self._message.suspect

    def _begin(self, large: list[_PlannedSource]) -> None:
        """Archive which documents of the part are processed in messages of their own."""
        message = self._message
        if large or message.suspect:
            records = self._services.archive.journal(message.batch)
            begun = PartState(documents=tuple(map(_pending, large)))
            records.begin(message.chunk, message.part, message.entry, begun)

    def _page_messages(self, found: _PlannedSource) -> Iterator[Pages]:
        document, message = found.source.document, self._message
        assert document is not None
        assert found.plan is not None
        step = 1 if message.suspect else UNIT_PAGES
        for start in range(0, len(found.plan.due), step):
            pages = found.plan.due[start : start + step]
            yield Pages(
                message.batch, message.chunk, message.part, found.entry, document.id, pages, suspect=message.suspect
            )

    def _is_left(self, due: list[_PlannedSource]) -> bool:
        """Process small documents, several in a work unit. Return whether any of them is left.

        If a document's file was replaced, the new document is processed. This recursion ends, because `resolve` accepts
        one replacement of each source.
        """
        broken: list[tuple[Source, Failure]] = []
        documents: set[str] = set()
        for slices in pack(piece for found in due for piece in due_slices(found.source, found.plan)):
            outcome = _process(slices, self._context)
            if outcome.rest:
                return True
            documents |= outcome.pages.keys()
            broken += outcome.broken
        self._services.projector.documents(self._context.batch.collection, sorted(documents))
        if not broken:
            return False
        again = self._plan_again({source.url for source in _resolve(broken, self._intake, self._context)})
        return any(map(self._is_large, again)) or self._is_left(again)

    def _plan_again(self, urls: set[str]) -> list[_PlannedSource]:
        """Take in the entries with these URLs again; return the ones with due pages."""
        again = [self._take_in(number) for number, entry in self._entries.items() if entry.url in urls]
        self._intake.verify()
        return [found for found in again if found.is_due]

    def _complete(self) -> None:
        message, request = self._message, self._context.request
        if message.entry is None:
            verification = Verification(self._services.projector)
            complete_part(message.chunk, message.part, request, verification, registered=True)
        else:
            self._context.complete_if_quiet(message)


def _entries_of(message: Part, entries: tuple[BatchEntry, ...]) -> dict[int, BatchEntry]:
    """Return the entries of a part by their number; none where the chunk has no such part."""
    first = message.part * PART_SOURCES
    part = dict(enumerate(entries[first : first + PART_SOURCES]))
    return part if message.entry is None else {number: part[number] for number in part if number == message.entry}


def _pending(found: _PlannedSource) -> PendingDocument:
    document, planned = found.source.document, found.plan
    assert document is not None
    assert planned is not None
    return PendingDocument(
        entry=found.entry,
        document=document.id,
        pages=document.pages,
        due=planned.due,
        known=planned.known,
    )


def _process(slices: list[PageSlice], context: BatchContext) -> UnitOutcome:
    """Process the pages that the batch's budget covers. The others are added to the rest of the outcome."""
    with context.budget.pages(pages_in(slices)) as share:
        now, later = divide(slices, share.room)
        outcome = process_unit(work_unit(context.request, now), context.services, share.count)
    for piece, failure in outcome.ended:
        end_early(piece, failure, context.request, context.services.projector)
    for statuses in outcome.pages.values():
        context.report.pages.update(statuses)
    context.report.cached_answers += outcome.cached_answers
    return replace(outcome, rest=(*outcome.rest, *later))


def _resolve(broken: Iterable[tuple[Source, Failure]], intake: Intake, context: BatchContext) -> list[Source]:
    """Resolve broken sources; return the ones that have a document now.

    The journal stores the file state that was replaced first, by source. So a redelivered message resolves the same
    replacement in the same way, and a second replacement is recognised by its different state.
    """
    records = context.services.archive.journal(context.batch.id)
    resolved = []
    for source, failure in broken:
        assert source.state is not None
        first = records.replaced.add(source_id(source.url), source.state) == source.state
        resolved.append(intake.resolve(source, failure, first=first))
    intake.verify()
    return [source for source in resolved if source.document is not None]


def _process_pages(message: Pages, source: Source, document: Document, context: BatchContext) -> list[Message]:
    """Process the due pages of a message; return the messages for the rest."""
    intake = context.intake()
    planned = intake.plan(source, message.pages)
    intake.verify()
    assert planned is not None
    if not planned.due:
        return []
    outcome = _process([PageSlice(source, document, planned.due)], context)
    _remove_path_if_replaced(source, document, context)
    if _resolve(outcome.broken, intake, context):  # a message of the part takes in the new document
        return [Part(message.batch, message.chunk, message.part)]
    return [replace(message, pages=left.page_numbers) for left in outcome.rest]


def _remove_path_if_replaced(source: Source, document: Document, context: BatchContext) -> None:
    """Remove a source's path from pages that were read while another message registered another document there.

    The other message could not remove it, because the pages were not in the archive yet.
    """
    services = context.services
    now = services.archive.sources(source.collection)[source_id(source.url)].newest()
    if now is None or now.document is None or now.document.id != document.id:
        remove_path(services.projector, source.collection, document.id, source.path)


def _quarantine_pages(message: Pages, piece: PageSlice, error: Quarantined, context: BatchContext) -> None:
    archive, request = context.services.archive, context.request
    unit = work_unit(request, [piece])
    known = {
        reading.page_number: reading
        for reading in archive.readings(request.collection, piece.document.id).newest(message.pages)
    }
    saved: list[Reading] = []
    for page in message.pages:
        failed = failed_reading(new_reading(piece, page, unit, request.recipe), request.recipe, error, None)
        newest = save_reading(archive, failed, known.get(page))
        if isinstance(newest, Reading):
            saved.append(newest)
    context.report.pages[PageStatus.FAILED] += len(saved)
    context.services.projector.pages(saved)

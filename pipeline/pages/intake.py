"""The intake: the steps from a found file to its due pages. Both runners use it for every source.

    found file ──▶ register ──▶ plan ──▶ verify ──▶ pack into work units (`pipeline.pages.units`)
                      ▲
                      └── a file that was replaced during the run is identified again, once

`pipeline.pages.vanished` is the last step: it needs the whole walk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pipeline.core.errors import SourceChanged
from pipeline.core.models import Failure, PageSlice, Reading, Source
from pipeline.pages.contents import ContentsTally
from pipeline.pages.page_services import PageServices
from pipeline.pages.paths import remove_path, with_path
from pipeline.pages.plan import Plan, plan_source
from pipeline.pages.recipe import Request
from pipeline.pages.registration import members_of, register, source_failed
from pipeline.pages.units import slices_of
from pipeline.projection.verify import Verification
from pipeline.sources import FoundFile, PathFilter


class Intake:
    """The intake of one batch, for one thread.

    It brings the index up to date in chunks. `verify` does so for the remaining records.

    Args:
        services: bound to the batch.
        request: the request of the batch.
    """

    def __init__(self, services: PageServices, request: Request) -> None:
        self._services = services
        self._request = request
        self._verification = Verification(services.projector)
        journal = services.archive.journal(request.batch)
        self._chosen = PathFilter(request.patterns)
        self.passed_over = 0
        """Number of files within others that are litter, or left out by patterns."""
        self._contents = ContentsTally(journal, services.contents_limits, services.files)

    def register(self, found: FoundFile) -> Source:
        """Archive the source of a found file. If its path had another document before, that document loses the path.

        Raises:
            ServiceRefused: a service refuses.
            Stopped: the cancel token ended while a service was unavailable.
        """
        services = self._services
        with services.stage("register"):
            source, before = register(
                found,
                self._request,
                services.archive,
                services.opener,
                services.files,
                services.max_file_bytes,
                self._contents.admit_conversion,
            )
        self._verification.source(source)
        if before is not None and before.document is not None:
            remove_path(services.projector, self._request.collection, before.document.id, before.path)
        return source

    def members(self, source: Source) -> tuple[FoundFile, ...]:
        """Return the files within a source's document; raises as `register` does.

        Beyond a limit of the outermost file there is one error for the rest of it.
        """
        if source.document is None or not source.document.members:
            return ()
        files, chosen = self._services.files, self._chosen
        return self._contents.admit(source, lambda: members_of(source, files, chosen, self._pass_over))

    def note_contents(self, part: str) -> None:
        """Note what was found within files, for other messages of the batch. `part` names this one."""
        self._contents.note(part)

    def plan(self, source: Source, pages: tuple[int, ...] | None = None) -> Plan | None:
        """Plan a source's document, or some of its pages; None for a source without a document.

        The settled pages (the ones that need no processing) get the source's path, and their records are verified.
        """
        document = source.document
        if document is None:
            return None
        planned = plan_source(source, self._request, self._services.archive, pages)
        planned = replace(planned, settled=self._settle(source, planned))
        if not planned.due and not planned.deleted and len(planned.settled) == document.pages:
            self._verification.document(list(planned.settled))
        return planned

    def verify(self) -> None:
        """Bring the index up to date with everything that was registered and planned.

        Raises:
            ServiceRefused: Elasticsearch refuses.
            Stopped: the cancel token ended while Elasticsearch was unavailable.
        """
        self._verification.flush()

    def resolve(self, source: Source, failure: Failure, *, first: bool) -> Source:
        """Archive the outcome of a source whose file is gone, unreadable or not the identified one. Return the source.

        A file that was replaced for the first time in the batch is identified again. In all other cases the source
        fails with this failure, and its document loses the path.
        """
        if first and failure.type == SourceChanged.code:
            again = self.register(FoundFile(source.url))
            if again.state != source.state:
                return again
        failed = source_failed(self._services.archive, source, failure)
        self._verification.source(failed)
        if source.document is not None:
            remove_path(self._services.projector, self._request.collection, source.document.id, source.path)
        return failed

    def _pass_over(self, number: int) -> None:
        self.passed_over += number

    def _settle(self, source: Source, planned: Plan) -> tuple[Reading, ...]:
        """Add a source's path to the settled pages of its document, and verify their records in the index."""
        settled = tuple(with_path(self._services.archive, reading, source) for reading in planned.settled)
        self._verification.pages(settled)
        return settled


def due_slices(source: Source, planned: Plan | None) -> Iterator[PageSlice]:
    """Yield the due pages of a planned source in slices of up to 16."""
    if planned is not None and source.document is not None:
        yield from slices_of(source, source.document, planned.due)

"""Opens a document of any format: the only way from its bytes to its pages."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Protocol

from pipeline.core.formats import Envelope, HeadType, MediaType, Route
from pipeline.core.models import RenderedCrop, RenderedPage
from pipeline.core.retry import CancelToken
from pipeline.core.signatures import HEAD_BYTES
from pipeline.documents.conversion import Conversions, ConvertedDocument
from pipeline.documents.passwords import Passwords
from pipeline.rendering.host.pool import OpenDocument, SandboxPool
from pipeline.sources import MemberFile, media_type_of

#: Routes of files that may contain others.
_WITH_MEMBERS = (Route.CONTAINER, Route.PDF)


class OpenPages(Protocol):
    """A document that is open. Used by one thread at a time."""

    pages: int
    title: str | None
    members: int
    """Number of files in it."""
    unlocked: bool
    """Whether one of the passwords opened it."""
    substituted_fonts: tuple[str, ...]
    """Fonts that it names and that were not installed when it was converted."""
    pages_left_out: int
    """Printed pages of a spreadsheet beyond the limit."""

    @property
    def cpu_seconds(self) -> float:
        """CPU time that its sandboxes have used since it was opened."""
        ...

    def render(self, page_number: int, *, with_pixels: bool = False) -> RenderedPage:
        """Render a page, 1-based; see `OpenDocument.render`."""
        ...

    def render_crops(self, page_number: int, bands: int) -> tuple[RenderedCrop, ...]:
        """Render a page, 1-based, as 2 to 6 overlapping bands; see `OpenDocument.render_crops`."""
        ...


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens documents. Built once per process, its threads share it."""

    sandboxes: SandboxPool
    passwords: Passwords
    conversions: Conversions

    def refine(self, file: BinaryIO, media_type: HeadType, cancel: CancelToken) -> MediaType:
        """Return the format of a file whose first bytes may show only an envelope.

        Raises:
            UnsupportedFormat: files of this format become no pages.
            OutcomeError: as `open` raises them.
        """
        return self.sandboxes.identify(file, media_type, cancel) if isinstance(media_type, Envelope) else media_type

    def members(self, file: BinaryIO, path: str, cancel: CancelToken) -> tuple[MemberFile, ...]:
        """Return the members of a file in their stored order; none if it is not a container.

        Raises:
            OutcomeError, ServiceRefused, Stopped: as `open` raises them.
        """
        media_type = self._media_type(file, cancel)
        if media_type.route not in _WITH_MEMBERS:
            return ()
        with self._open(file, path, media_type, cancel) as opened:
            return tuple(MemberFile(member.name, member.bytes, member.as_error()) for member in opened.list_members())

    def extract(
        self, file: BinaryIO, path: str, first: int, budget: int, cancel: CancelToken
    ) -> Generator[tuple[int, bytes, bool]]:
        """Yield number, bytes, and whether these are its last ones, of a container's members from number `first` on.

        An error is about the member that began last, or about the first one if none began.

        Raises:
            OutcomeError, ServiceRefused, Stopped: as `open` raises them.
        """
        with (
            self._open(file, path, self._media_type(file, cancel), cancel) as opened,
            closing(opened.extract(first, budget)) as pieces,
        ):
            for piece, payload in pieces:
                assert piece.member is not None
                yield piece.member, payload, piece.last

    def _media_type(self, file: BinaryIO, cancel: CancelToken) -> MediaType:
        file.seek(0)
        return self.refine(file, media_type_of(file.read(HEAD_BYTES)), cancel)

    @contextmanager
    def open(
        self, file: BinaryIO, document_id: str, path: str, media_type: MediaType, cancel: CancelToken
    ) -> Iterator[OpenPages]:
        """Open a document's pages, and keep a sandbox to the end of the block.

        `path` is the displayed path; passwords are chosen by it if the file is encrypted.

        Raises:
            OutcomeError, ServiceRefused, Stopped: as `Conversions.get` and `SandboxPool.open` raise them.
        """
        if media_type.route is not Route.CONVERTED:
            with self._open(file, path, media_type, cancel) as opened:
                yield opened
            return
        passwords = partial(self.passwords.of, path)
        pdf, conversion = self.conversions.get(document_id, file, media_type, passwords, cancel)
        with pdf, self.sandboxes.open(pdf, MediaType.PDF, cancel) as opened:
            yield ConvertedDocument(opened, conversion, media_type)

    def _open(
        self, file: BinaryIO, path: str, media_type: MediaType, cancel: CancelToken
    ) -> AbstractContextManager[OpenDocument]:
        return self.sandboxes.open(file, media_type, cancel, partial(self.passwords.of, path))

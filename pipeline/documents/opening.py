"""From a document's bytes to its pages: the one way to open a file, whatever its format."""

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

#: What is done with files that may hold others.
_HOLDING = (Route.CONTAINER, Route.PDF)


class OpenPages(Protocol):
    """A document that is open. Used by one thread at a time."""

    pages: int
    title: str | None
    members: int
    """Files within it."""
    unlocked: bool
    """Whether one of the passwords opened it."""
    substituted_fonts: tuple[str, ...]
    """Fonts that it names and that were not there when it was converted."""
    pages_left_out: int
    """Printed pages of a spreadsheet beyond the limit."""

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
        """Return the format of a file whose head tells only what it is packed in.

        Raises:
            UnsupportedFormat: of no kind that becomes pages.
            OutcomeError: as `open` raises them.
        """
        return self.sandboxes.identify(file, media_type, cancel) if isinstance(media_type, Envelope) else media_type

    def members(self, file: BinaryIO, path: str, cancel: CancelToken) -> tuple[MemberFile, ...]:
        """Return what lies within a file, as it lies there; nothing where it is no container.

        Raises:
            OutcomeError, ServiceRefused, Stopped: as `open` raises them.
        """
        media_type = self._media_type(file, cancel)
        if media_type.route not in _HOLDING:
            return ()
        with self._open(file, path, media_type, cancel) as opened:
            return tuple(MemberFile(member.name, member.bytes, member.as_error()) for member in opened.list_members())

    def extract(
        self, file: BinaryIO, path: str, first: int, budget: int, cancel: CancelToken
    ) -> Generator[tuple[int, bytes, bool]]:
        """Yield number, bytes, and whether these are its last ones, of a container's members from number `first` on.

        What is raised is about the member that was begun last, or the first one where none was.

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

        `path` is where it lies, for people: it chooses the passwords, which are asked for where the file is encrypted.

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

"""Converts slides, office files, DjVu, drawings and HTML to PDF. Each document is converted once per fleet."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BufferedReader
from typing import BinaryIO, Protocol

from pipeline.archive import Archive
from pipeline.core.errors import EncryptedFile, SourceChanged, Stopped
from pipeline.core.formats import DJVULIBRE, MediaType
from pipeline.core.leases import Leases, find_or_make
from pipeline.core.models import Conversion, FileState, LayerState, RenderedCrop, RenderedPage
from pipeline.core.retry import STOP_POLL_SECONDS, CancelToken
from pipeline.core.threads import PrioritySemaphore
from pipeline.rendering.conversion import djvu, office
from pipeline.rendering.conversion.confinement import ConversionLimits, ConversionResult
from pipeline.rendering.host.pool import AskPasswords, OpenDocument
from pipeline.sources import SourceCache

#: Raise it by hand when a change of the code makes another PDF, or other notes, of the same document.
CONVERSION_REVISION = 2
#: Interval at which a worker looks in the archive for a conversion that another worker makes.
POLL_SECONDS = 0.5
_PIECE_BYTES = 1 << 20


class Conversions(Protocol):
    """Returns PDFs of documents."""

    def get(
        self, document_id: str, file: BinaryIO, media_type: MediaType, passwords: AskPasswords, cancel: CancelToken
    ) -> tuple[BinaryIO, Conversion]:
        """Return a document's PDF, open, and the conversion's report. `passwords` is called if it is encrypted.

        Raises:
            UnsupportedFormat: this machine cannot convert it.
            CorruptFile, EncryptedFile, LimitExceeded: the document is at fault.
            RenderTimeout, RenderCrashed, RenderOutOfMemory: the program failed on it.
            ServiceRefused: the passwords cannot be read, or the archive cannot be used.
            SourceChanged: the file was changed during the conversion.
            Stopped: `cancel` was cancelled.
        """
        ...


@dataclass(frozen=True, slots=True)
class Converter:
    """Converts at each call. Built once per process; its threads share it."""

    limits: ConversionLimits
    permits: PrioritySemaphore
    """Bounds the conversions that run at once."""

    def get(
        self, document_id: str, file: BinaryIO, media_type: MediaType, passwords: AskPasswords, cancel: CancelToken
    ) -> tuple[BinaryIO, Conversion]:
        """Convert a document; see `Conversions.get`."""
        while not cancel.stopped:
            if self.permits.acquire(STOP_POLL_SECONDS, urgent=cancel.urgent):
                break
        else:
            raise Stopped("stopped before the document could be converted")
        started = time.monotonic()
        try:
            pdf, reported = self._convert(file, media_type, passwords, cancel)
        finally:
            self.permits.release()
        conversion = Conversion(
            **reported.model_dump(),
            sha256=_sha256(pdf),
            seconds=round(time.monotonic() - started, 3),
            converted_at=datetime.now(UTC),
        )
        return pdf, conversion

    def _convert(
        self, file: BinaryIO, media_type: MediaType, passwords: AskPasswords, cancel: CancelToken
    ) -> tuple[BufferedReader, ConversionResult]:
        if media_type.row.decoder == DJVULIBRE:
            return djvu.convert(file, self.limits, cancel)
        try:
            return office.convert(file, media_type, (), self.limits, cancel)
        except EncryptedFile:
            known = passwords()
            if not known:
                raise
        return office.convert(file, media_type, known, self.limits, cancel)


@dataclass(frozen=True, slots=True)
class ArchivedConversions:
    """Looks for the PDF in the archive first. If several workers need the same PDF, only one of them converts."""

    archive: Archive
    leases: Leases
    cache: SourceCache
    """Local copies of PDFs, if the archive is in a bucket."""
    converter: Converter

    def get(
        self, document_id: str, file: BinaryIO, media_type: MediaType, passwords: AskPasswords, cancel: CancelToken
    ) -> tuple[BinaryIO, Conversion]:
        """Return a document's PDF from the archive, or convert it and archive the PDF; see `Conversions.get`."""

        def make() -> tuple[BinaryIO, Conversion]:
            pdf, conversion = self.converter.get(document_id, file, media_type, passwords, cancel)
            file.seek(0)
            if _sha256(file) != document_id:
                raise SourceChanged("the file changed while it was converted")
            self.archive.conversions.save(document_id, CONVERSION_REVISION, pdf, conversion)
            return pdf, conversion

        return find_or_make(
            f"conversion-{document_id}",
            self.leases,
            lambda: self._find(document_id, cancel),
            make,
            cancel,
            ("a conversion", "another worker converts the same document at present"),
            POLL_SECONDS,
        )[0]

    def _find(self, document_id: str, cancel: CancelToken) -> tuple[BinaryIO, Conversion] | None:
        conversion = self.archive.conversions.get(document_id, CONVERSION_REVISION)
        if conversion is None or self._is_cut_short(conversion):
            return None

        def fetch(name: str, state: FileState, chunks: Callable[[], Generator[bytes]]) -> BinaryIO:
            held = self.cache.get(conversion.sha256)
            return held or self.cache.fetch(name, state, conversion.sha256, chunks, cancel)

        try:
            pdf = self.archive.conversions.open(document_id, CONVERSION_REVISION, fetch)
        except SourceChanged:  # two workers converted it, and one has just replaced the other's PDF
            return None
        return None if pdf is None else (pdf, conversion)

    def _is_cut_short(self, conversion: Conversion) -> bool:
        """Whether the current limit allows more pages of a spreadsheet than its archived PDF has."""
        return bool(conversion.pages_left_out) and conversion.pages < self.converter.limits.sheet_pages


def _sha256(file: BinaryIO) -> str:
    """Return the hash of a file's bytes from its current position to the end."""
    digest = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


class ConvertedDocument:
    """A converted document whose PDF is open in a sandbox. Notes and hidden pages are from the conversion's report."""

    unlocked: bool
    members = 0

    def __init__(self, opened: OpenDocument, conversion: Conversion, media_type: MediaType) -> None:
        self._opened = opened
        self._conversion = conversion
        self._media_type = media_type
        self.pages = opened.pages
        self.title = conversion.title or opened.title
        self.unlocked = conversion.unlocked
        self.substituted_fonts = conversion.substituted_fonts
        self.pages_left_out = conversion.pages_left_out

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the sandboxes, without the conversion; see `OpenDocument.cpu_seconds`."""
        return self._opened.cpu_seconds

    def render(self, page_number: int, *, with_pixels: bool = False) -> RenderedPage:
        """Render a page; see `OpenDocument.render`."""
        page = self._opened.render(page_number, with_pixels=with_pixels)
        original = page.original.model_copy(update={"format": self._media_type.name})
        page = replace(page, hidden=page_number in self._conversion.hidden, original=original)
        text = self._conversion.notes.get(page_number)
        if text is None or self._media_type is not MediaType.DJVU:
            return replace(page, notes=text)
        # The text of a DjVu is in a hidden layer under its pages, which the PDF does not contain.
        return replace(page, layer_text=text, facts=replace(page.facts, layer=LayerState.INVISIBLE))

    def render_crops(self, page_number: int, bands: int) -> tuple[RenderedCrop, ...]:
        """Render a page as bands; see `OpenDocument.render_crops`."""
        return self._opened.render_crops(page_number, bands)

"""The sandboxes of a process: files are opened in one of them, and their pages come back as values."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO, TypeVar

from pipeline.core.errors import EncryptedFile, OutcomeError, RenderCrashed, Stopped
from pipeline.core.models import Envelope, MediaType, RenderedCrop, RenderedPage
from pipeline.core.retry import STOP_POLL_SECONDS, CancelToken
from pipeline.rendering.host.process import CHILD_COMMAND, SandboxKilled, SandboxProcess
from pipeline.rendering.protocol import BANDS, MEMBERS_TOLD, RenderLimits
from pipeline.rendering.replies import (
    CropsReply,
    DoneReply,
    FormatReply,
    MemberReply,
    MembersReply,
    OpenedReply,
    PageReply,
    PieceReply,
    Reply,
)

T = TypeVar("T")
R = TypeVar("R", bound=Reply)

#: Asked for the passwords of a file that turns out to be encrypted: no other file's sandbox gets to know any.
AskPasswords = Callable[[], Sequence[str]]


class SandboxPool:
    """Up to `size` sandbox processes, started when they are first needed and again after they died. Thread-safe.

    There may be one more for urgent documents: the others stay open for as long as their pages wait for the model.
    """

    def __init__(
        self, size: int, limits: RenderLimits, *, keep_gps: bool = False, command: Sequence[str] = CHILD_COMMAND
    ) -> None:
        self._size = size
        self._limits = limits
        self._keep_gps = keep_gps
        self._command = command
        self._closed = False
        # Last in, first out: as few processes as the load needs.
        self._free: queue.LifoQueue[_Slot] = queue.LifoQueue()
        for _ in range(size):
            self._free.put(_Slot(self))
        self._spare: queue.LifoQueue[_Slot] = queue.LifoQueue()
        self._spare.put(_Slot(self))

    @contextmanager
    def open(
        self,
        file: BinaryIO,
        media_type: MediaType,
        cancel: CancelToken | None = None,
        passwords: AskPasswords = tuple,
    ) -> Iterator[OpenDocument]:
        """Open a file in a sandbox, waiting for a free one, and keep that one to the end of the block.

        Without a patience the wait has no end. `file` needs a descriptor; its position does not matter and stays.
        Nobody may write to it meanwhile.

        Raises:
            CorruptFile, EncryptedFile, LimitExceeded: what is wrong with the file.
            RenderTimeout, RenderCrashed, RenderOutOfMemory: what opening it did to the sandbox.
            ServiceRefused: no sandbox can be started, or the passwords cannot be had.
            Stopped: the patience has ended before one was free.
        """
        with self._slot(cancel or CancelToken()) as slot:
            try:
                yield OpenDocument(slot, file, media_type, passwords, self._limits.max_members)
            finally:
                slot.close_file()

    def identify(self, file: BinaryIO, envelope: Envelope, cancel: CancelToken | None = None) -> MediaType:
        """Return the format of a file whose head tells only what it is packed in.

        Raises:
            UnsupportedFormat: of no kind that becomes pages.
            CorruptFile, EncryptedFile, RenderTimeout, RenderCrashed, RenderOutOfMemory, ServiceRefused, Stopped: as
                `open` raises them.
        """
        with self._slot(cancel or CancelToken()) as slot:
            request = {"op": "identify", "media_type": envelope}
            return _once_more(lambda: slot.process()[0].ask(request, FormatReply, file.fileno())[0]).media_type

    def close(self) -> None:
        """Wait for documents that are open, then end all sandboxes."""
        self._closed = True
        for slots, size in ((self._free, self._size), (self._spare, 1)):
            for slot in [slots.get() for _ in range(size)]:
                slot.end()
                slots.put(slot)

    def start_process(self) -> SandboxProcess:
        """Start a sandbox with the pool's limits."""
        return SandboxProcess(self._command, self._limits, keep_gps=self._keep_gps)

    @contextmanager
    def _slot(self, cancel: CancelToken) -> Iterator[_Slot]:
        slots, slot = self._take(cancel)
        try:
            if self._closed:
                raise ValueError("the sandbox pool is closed")
            yield slot
        finally:
            slots.put(slot)

    def _take(self, cancel: CancelToken) -> tuple[queue.LifoQueue[_Slot], _Slot]:
        """Return a slot, and where it is to be put back."""
        while not cancel.stopped:
            slots = self._spare if cancel.urgent and self._free.empty() else self._free
            with suppress(queue.Empty):
                return slots, slots.get(timeout=STOP_POLL_SECONDS)
        raise Stopped("stopped before a sandbox was free")


class _Slot:
    """A place for one process."""

    def __init__(self, pool: SandboxPool) -> None:
        self._pool = pool
        self._process: SandboxProcess | None = None

    def process(self) -> tuple[SandboxProcess, bool]:
        """Return a living process, and whether it was started just now."""
        if self._process is not None and not self._process.has_died():
            return self._process, False
        self._process = self._pool.start_process()
        return self._process, True

    def close_file(self) -> None:
        """Have the open file closed; a process that cannot do it is no longer of use, and nobody's page fails."""
        if self._process is not None and self._process.alive:
            try:
                self._process.ask({"op": "close"}, DoneReply)
            except OutcomeError:
                self._process.end()

    def end(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.end()


class OpenDocument:
    """A file that is open in a sandbox. Used by one thread at a time."""

    pages: int
    title: str | None
    members: int
    """Files within it."""
    unlocked: bool = False
    """Whether one of the passwords opened it."""
    substituted_fonts: tuple[str, ...] = ()
    pages_left_out: int = 0
    """Both only known of documents that are converted."""

    def __init__(
        self, slot: _Slot, file: BinaryIO, media_type: MediaType, passwords: AskPasswords, max_members: int
    ) -> None:
        self._slot = slot
        self._file = file
        self._media_type = media_type
        self._ask_passwords = passwords
        self._max_members = max_members
        self._has_asked = False
        opened = _once_more(self._open)
        self.pages = opened.pages
        self.title = opened.title
        self.members = opened.members

    def render(self, page_number: int, *, with_pixels: bool = False) -> RenderedPage:
        """Render a page, 1-based. A page that ends the sandbox costs no other: the next call starts a new one.

        Raises:
            CorruptFile, LimitExceeded: what is wrong with the page.
            RenderTimeout, RenderCrashed, RenderOutOfMemory: what rendering it did to the sandbox.
            ServiceRefused: no sandbox can be started.
        """
        self._check(page_number)
        return _once_more(partial(self._render, page_number, with_pixels))

    def render_crops(self, page_number: int, bands: int) -> tuple[RenderedCrop, ...]:
        """Render a page, 1-based, as 2 to 6 overlapping bands, each sharper than its page image.

        They lie one below the other, first to last, or one beside the other where two pages do.

        Raises:
            CorruptFile, LimitExceeded, RenderTimeout, RenderCrashed, RenderOutOfMemory, ServiceRefused: as `render`
                raises them. All crops of a page have the time of one page.
        """
        self._check(page_number)
        if bands not in BANDS:
            raise ValueError(f"{bands} bands, not {BANDS[0]} to {BANDS[-1]}")
        return _once_more(partial(self._render_crops, page_number, bands))

    def list_members(self) -> tuple[MemberReply, ...]:
        """Return the files within the file, as they lie in it.

        Raises:
            CorruptFile, LimitExceeded: what is wrong with it.
            RenderTimeout, RenderCrashed, RenderOutOfMemory: what looking did to the sandbox.
            ServiceRefused: no sandbox can be started.
        """
        return _once_more(self._list_members)

    def extract(self, first: int, budget: int) -> Generator[tuple[PieceReply, bytes]]:
        """Yield the bytes of members from number `first` on, piece by piece, until `budget` bytes are spent.

        A member that was begun within the budget is ended beyond it. What is raised is about the member that was begun
        last; the first one may not have been begun yet.

        Raises:
            CorruptFile, EncryptedFile, UnsupportedFormat: what is wrong with it.
            RenderTimeout, RenderCrashed, RenderOutOfMemory: what it did to the sandbox.
            ServiceRefused: no sandbox can be started, or the passwords cannot be had.
        """
        begun = False
        try:
            for piece, payload in self._extract(first, budget):
                begun = True
                yield piece, payload
        except EncryptedFile:
            passwords = () if begun or self._has_asked else self._ask_passwords()
            self._has_asked = True
            if not passwords:
                raise
            self._open_with(passwords)
            yield from self._extract(first, budget)

    def _extract(self, first: int, budget: int) -> Iterator[tuple[PieceReply, bytes]]:
        process, fresh = self._slot.process()
        if fresh:
            self._open()
        request = {"op": "extract", "first": first, "budget": budget}
        yield from process.stream(request, PieceReply, lambda piece: piece.member is None)

    def _list_members(self) -> tuple[MemberReply, ...]:
        process, fresh = self._slot.process()
        if fresh:
            self._open()
        found: list[MemberReply] = []
        while len(found) <= self._max_members:
            some = process.ask({"op": "members", "first": len(found)}, MembersReply)[0].members
            found += some
            if len(some) < MEMBERS_TOLD:
                return tuple(found)
        process.end()
        raise RenderCrashed("the sandbox process told of more members than it may")

    def _check(self, page_number: int) -> None:
        if not 1 <= page_number <= self.pages:
            raise ValueError(f"page {page_number} of {self.pages}")

    def _render(self, page_number: int, with_pixels: bool) -> RenderedPage:
        request = {"op": "render", "page_number": page_number, "with_pixels": with_pixels}
        return self._ask(request, PageReply, lambda reply, data: _rendered(page_number, reply, data, with_pixels))

    def _render_crops(self, page_number: int, bands: int) -> tuple[RenderedCrop, ...]:
        request = {"op": "crops", "page_number": page_number, "bands": bands}
        return self._ask(request, CropsReply, lambda reply, data: _rendered_crops(page_number, bands, reply, data))

    def _ask(self, request: dict[str, Any], expected: type[R], understand: Callable[[R, bytes], T]) -> T:
        """Ask about the open file; a process whose answer cannot be understood is of no more use."""
        process, fresh = self._slot.process()
        if fresh:
            self._open()
        reply, payload = process.ask(request, expected)
        try:
            return understand(reply, payload)
        except ValueError as error:
            process.end()
            raise RenderCrashed(f"the sandbox process answered nonsense: {error}") from None

    def _open(self) -> OpenedReply:
        try:
            return self._open_with(())
        except EncryptedFile:
            passwords = self._ask_passwords()
            self._has_asked = True
            if not passwords:
                raise
        opened = self._open_with(passwords)
        self.unlocked = True
        return opened

    def _open_with(self, passwords: Sequence[str]) -> OpenedReply:
        process, _ = self._slot.process()
        request = {"op": "open", "media_type": self._media_type, "passwords": list(passwords)}
        return process.ask(request, OpenedReply, self._file.fileno())[0]


def _once_more(work: Callable[[], T]) -> T:
    """Do something in a sandbox; again in a new one where a person or the kernel ended the first."""
    try:
        return work()
    except SandboxKilled:
        return work()


def _rendered(page_number: int, reply: PageReply, payload: bytes, with_pixels: bool) -> RenderedPage:
    pixel_bytes = 3 * reply.width_px * reply.height_px if with_pixels else 0
    images = reply.jpeg_bytes + reply.thumbnail_bytes
    if len(payload) != images + pixel_bytes:
        raise ValueError(f"{len(payload)} bytes instead of {images + pixel_bytes}")
    return RenderedPage(
        page_number=page_number,
        label=reply.label,
        section=reply.section,
        hidden=False,
        jpeg=payload[: reply.jpeg_bytes],
        thumbnail=payload[reply.jpeg_bytes : images],
        width_px=reply.width_px,
        height_px=reply.height_px,
        dpi=reply.dpi,
        pixels_sha256=reply.pixels_sha256,
        phash=reply.phash,
        blank=reply.blank,
        layer_text=reply.layer_text,
        notes=None,
        original=reply.original,
        exif=reply.exif,
        facts=reply.facts,
        rgb=payload[images:] if with_pixels else None,
    )


def _rendered_crops(page_number: int, bands: int, reply: CropsReply, payload: bytes) -> tuple[RenderedCrop, ...]:
    total = sum(crop.jpeg_bytes for crop in reply.crops)
    if len(reply.crops) != bands or len(payload) != total:
        raise ValueError(f"{len(reply.crops)} crops of {len(payload)} bytes instead of {bands} of {total}")
    ends = list(itertools.accumulate(crop.jpeg_bytes for crop in reply.crops))
    return tuple(
        RenderedCrop(
            page_number=page_number,
            box=crop.box,
            jpeg=payload[end - crop.jpeg_bytes : end],
            width_px=crop.width_px,
            height_px=crop.height_px,
            pixels_sha256=crop.pixels_sha256,
        )
        for crop, end in zip(reply.crops, ends, strict=True)
    )

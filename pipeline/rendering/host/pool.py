"""The pool of sandbox processes. A file is opened in one of them, and its pages are returned as values."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from typing import Any, BinaryIO, TypeVar

from pipeline.core.errors import EncryptedFile, OutcomeError, RenderCrashed, Stopped
from pipeline.core.formats import Envelope, MediaType
from pipeline.core.models import PageProperties, RenderedCrop, RenderedPage
from pipeline.core.retry import STOP_POLL_SECONDS, CancelToken
from pipeline.rendering.host.process import CHILD_COMMAND, SandboxKilled, SandboxProcess
from pipeline.rendering.protocol import BANDS, MEMBERS_PER_REPLY, RenderLimits
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

_PROPERTIES = tuple(field.name for field in fields(PageProperties))
#: Returns the passwords of a file. It is called only for an encrypted file, so that no other sandbox gets passwords.
AskPasswords = Callable[[], Sequence[str]]


class SandboxPool:
    """Up to `size` sandbox processes. Each is started on first use, and again if it has ended. Thread-safe.

    One more process is kept for urgent documents, because the others stay in use while their pages wait for the model.
    """

    def __init__(
        self, size: int, limits: RenderLimits, *, keep_gps: bool = False, command: Sequence[str] = CHILD_COMMAND
    ) -> None:
        self._size = size
        self._limits = limits
        self._keep_gps = keep_gps
        self._command = command
        self._closed = False
        # Last in, first out: a running process is used before another one is started.
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
        """Wait for a free sandbox, open a file in it, and keep the sandbox to the end of the block.

        Without `cancel` the wait is unlimited. `file` needs a descriptor; its position is neither used nor changed. The
        file must not be written to during the block.

        Raises:
            CorruptFile, EncryptedFile, LimitExceeded: the file is at fault.
            RenderTimeout, RenderCrashed, RenderOutOfMemory: the sandbox failed when it opened the file.
            ServiceRefused: no sandbox can be started, or the passwords cannot be read.
            Stopped: `cancel` was cancelled before a sandbox was free.
        """
        with self._slot(cancel or CancelToken()) as slot:
            try:
                yield OpenDocument(slot, file, media_type, passwords, self._limits.max_members)
            finally:
                slot.close_file()

    def identify(self, file: BinaryIO, envelope: Envelope, cancel: CancelToken | None = None) -> MediaType:
        """Return the format of a file whose first bytes show only an envelope.

        Raises:
            UnsupportedFormat: files of this format cannot be rendered as pages.
            CorruptFile, EncryptedFile, RenderTimeout, RenderCrashed, RenderOutOfMemory, ServiceRefused, Stopped: as
                `open` raises them.
        """
        with self._slot(cancel or CancelToken()) as slot:
            request = {"op": "identify", "media_type": envelope}
            return _retry_if_killed(lambda: slot.process()[0].ask(request, FormatReply, file.fileno())[0]).media_type

    def close(self) -> None:
        """Wait until all open documents are closed, then end all sandboxes."""
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
        """Return a slot, and the queue to which the caller must return it."""
        while not cancel.stopped:
            slots = self._spare if cancel.urgent and self._free.empty() else self._free
            with suppress(queue.Empty):
                return slots, slots.get(timeout=STOP_POLL_SECONDS)
        raise Stopped("stopped before a sandbox was free")


class _Slot:
    """Holds one process, which is started when it is needed."""

    def __init__(self, pool: SandboxPool) -> None:
        self._pool = pool
        self._process: SandboxProcess | None = None
        self._ended_seconds = 0.0

    @property
    def cpu_seconds(self) -> float:
        """CPU time of all processes of this slot so far."""
        return self._ended_seconds + (self._process.cpu_seconds if self._process else 0.0)

    def process(self) -> tuple[SandboxProcess, bool]:
        """Return a running process, and whether it was started just now."""
        if self._process is not None and not self._process.has_died():
            return self._process, False
        self._ended_seconds = self.cpu_seconds
        self._process = self._pool.start_process()
        return self._process, True

    def close_file(self) -> None:
        """Close the open file. A process that fails to do so is ended, and no page fails because of that."""
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
    """Number of files in it."""
    unlocked: bool = False
    """Whether one of the passwords opened it."""
    substituted_fonts: tuple[str, ...] = ()
    """Only for a converted document."""
    pages_left_out: int = 0
    """Only for a converted document."""

    def __init__(
        self, slot: _Slot, file: BinaryIO, media_type: MediaType, passwords: AskPasswords, max_members: int
    ) -> None:
        self._slot = slot
        self._file = file
        self._media_type = media_type
        self._ask_passwords = passwords
        self._max_members = max_members
        self._has_asked = False
        self._seconds_before = slot.cpu_seconds
        opened = _retry_if_killed(self._open)
        self.pages = opened.pages
        self.title = opened.title
        self.members = opened.members

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the sandboxes have used for this document since it was opened."""
        return self._slot.cpu_seconds - self._seconds_before

    def render(self, page_number: int, *, with_pixels: bool = False) -> RenderedPage:
        """Render a page, 1-based. If the page makes the sandbox end, the next call starts a new one.

        Raises:
            CorruptFile, LimitExceeded: the page is at fault.
            RenderTimeout, RenderCrashed, RenderOutOfMemory: the sandbox failed on the page.
            ServiceRefused: no sandbox can be started.
        """
        self._check(page_number)
        return _retry_if_killed(partial(self._render, page_number, with_pixels))

    def render_crops(self, page_number: int, bands: int) -> tuple[RenderedCrop, ...]:
        """Render a page, 1-based, as 2 to 6 overlapping bands, each sharper than the page image.

        The bands run from top to bottom, or from left to right if the image shows two pages side by side. All bands of
        a page together have the time limit of one page.

        Raises:
            CorruptFile, LimitExceeded, RenderTimeout, RenderCrashed, RenderOutOfMemory, ServiceRefused: as `render`
                raises them.
        """
        self._check(page_number)
        if bands not in BANDS:
            raise ValueError(f"{bands} bands, not {BANDS[0]} to {BANDS[-1]}")
        return _retry_if_killed(partial(self._render_crops, page_number, bands))

    def list_members(self) -> tuple[MemberReply, ...]:
        """Return the files in the file, in their stored order.

        Raises:
            CorruptFile, LimitExceeded: the file is at fault.
            RenderTimeout, RenderCrashed, RenderOutOfMemory: the sandbox failed on the file.
            ServiceRefused: no sandbox can be started.
        """
        return _retry_if_killed(self._list_members)

    def extract(self, first: int, budget: int) -> Generator[tuple[PieceReply, bytes]]:
        """Yield the bytes of members from number `first` on, piece by piece, until `budget` bytes are spent.

        A member that began within the budget is completed even if it exceeds the budget. An error is about the member
        that began last, or about the first member if none began.

        Raises:
            CorruptFile, EncryptedFile, UnsupportedFormat: the member is at fault.
            RenderTimeout, RenderCrashed, RenderOutOfMemory: the sandbox failed on it.
            ServiceRefused: no sandbox can be started, or the passwords cannot be read.
        """
        started = False
        try:
            for piece, payload in self._extract(first, budget):
                started = True
                yield piece, payload
        except EncryptedFile:
            passwords = () if started or self._has_asked else self._ask_passwords()
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
            reply = process.ask({"op": "members", "first": len(found)}, MembersReply)[0].members
            found += reply
            if len(reply) < MEMBERS_PER_REPLY:
                return tuple(found)
        process.end()
        raise RenderCrashed("the sandbox process listed more members than its limit")

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
        """Send a request about the open file. A process whose reply cannot be understood is ended."""
        process, fresh = self._slot.process()
        if fresh:
            self._open()
        reply, payload = process.ask(request, expected)
        try:
            return understand(reply, payload)
        except ValueError as error:
            process.end()
            raise RenderCrashed(f"the sandbox process sent a reply that cannot be understood: {error}") from None

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


def _retry_if_killed(work: Callable[[], T]) -> T:
    """Call `work`. If a person or the kernel kills its sandbox, call it once more, in a new one."""
    try:
        return work()
    except SandboxKilled:
        return work()


def _rendered(page_number: int, reply: PageReply, payload: bytes, with_pixels: bool) -> RenderedPage:
    pixel_bytes = 3 * reply.page.width_px * reply.page.height_px if with_pixels else 0
    images = reply.jpeg_bytes + reply.thumbnail_bytes
    if len(payload) != images + pixel_bytes:
        raise ValueError(f"{len(payload)} bytes instead of {images + pixel_bytes}")
    return RenderedPage(
        **{name: getattr(reply.page, name) for name in _PROPERTIES},
        page_number=page_number,
        jpeg=payload[: reply.jpeg_bytes],
        thumbnail=payload[reply.jpeg_bytes : images],
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

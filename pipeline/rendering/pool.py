"""The sandboxes of a process: files are opened in one of them, and their pages come back as values."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import BinaryIO, TypeVar

from pipeline.errors import OutcomeError, RenderCrashed, Stopped
from pipeline.models import MediaType, RenderedPage
from pipeline.rendering.process import CHILD_COMMAND, SandboxKilled, SandboxProcess
from pipeline.rendering.protocol import RenderLimits
from pipeline.rendering.replies import Done, Opened, PageReply
from pipeline.retry import STOP_POLL_SECONDS, Patience

T = TypeVar("T")


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
        self, file: BinaryIO, media_type: MediaType, patience: Patience | None = None, passwords: Sequence[str] = ()
    ) -> Iterator[OpenDocument]:
        """Open a file in a sandbox, waiting for a free one, and keep that one to the end of the block.

        Without a patience the wait has no end. `file` needs a descriptor; its position does not matter and stays.
        Nobody may write to it meanwhile.

        Raises:
            CorruptFile, EncryptedFile, LimitExceeded: what is wrong with the file.
            RenderTimeout, RenderCrashed, RenderOutOfMemory: what opening it did to the sandbox.
            ServiceRefused: no sandbox can be started.
            Stopped: the patience has ended before one was free.
        """
        slots, slot = self._take(patience or Patience())
        try:
            if self._closed:
                raise ValueError("the sandbox pool is closed")
            try:
                yield OpenDocument(slot, file, media_type, passwords)
            finally:
                slot.close_file()
        finally:
            slots.put(slot)

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

    def _take(self, patience: Patience) -> tuple[queue.LifoQueue[_Slot], _Slot]:
        """Return a slot, and where it is to be put back."""
        while not patience.stopped:
            slots = self._spare if patience.urgent and self._free.empty() else self._free
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
                self._process.ask({"op": "close"}, Done)
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

    def __init__(self, slot: _Slot, file: BinaryIO, media_type: MediaType, passwords: Sequence[str]) -> None:
        self._slot = slot
        self._file = file
        self._media_type = media_type
        self._passwords = passwords
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
        if not 1 <= page_number <= self.pages:
            raise ValueError(f"page {page_number} of {self.pages}")
        return _once_more(partial(self._render, page_number, with_pixels))

    def _render(self, page_number: int, with_pixels: bool) -> RenderedPage:
        process, fresh = self._slot.process()
        if fresh:
            self._open()
        request = {"op": "render", "page_number": page_number, "with_pixels": with_pixels}
        reply, payload = process.ask(request, PageReply)
        try:
            return _rendered(page_number, reply, payload, with_pixels)
        except ValueError as error:
            process.end()
            raise RenderCrashed(f"the sandbox process answered nonsense: {error}") from None

    def _open(self) -> Opened:
        process, _ = self._slot.process()
        request = {"op": "open", "media_type": self._media_type, "passwords": list(self._passwords)}
        return process.ask(request, Opened, self._file.fileno())[0]


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
        original=reply.original,
        exif=reply.exif,
        facts=reply.facts,
        rgb=payload[images:] if with_pixels else None,
    )

"""The sandbox process: opens one file at a time and renders its pages, under limits that it cannot lift.

It is started by `pipeline.rendering.process`, knows no path and no secret, and ends with its parent.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
import select
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from pipeline.errors import OutcomeError, RenderCrashed, RenderOutOfMemory
from pipeline.rendering.page_image import DecodedPage
from pipeline.rendering.protocol import RenderLimits, receive_request, send_reply

PDF = "application/pdf"
Reply = tuple[dict[str, Any], Sequence[bytes | memoryview]]
_MAX_DESCRIPTORS = 32
_WATCHDOG_STACK_BYTES = 256 << 10
#: Pages after which free memory goes back to the system. What PDFium keeps of each page of an open document lies
#: between large buffers that come and go, and holes 60 kB a page remain; one such sweep takes 1 ms.
_PAGES_BETWEEN_SWEEPS = 16


class OpenFile(Protocol):
    """What every decoder's open file is."""

    pages: int
    title: str | None
    members: int
    """Files within it."""

    def render(self, page_number: int) -> DecodedPage:
        """Decode and measure a page, 1-based."""
        ...

    def close(self) -> None:
        """Give its memory back."""
        ...


def main() -> None:
    """Serve until the parent goes. Arguments: the socket's descriptor, then limits and options as JSON."""
    connection = socket.socket(fileno=int(sys.argv[2]))
    options = json.loads(sys.argv[3])
    limits = RenderLimits(**options["limits"])
    _set_limits(limits)
    _end_with_parent(connection)
    send_reply(connection, {"peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss})
    _serve(connection, limits, options["keep_gps"])


def _set_limits(limits: RenderLimits) -> None:
    """Bound memory, files and dumps for good. Nothing may be written: a file of 0 bytes is the largest."""
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory_mb << 20),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MAX_DESCRIPTORS),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def _allow_cpu(seconds: float) -> None:
    """Let this request have `seconds` of CPU; the parent's clock is the usual end, this one outlives the parent."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _end_with_parent(connection: socket.socket) -> None:
    """Exit when the socket's other end closes, even in the middle of a C call.

    The kernel's parent-death signal would not do: it is sent when the thread that started the child ends.
    """

    def watch() -> None:
        hangup = select.poll()
        hangup.register(connection, 0)
        hangup.poll()
        os._exit(0)

    threading.stack_size(_WATCHDOG_STACK_BYTES)
    threading.Thread(target=watch, daemon=True).start()


def _serve(connection: socket.socket, limits: RenderLimits, keep_gps: bool) -> None:
    session = _Session(limits, keep_gps)
    while (received := receive_request(connection)) is not None:
        _allow_cpu(limits.page_seconds)
        try:
            send_reply(connection, *session.answer(*received))
        except OutcomeError as error:
            _send_error(connection, error)
        except MemoryError:
            _send_error(connection, RenderOutOfMemory(f"more than {limits.memory_mb} MiB of memory were wanted"))
        except Exception as error:  # the parent tells people; nobody reads this process's stderr
            _send_error(connection, RenderCrashed(f"the decoder failed: {type(error).__name__}: {error}"[:500]))


class _Session:
    """The file that is open at present."""

    def __init__(self, limits: RenderLimits, keep_gps: bool) -> None:
        self._limits = limits
        self._keep_gps = keep_gps
        self._descriptor: int | None = None
        self._file: OpenFile | None = None
        self._rendered = 0

    def answer(self, request: dict[str, Any], descriptor: int | None) -> Reply:
        if request["op"] == "close":
            self._close()
            return {}, ()
        if request["op"] == "open":
            assert descriptor is not None
            self._descriptor = descriptor
            self._file = self._decoder(descriptor, request["media_type"], request["passwords"])
            return {"pages": self._file.pages, "title": self._file.title, "members": self._file.members}, ()
        assert self._file is not None
        self._rendered += 1
        if self._rendered % _PAGES_BETWEEN_SWEEPS == 0:
            _release_free_memory()
        return _page_reply(self._file.render(request["page_number"]), request["with_pixels"])

    def _decoder(self, descriptor: int, media_type: str, passwords: Sequence[str]) -> OpenFile:
        """Open a file with its decoder, which is only now imported: most sandboxes see PDFs alone."""
        if media_type == PDF:
            from pipeline.rendering.pdf import PdfFile

            return PdfFile(descriptor, self._limits, passwords)
        from pipeline.rendering.image import ImageFile

        return ImageFile(descriptor, media_type, self._limits, keep_gps=self._keep_gps)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            _release_free_memory()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _release_free_memory() -> None:
    """Have glibc give back what is free in the middle of the heap; other C libraries have no need or no way."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _send_error(connection: socket.socket, error: OutcomeError) -> None:
    send_reply(connection, {"error": error.code, "message": str(error)})


def _page_reply(page: DecodedPage, with_pixels: bool) -> Reply:
    image = page.image
    header = {
        "jpeg_bytes": len(image.jpeg),
        "thumbnail_bytes": len(image.thumbnail),
        "label": page.label,
        "section": page.section,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "dpi": page.dpi,
        "pixels_sha256": image.pixels_sha256,
        "phash": image.phash,
        "blank": image.blank,
        "layer_text": page.layer_text,
        "original": page.original,
        "exif": page.exif,
        "facts": {
            "ink_share": image.ink_share,
            "picture_share": page.picture_share,
            "colours": image.colours,
            "is_vector": page.is_vector,
            "layer": page.layer,
            "placeholder": page.placeholder,
        },
    }
    return header, (image.jpeg, image.thumbnail, *((image.rgb,) if with_pixels else ()))

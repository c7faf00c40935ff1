"""The sandbox process: opens one file at a time and renders its pages, under limits that it cannot lift.

It is started by `pipeline.rendering.host.process`, knows no path, no secret but the passwords of an encrypted file,
and ends with its parent.
"""

from __future__ import annotations

import json
import math
import os
import resource
import socket
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from pipeline.core.child_side import begin, receive, send
from pipeline.core.errors import OutcomeError, RenderCrashed, RenderOutOfMemory
from pipeline.core.memory import release_free_memory
from pipeline.rendering.protocol import MEMBERS_TOLD, RenderLimits
from pipeline.rendering.sandbox.page_image.crops import DecodedCrop
from pipeline.rendering.sandbox.page_image.finish import DecodedPage

if TYPE_CHECKING:
    from pipeline.rendering.sandbox.containers.archives import Packed
    from pipeline.rendering.sandbox.containers.members import Member

PDF = "application/pdf"
Reply = tuple[dict[str, Any], Sequence[bytes | memoryview]]
EML = "message/rfc822"
MSG = "application/vnd.ms-outlook"
CONTAINERS = (
    "application/zip",
    "application/x-7z-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-bzip2",
    "application/x-xz",
    EML,
    MSG,
)
_PIECE_BYTES = 1 << 20
_MAX_DESCRIPTORS = 32
#: Of threads started here, which only hash: the default of 8 MiB would count against the memory limit.
_THREAD_STACK_BYTES = 256 << 10
#: Pages after which free memory goes back to the system. What PDFium keeps of each page of an open document lies
#: between large buffers that come and go, and holes 60 kB a page remain; one such sweep takes 1 ms.
_PAGES_BETWEEN_SWEEPS = 16


class OpenFile(Protocol):
    """What every decoder's open file is."""

    pages: int
    title: str | None

    @property
    def members(self) -> int:
        """How many files are within it."""
        ...

    def render(self, page_number: int) -> DecodedPage:
        """Decode and measure a page, 1-based."""
        ...

    def render_crops(self, page_number: int, bands: int) -> tuple[DecodedCrop, ...]:
        """Decode a page, 1-based, larger than its page image, and cut it into so many bands."""
        ...

    def close(self) -> None:
        """Give its memory back."""
        ...


class Holding(OpenFile, Protocol):
    """An open file that may hold others."""

    def packed(self) -> Packed:
        """Return the way to them."""
        ...


def main() -> None:
    """Serve requests until the parent ends. Arguments: limits and options as JSON, then the socket's descriptor."""
    *_, encoded, descriptor = sys.argv
    connection = socket.socket(fileno=int(descriptor))
    options = json.loads(encoded)
    limits = RenderLimits(**options["limits"])
    begin(connection, _resource_limits(limits), lambda: os._exit(0))
    threading.stack_size(_THREAD_STACK_BYTES)
    send(connection, {"peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss})
    _serve(connection, limits, options["keep_gps"])


def _resource_limits(limits: RenderLimits) -> dict[int, int]:
    """Return bounds of memory, files and descriptors. A size of 0 bytes means that no file can be written."""
    return {
        resource.RLIMIT_AS: limits.memory_mb << 20,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: _MAX_DESCRIPTORS,
    }


def _allow_cpu(seconds: float) -> None:
    """Allow this request `seconds` of CPU time. Usually the parent's clock ends it; this limit outlives the parent."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _serve(connection: socket.socket, limits: RenderLimits, keep_gps: bool) -> None:
    session = _Session(connection, limits, keep_gps)
    while (received := receive(connection)) is not None:
        request, _, descriptor = received
        _allow_cpu(limits.page_seconds)
        try:
            send(connection, *session.answer(request, descriptor))
        except OutcomeError as error:
            _send_error(connection, error)
        except MemoryError:
            _send_error(connection, RenderOutOfMemory(f"more than {limits.memory_mb} MiB of memory were wanted"))
        except Exception as error:  # the parent reports it; this process has no stderr
            _send_error(connection, RenderCrashed(f"the decoder failed: {type(error).__name__}: {error}"[:500]))


class _Session:
    """The file that is open at present."""

    def __init__(self, connection: socket.socket, limits: RenderLimits, keep_gps: bool) -> None:
        self._connection = connection
        self._limits = limits
        self._keep_gps = keep_gps
        self._descriptor: int | None = None
        self._file: OpenFile | None = None
        self._container: Packed | None = None
        self._rendered = 0

    def answer(self, request: dict[str, Any], descriptor: int | None) -> Reply:
        if request["op"] == "close":
            self._close()
            return {}, ()
        if request["op"] == "open":
            assert descriptor is not None
            self._close()  # a try without password leaves its descriptor
            self._descriptor = descriptor
            self._file = self._decoder(descriptor, request["media_type"], request["passwords"])
            return {"pages": self._file.pages, "title": self._file.title, "members": self._file.members}, ()
        if request["op"] == "identify":
            assert descriptor is not None
            return _identified(descriptor, request["media_type"])
        assert self._file is not None
        if request["op"] == "members":
            listing = self._packed().listing[request["first"] :][:MEMBERS_TOLD]
            return {"members": [_member(member) for member in listing]}, ()
        if request["op"] == "extract":
            self._packed().extract(request["first"], _Outlet(self._connection, self._limits, request["budget"]))
            return {"member": None, "last": True}, ()
        self._rendered += 1
        if self._rendered % _PAGES_BETWEEN_SWEEPS == 0:
            release_free_memory()
        if request["op"] == "crops":
            return _crops_reply(self._file.render_crops(request["page_number"], request["bands"]))
        return _page_reply(self._file.render(request["page_number"]), request["with_pixels"])

    def _decoder(self, descriptor: int, media_type: str, passwords: Sequence[str]) -> OpenFile:
        """Open a file with its decoder, which is only now imported: most sandboxes see PDFs alone."""
        if media_type == PDF:
            from pipeline.rendering.sandbox.pdf.document import PdfFile

            return PdfFile(descriptor, self._limits, passwords)
        if media_type in CONTAINERS:
            return _open_container(descriptor, media_type, self._limits, passwords)
        from pipeline.rendering.sandbox.image.document import ImageFile

        return ImageFile(descriptor, media_type, self._limits, keep_gps=self._keep_gps)

    def _packed(self) -> Packed:
        assert self._file is not None
        if self._container is None:
            self._container = cast(Holding, self._file).packed()
        return self._container

    def _close(self) -> None:
        self._container = None
        if self._file is not None:
            self._file.close()
            self._file = None
            release_free_memory()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _Outlet:
    """Sends the bytes of members to the parent, as many as it asked for and what then belongs to the last one."""

    def __init__(self, connection: socket.socket, limits: RenderLimits, budget: int) -> None:
        self._connection = connection
        self._limits = limits
        self._left = budget
        self._index = 0

    def begin(self, index: int) -> bool:
        self._index = index
        return self._left > 0

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            _allow_cpu(self._limits.page_seconds)
            send(self._connection, {"member": self._index, "last": False}, (rest[:_PIECE_BYTES],))
            rest = rest[_PIECE_BYTES:]
        self._left -= len(data)

    def end(self) -> None:
        _allow_cpu(self._limits.page_seconds)
        send(self._connection, {"member": self._index, "last": True})


def _identified(descriptor: int, envelope: str) -> Reply:
    from pipeline.rendering.sandbox.containers.sniffing import kind_of

    try:
        return {"media_type": kind_of(descriptor, envelope)}, ()
    finally:
        os.close(descriptor)


def _open_container(descriptor: int, media_type: str, limits: RenderLimits, passwords: Sequence[str]) -> OpenFile:
    if media_type in (EML, MSG):
        from pipeline.rendering.sandbox.containers.mail import open_eml, open_msg

        return open_eml(descriptor, limits) if media_type == EML else open_msg(descriptor, limits)
    from pipeline.rendering.sandbox.containers.archives import open_packed

    return open_packed(descriptor, media_type, limits, passwords)


def _member(member: Member) -> dict[str, Any]:
    error = member.error
    return {
        "name": member.name,
        "bytes": member.bytes,
        "error": error.code if error else None,
        "message": str(error) if error else None,
    }


def _send_error(connection: socket.socket, error: OutcomeError) -> None:
    send(connection, {"error": error.code, "message": str(error)})


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
            "glyph_px": page.layer_glyph_px or image.glyph_px,
        },
    }
    return header, (image.jpeg, image.thumbnail, *((image.rgb,) if with_pixels else ()))


def _crops_reply(crops: Sequence[DecodedCrop]) -> Reply:
    told = [
        {
            "jpeg_bytes": len(crop.jpeg),
            "box": crop.box,
            "width_px": crop.width_px,
            "height_px": crop.height_px,
            "pixels_sha256": crop.pixels_sha256,
        }
        for crop in crops
    ]
    return {"crops": told}, [crop.jpeg for crop in crops]

"""The sandbox process: opens one file at a time and renders its pages, under limits that it cannot lift.

It is started by `pipeline.rendering.host.process`, knows no path and no secret except the passwords of an
encrypted file, and ends with its parent.
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
from pipeline.core.confinement import Confinement, interpreter_paths
from pipeline.core.errors import OutcomeError, RenderCrashed, RenderOutOfMemory
from pipeline.core.formats import Envelope, MediaType, Route
from pipeline.core.memory import release_free_memory
from pipeline.rendering.protocol import MEMBERS_PER_REPLY, RenderLimits
from pipeline.rendering.sandbox.page_image.build import DecodedPage
from pipeline.rendering.sandbox.page_image.crops import DecodedCrop

if TYPE_CHECKING:
    from pipeline.rendering.sandbox.containers.archives import Container
    from pipeline.rendering.sandbox.containers.members import Member

Reply = tuple[dict[str, Any], Sequence[bytes | memoryview]]
_PIECE_BYTES = 1 << 20
_MAX_DESCRIPTORS = 32
#: Of threads started here, which only hash: the default of 8 MiB would count against the memory limit.
_THREAD_STACK_BYTES = 256 << 10
#: Pages after which free memory is returned to the system. PDFium keeps small objects of each page between
#: large buffers that it frees: they leave holes of 60 kB a page. One sweep takes 1 ms.
_PAGES_BETWEEN_SWEEPS = 16


class OpenFile(Protocol):
    """An open file of any decoder."""

    pages: int
    title: str | None

    @property
    def members(self) -> int:
        """Number of files in it."""
        ...

    def render(self, page_number: int) -> DecodedPage:
        """Decode and measure a page, 1-based."""
        ...

    def render_crops(self, page_number: int, bands: int) -> tuple[DecodedCrop, ...]:
        """Decode a page, 1-based, larger than its page image, and cut it into `bands` bands."""
        ...

    def close(self) -> None:
        """Free its memory."""
        ...


class ContainerFile(OpenFile, Protocol):
    """An open file that may contain others."""

    def container(self) -> Container:
        """Return access to its members."""
        ...


def main() -> None:
    """Serve requests until the parent ends. Arguments: limits and options as JSON, then the socket's descriptor."""
    *_, encoded, descriptor = sys.argv
    connection = socket.socket(fileno=int(descriptor))
    options = json.loads(encoded)
    limits = RenderLimits(**options["limits"])
    begin(connection, sandbox_rights(limits), lambda: os._exit(0))
    threading.stack_size(_THREAD_STACK_BYTES)
    send(connection, {"peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss})
    _serve(connection, limits, options["keep_gps"])


def sandbox_rights(limits: RenderLimits) -> Confinement:
    """Return the rights of a sandbox: it reads its own code and fonts, writes nothing, and starts nothing."""
    return Confinement(
        readable=interpreter_paths(),
        limits={
            resource.RLIMIT_AS: limits.memory_mb << 20,
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_NOFILE: _MAX_DESCRIPTORS,
        },
    )


def _allow_cpu(seconds: float) -> None:
    """Allow this request `seconds` of CPU time. The parent measures the same; this limit outlives the parent."""
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
            _send_error(connection, RenderOutOfMemory(f"more than {limits.memory_mb} MiB of memory were needed"))
        except Exception as error:  # the parent reports it; this process has no stderr
            _send_error(connection, RenderCrashed(f"the decoder failed: {type(error).__name__}: {error}"[:500]))


class _Session:
    """The open file, and the requests about it."""

    def __init__(self, connection: socket.socket, limits: RenderLimits, keep_gps: bool) -> None:
        self._connection = connection
        self._limits = limits
        self._keep_gps = keep_gps
        self._descriptor: int | None = None
        self._file: OpenFile | None = None
        self._container: Container | None = None
        self._rendered = 0

    def answer(self, request: dict[str, Any], descriptor: int | None) -> Reply:
        if request["op"] == "close":
            self._close()
            return {}, ()
        if request["op"] == "open":
            assert descriptor is not None
            self._close()  # an attempt without a password leaves its descriptor open
            self._descriptor = descriptor
            self._file = self._decoder(descriptor, MediaType(request["media_type"]), request["passwords"])
            return {"pages": self._file.pages, "title": self._file.title, "members": self._file.members}, ()
        if request["op"] == "identify":
            assert descriptor is not None
            return _identified(descriptor, Envelope(request["media_type"]))
        assert self._file is not None
        if request["op"] == "members":
            listing = self._open_members().listing[request["first"] :][:MEMBERS_PER_REPLY]
            return {"members": [_member(member) for member in listing]}, ()
        if request["op"] == "extract":
            self._open_members().extract(
                request["first"], _MemberSender(self._connection, self._limits, request["budget"])
            )
            return {"member": None, "last": True}, ()
        self._rendered += 1
        if self._rendered % _PAGES_BETWEEN_SWEEPS == 0:
            release_free_memory()
        if request["op"] == "crops":
            return _crops_reply(self._file.render_crops(request["page_number"], request["bands"]))
        return _page_reply(self._file.render(request["page_number"]), request["with_pixels"])

    def _decoder(self, descriptor: int, media_type: MediaType, passwords: Sequence[str]) -> OpenFile:
        """Open a file with its decoder. Decoders are imported on first use: most sandboxes open only PDFs."""
        if media_type.route is Route.PDF:
            from pipeline.rendering.sandbox.pdf.document import PdfFile

            return PdfFile(descriptor, self._limits, passwords)
        if media_type.route is Route.CONTAINER:
            return _open_container(descriptor, media_type, self._limits, passwords)
        from pipeline.rendering.sandbox.image.document import ImageFile

        return ImageFile(descriptor, media_type, self._limits, keep_gps=self._keep_gps)

    def _open_members(self) -> Container:
        assert self._file is not None
        if self._container is None:
            self._container = cast(ContainerFile, self._file).container()
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


class _MemberSender:
    """Sends the bytes of members to the parent until the budget is spent and the current member is complete."""

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


def _identified(descriptor: int, envelope: Envelope) -> Reply:
    from pipeline.rendering.sandbox.containers.sniffing import format_of

    try:
        return {"media_type": format_of(descriptor, envelope)}, ()
    finally:
        os.close(descriptor)


def _open_container(descriptor: int, media_type: MediaType, limits: RenderLimits, passwords: Sequence[str]) -> OpenFile:
    if media_type in (MediaType.EML, MediaType.MSG):
        from pipeline.rendering.sandbox.containers.mail import open_eml, open_msg

        return open_eml(descriptor, limits) if media_type is MediaType.EML else open_msg(descriptor, limits)
    from pipeline.rendering.sandbox.containers.archives import open_archive

    return open_archive(descriptor, media_type, limits, passwords)


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
    header = {"jpeg_bytes": len(image.jpeg), "thumbnail_bytes": len(image.thumbnail), "page": page.properties()}
    return header, (image.jpeg, image.thumbnail, *((image.rgb,) if with_pixels else ()))


def _crops_reply(crops: Sequence[DecodedCrop]) -> Reply:
    listed = [
        {
            "jpeg_bytes": len(crop.jpeg),
            "box": crop.box,
            "width_px": crop.width_px,
            "height_px": crop.height_px,
            "pixels_sha256": crop.pixels_sha256,
        }
        for crop in crops
    ]
    return {"crops": listed}, [crop.jpeg for crop in crops]

"""What parent and sandbox process say to each other, and the limits that they keep between them.

They talk over a stream socket. A request is a length (4 bytes, network order) and a JSON object; an `open` or an
`identify` request carries the file's descriptor beside its first byte. A reply is two lengths, a JSON object and raw
bytes:

    {"op": "open", "media_type": …, "passwords": […]}     -> `pipeline.rendering.replies.Opened`
    {"op": "identify", "media_type": …}                   -> `pipeline.rendering.replies.Kind`; nothing is open then
    {"op": "members", "first": …}                         -> `pipeline.rendering.replies.Members`
    {"op": "extract", "first": …, "budget": …}            -> several `pipeline.rendering.replies.Piece`, each with bytes
    {"op": "render", "page_number": …, "with_pixels": …}  -> `pipeline.rendering.replies.PageReply`, then its bytes
    {"op": "crops", "page_number": …, "bands": …}         -> `pipeline.rendering.replies.CropsReply`, then its bytes
    {"op": "close"}                                       -> {}
    anything that failed                                  -> {"error": code of an OutcomeError, "message": …}

The child says `pipeline.rendering.replies.Started` once when it is ready. Standard library only: the child imports this
module.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: Raised by hand whenever the same file would give other pixels or other text.
RENDER_REVISION = 2

REQUEST_HEAD = struct.Struct("!I")
REPLY_HEAD = struct.Struct("!II")
#: JSON of a reply. Its longest part is the text layer, which `pipeline.rendering.sandbox.pdf.document` bounds.
MAX_HEADER_BYTES = 16 << 20
#: Page image, thumbnail and raw pixels together, or all crops of a page: a page image is 3 MB raw, and 1.1 MB as JPEG
#: where it is nothing but noise.
MAX_PAYLOAD_BYTES = 16 << 20
#: Bands that a page is cut into: with more of them the overlaps would be a third of what is shown.
BANDS = range(2, 7)
#: Members of a container in one reply.
MEMBERS_TOLD = 1_000


@dataclass(frozen=True, slots=True)
class RenderLimits:
    """What one page may cost, and how large a file may be."""

    page_seconds: float
    """Wall clock for opening a file, or for one page."""
    memory_mb: int
    """Address space of a sandbox process, in MiB."""
    max_pages: int
    max_pixels: int
    """Pixels of the picture in an image file, or of one frame. PDF pages are drawn at the size that is wanted."""
    max_members: int
    """Files that a container may hold."""
    max_expansion: float
    """How many times its own size the files in a container may have, all together."""


def send_request(connection: socket.socket, request: dict[str, Any], descriptor: int | None = None) -> None:
    """Send a request; a descriptor goes along as a duplicate."""
    body = json.dumps(request).encode()
    descriptors = [] if descriptor is None else [descriptor]
    message = REQUEST_HEAD.pack(len(body)) + body
    sent = socket.send_fds(connection, [message], descriptors)
    connection.sendall(message[sent:])


def receive_request(connection: socket.socket) -> tuple[dict[str, Any], int | None] | None:
    """Return the next request and its descriptor, or None when the parent has gone."""
    head, descriptors, _, _ = socket.recv_fds(connection, REQUEST_HEAD.size, 1)
    if len(head) < REQUEST_HEAD.size:
        return None
    body = connection.recv(REQUEST_HEAD.unpack(head)[0], socket.MSG_WAITALL)
    return json.loads(body), descriptors[0] if descriptors else None


def send_reply(connection: socket.socket, header: dict[str, Any], payloads: Sequence[bytes | memoryview] = ()) -> None:
    """Send a reply and the bytes that belong to it."""
    body = json.dumps(header).encode()
    connection.sendall(REPLY_HEAD.pack(len(body), sum(map(len, payloads))) + body)
    for payload in payloads:
        connection.sendall(payload)

"""Requests and replies between the parent and a sandbox process, and the limits that both keep.

`pipeline.core.child_side` has the frames. Requests are JSON objects; `open` and `identify` carry a file
descriptor. A reply is a JSON object, described by a class in `pipeline.rendering.replies`, and raw bytes:

    {"op": "open", "media_type": …, "passwords": […]}     -> `OpenedReply`
    {"op": "identify", "media_type": …}                   -> `FormatReply`; the file is closed again
    {"op": "members", "first": …}                         -> `MembersReply`
    {"op": "extract", "first": …, "budget": …}            -> several `PieceReply`, each with bytes
    {"op": "render", "page_number": …, "with_pixels": …}  -> `PageReply`, with bytes
    {"op": "crops", "page_number": …, "bands": …}         -> `CropsReply`, with bytes
    {"op": "close"}                                       -> `DoneReply`
    any request that fails                                -> `FailedReply`

The child sends `StartedReply` once when it is ready. Standard library only: the child imports this module.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Raise it by hand when the same file gives other pixels or other text.
RENDER_REVISION = 3

#: JSON of a reply. Its longest part is the text layer, which `pipeline.rendering.sandbox.pdf.text` bounds.
MAX_HEADER_BYTES = 16 << 20
#: Page image, thumbnail and raw pixels together, or all crops of a page. A page image has 3 MB raw; as JPEG it has
#: 1.1 MB if it is pure noise.
MAX_PAYLOAD_BYTES = 16 << 20
#: Bands into which a page is cut: of more bands a third would be overlap.
BANDS = range(2, 7)
#: Bytes that the files in a container may always have together: blank scans pack better than bombs.
EXPANSION_FLOOR_BYTES = 64 << 20
#: Members of a container in one reply.
MEMBERS_PER_REPLY = 1_000


@dataclass(frozen=True, slots=True)
class RenderLimits:
    """Limits of one page, and of a file."""

    page_seconds: float
    """CPU seconds for opening a file, or for one page."""
    wall_seconds: float
    """Wall-clock seconds for the same: far more, since the machine may be busy with other work."""
    memory_mb: int
    """Address space of a sandbox process, in MiB."""
    max_pages: int
    max_pixels: int
    """Pixels of the picture in an image file, or of one frame. PDF pages are drawn at the requested size."""
    max_members: int
    """Files that a container may hold."""
    max_expansion: float
    """The files in a container, all together, may have this many times its size."""

"""Requests and replies between the parent and a sandbox process, and the limits that both keep.

The frames are those of `pipeline.core.child_side`. Requests are JSON objects; `open` and `identify` carry a file
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

#: Raised by hand whenever the same file would give other pixels or other text.
RENDER_REVISION = 2

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

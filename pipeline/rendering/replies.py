"""What the parent accepts from a sandbox process. A document may have taken it over: nothing is believed unchecked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.core.errors import (
    CorruptFile,
    EncryptedFile,
    LimitExceeded,
    LinkOutOfTree,
    OutcomeError,
    RenderCrashed,
    RenderOutOfMemory,
    UnsupportedFormat,
)
from pipeline.core.models import MediaType, OriginalImage, PageFacts
from pipeline.rendering.protocol import BANDS, MEMBERS_TOLD

#: What a child may report about a file; it cannot make a page look as if a service had failed.
_REPORTABLE: dict[str, type[OutcomeError]] = {
    error.code: error
    for error in (
        CorruptFile,
        EncryptedFile,
        LimitExceeded,
        LinkOutOfTree,
        RenderCrashed,
        RenderOutOfMemory,
        UnsupportedFormat,
    )
}
_MAX_MESSAGE_CHARS = 1_000

Pixels = Annotated[int, Field(ge=1, le=1 << 16)]
Share = Annotated[float, Field(ge=0, le=1)]


class Reply(BaseModel):
    """Base of all replies."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DoneReply(Reply):
    """Nothing to tell."""


class StartedReply(Reply):
    """The process is ready. Linux lets its peak memory begin at that of its parent; only what is above is its own."""

    peak_kib: int = Field(ge=0)


class OpenedReply(Reply):
    """The file is open."""

    pages: int = Field(ge=0)
    """None of a container."""
    title: str | None
    members: int = Field(ge=0)


class FormatReply(Reply):
    """What a file is."""

    media_type: MediaType


class MemberReply(Reply):
    """A file within a file."""

    name: str = Field(min_length=1, max_length=300)
    """Its path there, unique: segments between slashes, none of which is empty, `.` or `..`."""
    bytes: int = Field(ge=0)
    error: Literal["corrupt", "encrypted", "outside_link", "unsupported"] | None
    message: str | None = Field(max_length=_MAX_MESSAGE_CHARS)

    def as_error(self) -> OutcomeError | None:
        """Return why it cannot be had, None where it can."""
        return None if self.error is None else _REPORTABLE[self.error](self.message or "")


class MembersReply(Reply):
    """Some of the files within a file."""

    members: tuple[MemberReply, ...] = Field(max_length=MEMBERS_TOLD)


class PieceReply(Reply):
    """Bytes of a member, which follow; after the last ones one without, and after the last member one without that."""

    member: int | None
    last: bool


class PageReply(Reply):
    """A page; its bytes follow: JPEG, thumbnail, and raw pixels where they were asked for."""

    jpeg_bytes: int = Field(ge=1)
    thumbnail_bytes: int = Field(ge=1)
    label: str | None
    section: str | None
    width_px: Pixels
    height_px: Pixels
    dpi: float | None
    pixels_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    phash: str = Field(pattern="^[0-9a-f]{16}$")
    blank: bool
    layer_text: str | None
    original: OriginalImage
    exif: dict[str, str]
    facts: PageFacts


class CropReply(Reply):
    """One of a page's crops."""

    jpeg_bytes: int = Field(ge=1)
    box: tuple[Share, Share, Share, Share]
    width_px: Pixels
    height_px: Pixels
    pixels_sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @field_validator("box")
    @classmethod
    def has_an_area(cls, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Check that left is left of right, and top above bottom."""
        if not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError("a crop without area")
        return box


class CropsReply(Reply):
    """The crops of a page; their JPEGs follow, one after the other."""

    crops: tuple[CropReply, ...] = Field(min_length=BANDS[0], max_length=BANDS[-1])


class FailedReply(Reply):
    """The file or the page could not be had."""

    error: str
    message: str = Field(max_length=_MAX_MESSAGE_CHARS)

    def as_error(self) -> OutcomeError:
        """Return what to raise.

        Raises:
            KeyError: a code that no child may report.
        """
        return _REPORTABLE[self.error](self.message)

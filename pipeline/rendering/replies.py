"""Replies of a sandbox process, as the parent validates them: a hostile document may control the process."""

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
from pipeline.core.formats import MediaType
from pipeline.core.models import SHA256, PageProperties, Pixels
from pipeline.rendering.protocol import BANDS, MEMBERS_PER_REPLY

#: Errors that a child may report. They are about the file: a child cannot report the failure of a service.
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

Share = Annotated[float, Field(ge=0, le=1)]


class Reply(BaseModel):
    """Base of all replies."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DoneReply(Reply):
    """The request was carried out."""


class StartedReply(Reply):
    """The process is ready. Linux starts its peak memory at the parent's; only an increase is its own."""

    peak_kib: int = Field(ge=0)


class OpenedReply(Reply):
    """The file is open."""

    pages: int = Field(ge=0)
    """0 for a container."""
    title: str | None
    members: int = Field(ge=0)


class FormatReply(Reply):
    """The format of a file."""

    media_type: MediaType


class MemberReply(Reply):
    """A file in a file."""

    name: str = Field(min_length=1, max_length=300)
    """Its unique path there. Its segments between slashes are not empty, not `.` and not `..`."""
    bytes: int = Field(ge=0)
    error: Literal["corrupt", "encrypted", "outside_link", "unsupported"] | None
    message: str | None = Field(max_length=_MAX_MESSAGE_CHARS)

    def as_error(self) -> OutcomeError | None:
        """Return why the member cannot be read, None if it can."""
        return None if self.error is None else _REPORTABLE[self.error](self.message or "")


class MembersReply(Reply):
    """Some of the files in a file."""

    members: tuple[MemberReply, ...] = Field(max_length=MEMBERS_PER_REPLY)


class PieceReply(Reply):
    """Bytes of a member follow. The end of a member is `last` without bytes; the end of all has no `member`."""

    member: int | None
    last: bool


class PageReply(Reply):
    """A page. Its bytes follow: JPEG, thumbnail, and on request raw pixels."""

    jpeg_bytes: int = Field(ge=1)
    thumbnail_bytes: int = Field(ge=1)
    page: PageProperties


class CropReply(Reply):
    """One crop of a page."""

    jpeg_bytes: int = Field(ge=1)
    box: tuple[Share, Share, Share, Share]
    width_px: Pixels
    height_px: Pixels
    pixels_sha256: SHA256

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
    """The request failed."""

    error: str
    message: str = Field(max_length=_MAX_MESSAGE_CHARS)

    def as_error(self) -> OutcomeError:
        """Return the error to raise.

        Raises:
            KeyError: a child may not report this code.
        """
        return _REPORTABLE[self.error](self.message)

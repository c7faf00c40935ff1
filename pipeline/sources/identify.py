"""Identifies a file: its format by its first bytes, never by its name, and its document by its hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.core.errors import EmptyFile, LimitExceeded, SourceUnreadable
from pipeline.core.formats import HeadType
from pipeline.core.models import FileState
from pipeline.core.signatures import HEAD_BYTES
from pipeline.sources.files import require_unchanged
from pipeline.sources.signatures import media_type_of

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Identified:
    """The result of reading a file once."""

    document_id: str
    """SHA-256 of all bytes, hex."""
    media_type: HeadType
    """The format, or the envelope around it."""


def require_size(state: FileState, max_bytes: int) -> None:
    """Check the size of a file.

    Raises:
        EmptyFile: it holds no bytes.
        LimitExceeded: it holds more than `max_bytes`.
    """
    if state.bytes == 0:
        raise EmptyFile("the file is empty")
    if state.bytes > max_bytes:
        raise LimitExceeded(f"{state.bytes} bytes; PAGESIGHT_MAX_FILE_BYTES allows {max_bytes}")


def identify(file: BinaryIO, state: FileState, max_bytes: int) -> Identified:
    """Read an open file once, from its beginning.

    Raises:
        EmptyFile: it holds no bytes.
        LimitExceeded: it holds more than `max_bytes`.
        UnsupportedFormat: its format becomes no pages; only its first bytes were read.
        SourceChanged: it changed meanwhile.
        SourceUnreadable: the disk fails.
    """
    require_size(state, max_bytes)
    try:
        head = file.read(HEAD_BYTES)
        media_type = media_type_of(head)
        digest = hashlib.sha256(head)
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
        file.seek(0)
    except OSError as error:
        raise SourceUnreadable(f"the file cannot be read: {error.strerror}") from error
    require_unchanged(file, state)
    return Identified(digest.hexdigest(), media_type)

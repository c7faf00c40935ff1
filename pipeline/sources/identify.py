"""Identifying: what a file is, by its bytes and never by its name, and which document it is, by its hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

import filetype

from pipeline.errors import EmptyFile, LimitExceeded, SourceUnreadable, UnsupportedFormat
from pipeline.models import FileState, MediaType
from pipeline.sources.files import require_unchanged

#: `filetype` looks at 8 KiB at most.
HEAD_BYTES = 8192
#: Readers accept a PDF's header anywhere in the first 1024 bytes (Adobe's implementation note 13 to PDF 1.7, H.3).
PDF_HEADER_WITHIN = 1024
_BIG_TIFF = (b"II+\x00", b"MM\x00+")
_CHUNK_BYTES = 1 << 20
#: Names that `filetype` gives to formats of ours.
_MAGIC = frozenset("application/pdf image/png image/jpeg image/tiff image/webp image/gif image/bmp".split())
_ALIASES = {"image/apng": MediaType.PNG}


@dataclass(frozen=True, slots=True)
class Identified:
    """What reading a file once tells."""

    document_id: str
    """SHA-256 of all bytes, hex."""
    media_type: MediaType


def media_type_of(head: bytes) -> MediaType:
    """Return the format of a file that begins with `head`.

    Raises:
        UnsupportedFormat: of no kind that becomes pages; the message names the kind where it is known.
    """
    guessed = filetype.guess_mime(head)
    if guessed in _ALIASES:
        return _ALIASES[guessed]
    if guessed in _MAGIC:
        return MediaType(guessed)
    if head.startswith(_BIG_TIFF):
        return MediaType.TIFF
    if b"%PDF-" in head[: PDF_HEADER_WITHIN + 5]:
        return MediaType.PDF
    raise UnsupportedFormat(f"files of type {guessed} are not supported" if guessed else "of no known file type")


def require_size(state: FileState, max_bytes: int) -> None:
    """See that a file is worth reading.

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
        UnsupportedFormat: of no kind that becomes pages; only its head was read.
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

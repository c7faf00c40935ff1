"""Reads the headers of JPEG 2000 that Pillow ignores: the colour profile, and the number of reduced resolutions.

Boxes are defined in ISO/IEC 15444-1, annex I; markers of the codestream in annex A.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

_CODESTREAM = b"\xff\x4f\xff\x51"
_COD, _SOT = 0xFF52, 0xFF90
_MAX_LEVELS = 32
_BOX = struct.Struct(">I4s")
_MARKER = struct.Struct(">HH")
#: Methods of a `colr` box that carry an ICC profile: restricted, any.
_ICC_METHODS = (2, 3)
#: A profile of a printer has 2 MB.
_MAX_PROFILE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Jpeg2000:
    """The headers of a file."""

    reductions: int
    """How often the size can be halved by reading fewer resolution levels."""
    icc_profile: bytes | None


def inspect(file: IO[bytes]) -> Jpeg2000:
    """Read the headers of a file or a raw codestream. The decoder reports missing or broken parts.

    Raises:
        struct.error: the file ends within its headers.
    """
    file.seek(0)
    if file.read(len(_CODESTREAM)) == _CODESTREAM:
        return Jpeg2000(_reductions(file, 0), None)
    reductions, icc_profile = 0, None
    file.seek(0)
    for kind, start, end in _boxes(file, file.seek(0, 2)):
        if kind == b"jp2h":
            icc_profile = _icc_profile(file, start, end)
        if kind == b"jp2c":
            reductions = _reductions(file, start)
            break
    return Jpeg2000(reductions, icc_profile)


def _boxes(file: IO[bytes], end: int, start: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Yield type and range of the content of each box in a range of the file."""
    while start + _BOX.size <= end:
        file.seek(start)
        size, kind = _BOX.unpack(file.read(_BOX.size))
        header = _BOX.size
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            header += 8
        box_end = min(start + size, end) if size else end
        if box_end < start + header:
            return
        yield kind, start + header, box_end
        start = box_end


def _icc_profile(file: IO[bytes], start: int, end: int) -> bytes | None:
    for kind, content, content_end in _boxes(file, end, start):
        if kind == b"colr" and content_end - content <= _MAX_PROFILE_BYTES:
            file.seek(content)
            method, *_ = file.read(3)
            if method in _ICC_METHODS:
                return file.read(content_end - content - 3)
    return None


def _reductions(file: IO[bytes], start: int) -> int:
    """Return the number of decomposition levels that the codestream's main header tells."""
    file.seek(start + 2)
    while True:
        marker, size = _MARKER.unpack(file.read(_MARKER.size))
        if marker == _COD:
            levels: int = struct.unpack(">BBHBB", file.read(6))[-1]
            return min(levels, _MAX_LEVELS)
        if marker == _SOT or size < 2:
            return 0
        file.seek(size - 2, 1)

"""What the stand-in needs to know of an image, from its header alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass

#: Start-of-frame markers of JPEG: all of C0 to CF but DHT, JPG and DAC.
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Header:
    media_type: str
    width: int
    height: int


def read_header(data: bytes) -> Header | None:
    """Return format and size in pixels of a JPEG or PNG, or None for anything else."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR" and len(data) >= 24:
        return Header("image/png", *struct.unpack(">II", data[16:24]))
    return None


def _jpeg(data: bytes) -> Header | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in FRAME_MARKERS:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return Header("image/jpeg", width, height)
        at += 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
    return None

"""ICC profiles that nobody has, so that a picture shows whether its own was used (ICC.1:2001-04)."""

from __future__ import annotations

import struct
from collections.abc import Mapping

_D50 = struct.pack(">3i", 63190, 65536, 54061)


def linear_grey() -> bytes:
    """Grey whose samples are proportional to light: its middle is 188 of sRGB's 255."""
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": b"XYZ \0\0\0\0" + _D50, b"kTRC": curve})


def green_ink() -> bytes:
    """Four inks that print nothing by themselves, but for the first, cyan's, which prints green."""
    white, green = (255, 128, 128), (200, 50, 200)
    corners = b"".join(bytes(green if cyan else white) for cyan in (0, 1) for _ in range(8))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + struct.pack(">9i", *(65536 if n % 4 == 0 else 0 for n in range(9)))
    straight = bytes(range(256))
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table + 4 * straight + corners + 3 * straight})


def _profile(kind: bytes, space: bytes, connection: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    text = b"made for a test\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": described, b"cprt": b"text\0\0\0\0" + text, **tags}
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">2I", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x02400000, kind, space, connection)
    return (head + bytes(12) + b"acsp" + bytes(28) + _D50).ljust(128, b"\0") + table + body

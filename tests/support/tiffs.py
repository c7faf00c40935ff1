"""TIFF files as Pillow does not write them, put together tag by tag (TIFF 6.0)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

#: Tags by the names of TIFF 6.0.
WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTE_COUNTS, PLANAR = 273, 277, 278, 279, 284
PREDICTOR, COLOR_MAP, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTE_COUNTS = 317, 320, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_INTERCHANGE, JPEG_INTERCHANGE_LENGTH, SUBSAMPLING = 338, 339, 513, 514, 530

Tags = Mapping[int, int | Sequence[int]]


def tiff(tags: Tags, blocks: Sequence[bytes], *, order: str = "<", big: bool = False, jpeg: bytes = b"") -> bytes:
    """A file of one frame: strips, or tiles where the tags give them a width. `jpeg` is an old-style JPEG stream."""
    tiled = TILE_WIDTH in tags
    start = 16 if big else 8
    body, offsets = b"", []
    for block in blocks:
        offsets.append(start + len(body))
        body += block
    entries = {
        STRIP_OFFSETS if not tiled else TILE_OFFSETS: offsets,
        STRIP_BYTE_COUNTS if not tiled else TILE_BYTE_COUNTS: [len(block) for block in blocks],
        **tags,
    }
    if jpeg:
        entries |= {JPEG_INTERCHANGE: start + len(body), JPEG_INTERCHANGE_LENGTH: len(jpeg)}
        body += jpeg
    return _header(order, big, start + len(body)) + body + _directory(entries, order, big, start + len(body))


def _header(order: str, big: bool, directory: int) -> bytes:
    mark = b"II" if order == "<" else b"MM"
    return mark + (
        struct.pack(order + "HHHQ", 43, 8, 0, directory) if big else struct.pack(order + "HI", 42, directory)
    )


def _directory(entries: Tags, order: str, big: bool, start: int) -> bytes:
    """The directory, and behind it what does not fit into its entries."""
    count, word, room = ("Q", "Q", 8) if big else ("H", "I", 4)
    size = struct.calcsize(order + count) + len(entries) * (20 if big else 12) + room
    table, rest = struct.pack(order + count, len(entries)), b""
    for tag, told in sorted(entries.items()):
        values = [told] if isinstance(told, int) else list(told)
        kind, code = (3, "H") if max(values) < 1 << 16 else (4, "I")
        data = struct.pack(f"{order}{len(values)}{code}", *values)
        table += struct.pack(f"{order}HH{word}", tag, kind, len(values))
        if len(data) > room:
            table += struct.pack(order + word, start + size + len(rest))
            rest += data + b"\0" * (len(data) % 2)
        else:
            table += data.ljust(room, b"\0")
    return table + b"\0" * room + rest

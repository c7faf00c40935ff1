"""Picture files of every format, by the encoders there are, and put together by hand where there are none."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import pillow_heif
from PIL import Image, ImageChops

from pipeline.core.formats import MediaType
from support.rendering import encoded

pillow_heif.register_heif_opener()
#: Options with which an encoder keeps every pixel.
_LOSSLESS = {
    MediaType.WEBP: {"lossless": True},
    MediaType.HEIF: {"quality": -1, "chroma": 444, "matrix_coefficients": 0},
    MediaType.AVIF: {"quality": 100, "subsampling": "4:4:4"},
    MediaType.JPEG: {"quality": 100, "subsampling": 0},
}
_PSD_MODES = {"1": 0, "L": 1, "P": 2, "RGB": 3, "RGBA": 3, "CMYK": 4, "LAB": 9}
_ICC_RESOURCE = 1039


def file_of(picture: Image.Image, media_type: MediaType, **options: object) -> bytes:
    """A file that keeps the picture's pixels as far as its format can."""
    if media_type is MediaType.PSD:
        return psd(picture)
    return encoded(picture, media_type.row.decoder, **{**_LOSSLESS.get(media_type, {}), **options})


def psd(
    picture: Image.Image, *, packed: bool = False, icc_profile: bytes = b"", bits: int = 8, version: int = 1
) -> bytes:
    """A PSD file of nothing but its composite (Adobe Photoshop File Formats Specification)."""
    width, height = picture.size
    mode = _PSD_MODES[picture.mode]
    bits = 1 if picture.mode == "1" else bits
    head = struct.pack(">4sH6xHIIHH", b"8BPS", version, len(picture.getbands()), height, width, bits, mode)
    palette = bytes(picture.getpalette() or ()).ljust(768, b"\0") if picture.mode == "P" else b""
    planar = b"".join(palette[channel::3] for channel in range(3))
    resource = struct.pack(">4sHHI", b"8BIM", _ICC_RESOURCE, 0, len(icc_profile)) + icc_profile
    sections = b"".join(
        struct.pack(">I", len(part)) + part for part in (planar, resource + bytes(len(resource) % 2), b"")
    )
    # Inks are stored as what they leave of white, and of one bit black is 1.
    stored = ImageChops.invert(picture) if picture.mode == "CMYK" else picture
    rows = [_rows(band) for band in stored.split()]
    if picture.mode == "1":
        rows = [[bytes(255 - byte for byte in row) for row in band] for band in rows]
    return head + sections + (_packed(rows) if packed else b"\0\0" + b"".join(b"".join(band) for band in rows))


def _rows(band: Image.Image) -> list[bytes]:
    data = band.tobytes()
    stride = len(data) // band.height
    return [data[start : start + stride] for start in range(0, len(data), stride)]


def _packed(bands: Sequence[Sequence[bytes]]) -> bytes:
    """PackBits with runs of equal bytes only."""

    def pack(row: bytes) -> bytes:
        packed, start = b"", 0
        while start < len(row):
            length = min(len(row[start:]) - len(row[start:].lstrip(row[start : start + 1])), 128)
            packed += struct.pack("b", 1 - length) + row[start : start + 1]
            start += length
        return packed

    rows = [pack(row) for band in bands for row in band]
    return b"\0\1" + b"".join(struct.pack(">H", len(row)) for row in rows) + b"".join(rows)


def bmp(size: tuple[int, int], bits: int, data: bytes, *, compression: int = 0, masks: Sequence[int] = ()) -> bytes:
    """A BMP of Windows 3; a negative height is that of rows from the top down."""
    fields = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, compression, len(data), 0, 0, 0, 0)
    header = fields + b"".join(struct.pack("<I", mask) for mask in masks)
    start = 14 + len(header)
    return struct.pack("<2sI4xI", b"BM", start + len(data), start) + header + data


def png_16_bit(picture: Image.Image) -> bytes:
    """A PNG of 16 bits a channel, in RGB or RGBA."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    deep = b"".join(b"\0" + bytes(byte for byte in row for _ in range(2)) for row in _rows(picture))
    header = struct.pack(">IIBBBBB", *picture.size, 16, {"RGB": 2, "RGBA": 6}[picture.mode], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(deep)) + chunk(b"IEND", b"")

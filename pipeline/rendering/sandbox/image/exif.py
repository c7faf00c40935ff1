"""Reads EXIF: all tags as strings to show, and a few values to search by."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

from pipeline.core.text import clean_line

if TYPE_CHECKING:
    from pipeline.rendering.sandbox.image.raster import Picture

MAX_VALUE_CHARS = 200
_MAX_TAGS = 200
#: Longer lists are tables for programs: strip offsets, colour maps, thumbnails.
_MAX_LIST = 8
_POINTERS = {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop, ExifTags.Base.MakerNote}
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"[+-]\d\d:\d\d")


def orientation(image: Picture) -> int | None:
    """Return the orientation, 1 to 8; None if it is missing or invalid (bytes and lists occur)."""
    value = dict(guarded(lambda: [*image.getexif().items()])).get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) and 1 <= value <= 8 else None


def flatten(image: Picture, *, keep_gps: bool) -> dict[str, str]:
    """Return tags by name. Without binary values, maker notes and long lists; with GPS positions only if `keep_gps`."""
    named = guarded(lambda: [*_named(image.getexif(), keep_gps)])
    texts = ((name, _as_text(value)) for name, value in named[:_MAX_TAGS])
    return {name: text for name, text in texts if text is not None}


def captured_at(tags: dict[str, str]) -> str | None:
    """Return DateTimeOriginal as ISO 8601, with its offset where OffsetTimeOriginal tells one."""
    found = _DATE.fullmatch(tags.get("DateTimeOriginal", ""))
    if not found:
        return None
    year, month, day, hour, minute, second = found.groups()
    offset = tags.get("OffsetTimeOriginal", "")
    moment = f"{year}-{month}-{day}T{hour}:{minute}:{second}{offset if _OFFSET.fullmatch(offset) else ''}"
    try:
        return datetime.fromisoformat(moment).isoformat()
    except ValueError:
        return None


def camera(tags: dict[str, str]) -> str | None:
    """Return maker and model, the maker once: many models begin with it."""
    make, model = tags.get("Make", ""), tags.get("Model", "")
    if model.lower().startswith(make.lower()):
        return model or None
    return f"{make} {model}".strip()


def guarded(read: Callable[[], list[tuple[Any, Any]]]) -> list[tuple[Any, Any]]:
    """Return the tags, or none where EXIF is broken: the picture itself may be sound."""
    try:
        return read()
    except (KeyError, OSError, SyntaxError, TypeError, ValueError, struct.error):
        return []


def _named(exif: Image.Exif, keep_gps: bool) -> Iterator[tuple[str, Any]]:
    for tag, value in [*exif.items(), *exif.get_ifd(ExifTags.IFD.Exif).items()]:
        if tag in ExifTags.TAGS and tag not in _POINTERS:
            yield ExifTags.TAGS[tag], value
    if keep_gps:
        for tag, value in exif.get_ifd(ExifTags.IFD.GPSInfo).items():
            if tag in ExifTags.GPSTAGS:
                yield ExifTags.GPSTAGS[tag], value


def _as_text(value: Any) -> str | None:
    if isinstance(value, bytes):
        if not value.isascii() or not value.decode("ascii").rstrip("\0").isprintable():
            return None
        value = value.decode("ascii")
    if isinstance(value, tuple | list):
        if len(value) > _MAX_LIST or any(isinstance(part, bytes | tuple | dict) for part in value):
            return None
        value = ", ".join(str(part) for part in value)
    if isinstance(value, dict):
        return None
    return clean_line(str(value), MAX_VALUE_CHARS)

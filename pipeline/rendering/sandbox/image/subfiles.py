"""Tells the pages of a TIFF from its other frames: thumbnails, smaller copies, masks. Runs in the sandbox process.

Tags are those of TIFF 6.0. Pictures in the tag SubIFDs never count as frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _WIDTH, _LENGTH, _PHOTOMETRIC = 254, 255, 256, 257, 262
#: Bits of NewSubfileType.
_REDUCED_BIT, _MASK_BIT = 1, 4
#: Value of the older tag SubfileType.
_REDUCED = 2
_MASK_SAMPLES = 4
#: A smaller copy with a longer side is left out only if it has the shape of a larger frame: the tag may be wrong.
_THUMBNAIL_PX = 512
_SAME_SHAPE = 0.05


class Frame(NamedTuple):
    """Size and purpose of a frame, by its tags."""

    width: int
    height: int
    is_reduced: bool
    is_mask: bool


def frame_of(tags: Mapping[int, Any]) -> Frame:
    """Return what tags say; a frame whose tags are missing or broken counts as a page."""
    width, height = _number(tags, _WIDTH), _number(tags, _LENGTH)
    subfile = _number(tags, _NEW_SUBFILE_TYPE)
    is_reduced = bool(subfile & _REDUCED_BIT) or (not subfile and _number(tags, _SUBFILE_TYPE) == _REDUCED)
    return Frame(width, height, is_reduced, bool(subfile & _MASK_BIT) or _number(tags, _PHOTOMETRIC) == _MASK_SAMPLES)


def pages_among(frames: Sequence[Frame]) -> list[int]:
    """Return the indices of the frames that are pages. If none is, all count: nothing is lost."""
    full = {(frame.width, frame.height) for frame in frames if not (frame.is_reduced or frame.is_mask)}
    pages = [index for index, frame in enumerate(frames) if not _belongs_to_another(frame, full)]
    return pages or list(range(len(frames)))


def _belongs_to_another(frame: Frame, full: set[tuple[int, int]]) -> bool:
    if frame.is_mask:
        return bool(full)
    return frame.is_reduced and any(_is_copy(frame, size) for size in full)


def _is_copy(frame: Frame, size: tuple[int, int]) -> bool:
    width, height = size
    if frame.width * frame.height >= width * height:
        return False
    is_small = max(frame.width, frame.height) <= _THUMBNAIL_PX
    return is_small or abs(frame.width * height - frame.height * width) <= _SAME_SHAPE * frame.height * width


def _number(tags: Mapping[int, Any], tag: int) -> int:
    value = tags.get(tag)
    return value if isinstance(value, int) else 0

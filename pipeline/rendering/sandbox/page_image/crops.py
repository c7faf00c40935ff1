"""Cuts a page into overlapping crops, each with as many pixels as the model sees. Runs in the sandbox process.

A page is drawn or decoded once, by the code of its page image, in a size at which each crop has the pixels of a page
image. Then it is cut into bands from top to bottom, so that lines of text stay whole. Two pages side by side are cut
from left to right, and so are long strips, in which a line is longer than the strip is high.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from PIL import Image

from pipeline.rendering.sandbox.page_image.build import (
    JPEG_QUALITY,
    MAX_PIXELS,
    MAX_SIDE_PX,
    encoded,
    on_canvas,
    pixels_sha256,
    placed,
)
from pipeline.rendering.sandbox.page_image.measure import contrast, is_blank

#: Share of the page's height, or width, in two neighbouring bands. On A4 this is 50 points: four lines of 10 points
#: with their leading, or two of 20. One of them may be cut by the edge, and one is whole in both crops.
OVERLAP = 0.06

#: A page that is at least this many times as wide as high is a strip.
_STRIP_ASPECT = 3

Box = tuple[int, int, int, int]
Shares = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class DecodedCrop:
    """A crop from a decoder. Field names are as in `core.models.RenderedCrop`."""

    box: Shares
    jpeg: bytes
    width_px: int
    height_px: int
    pixels_sha256: str


def page_size(width: float, height: float, bands: int, *, enlarge: bool) -> tuple[int, int]:
    """Return the size at which a page of these sides is drawn, so that each of its bands fits the model."""
    share = band_share(bands)
    scale = min(math.sqrt(MAX_PIXELS / width / height / share), MAX_SIDE_PX / max(width, height))
    if not enlarge:
        scale = min(scale, 1.0)
    return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))


def band_share(bands: int) -> float:
    """Return the length of a band as a share of the page."""
    return (1 + (bands - 1) * OVERLAP) / bands


def cut(page: Image.Image, bands: int) -> tuple[DecodedCrop, ...]:
    """Cut a page of mode RGB, drawn at `page_size`, into equal bands, and encode them."""
    beside = boxes_beside(page.size, bands)
    is_between_pages = page.width > page.height and all(map(partial(_is_empty, page), itertools.pairwise(beside)))
    is_strip = page.width >= _STRIP_ASPECT * page.height
    boxes = beside if is_between_pages or is_strip else boxes_below(page.size, bands)
    return tuple(_finish(page, box) for box in boxes)


def boxes_below(size: tuple[int, int], bands: int) -> list[Box]:
    """Return the boxes of bands one below the other."""
    return [(0, start, size[0], end) for start, end in _ranges(size[1], bands)]


def boxes_beside(size: tuple[int, int], bands: int) -> list[Box]:
    """Return the boxes of bands one beside the other, from the left."""
    return [(start, 0, end, size[1]) for start, end in _ranges(size[0], bands)]


def _ranges(side: int, bands: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each band, for a side in pixels."""
    # The second bound is for pages of a few pixels: each row must be in a band.
    length = max(math.floor(side * band_share(bands)), math.ceil(side / bands))
    for number in range(bands):
        start = round(number * (side - length) / (bands - 1))
        yield start, start + length


def _is_empty(page: Image.Image, neighbours: tuple[Box, Box]) -> bool:
    """Whether a page is empty where two bands overlap."""
    (_, top, right, bottom), (left, *_) = neighbours
    return left < right and is_blank(contrast(page.crop((left, top, right, bottom))))


def _finish(page: Image.Image, box: Box) -> DecodedCrop:
    content = page.crop(box)
    crop = placed(content, on_canvas(content.size))
    jpeg = encoded(crop, "JPEG", quality=JPEG_QUALITY)
    left, top, right, bottom = box
    shares = (left / page.width, top / page.height, right / page.width, bottom / page.height)
    return DecodedCrop(shares, jpeg, *crop.size, pixels_sha256(crop.size, crop.tobytes()))

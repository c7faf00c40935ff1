"""Builds the page image for all decoders: its size, its encoding, and the measurements of its pixels."""

from __future__ import annotations

import hashlib
import io
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pipeline.rendering.sandbox.page_image.glyphs import glyph_px
from pipeline.rendering.sandbox.page_image.measure import (
    colour_names,
    contrast,
    difference_hash,
    has_faint_marks,
    ink_share,
    is_blank,
)

#: jina-vlm sees at most 1,280 patches of 28 x 28 pixels; more would be scaled down there.
MAX_PIXELS = 28 * 28 * 1280
#: The largest ratio of sides that jina-vlm accepts.
MAX_ASPECT = 200
#: Longest side: at `MAX_ASPECT` its page image has 14,000 x 70 pixels, just below `MAX_PIXELS`.
MAX_SIDE_PX = 14_000
JPEG_QUALITY = 90
THUMBNAIL_PX = 320
#: Pixels that are kept for measuring: their long edge still fills a thumbnail.
_MEASURED_PIXELS = THUMBNAIL_PX**2
#: A third of the page image suffices for marks as thin as a page number, and averages single specks away.
_MEASURE_FACTOR = 3


@dataclass(frozen=True, slots=True)
class Canvas:
    """The size of a page's content, drawn at the top left of a canvas that may be larger on its short side."""

    content: tuple[int, int]
    size: tuple[int, int]


#: Values by the field names of `models.PageProperties` or `models.PageFacts`, against which the parent checks them. A
#: new field is set where it is measured; everything between passes it on.
Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PageImage:
    """The page image and everything that was measured of its pixels."""

    jpeg: bytes
    thumbnail: bytes
    rgb: bytes | memoryview
    properties: Fields
    facts: Fields


@dataclass(frozen=True, slots=True)
class DecodedPage:
    """A page as a decoder returns it: its image, and what the file says of it."""

    image: PageImage
    own_properties: Fields
    own_facts: Fields
    """A fact that is None gives way to the one measured of the pixels."""

    def properties(self) -> Fields:
        """Return the fields of `models.PageProperties`."""
        known = {name: value for name, value in self.own_facts.items() if value is not None}
        facts = {**self.own_facts, **self.image.facts, **known}
        return {**self.image.properties, **self.own_properties, "facts": facts}


def fit(width: float, height: float, *, enlarge: bool) -> Canvas:
    """Return the size at which a page of these sides is drawn.

    Content keeps its proportions within `MAX_PIXELS` and `MAX_SIDE_PX`, and no side is less than a pixel. A strip
    longer than `MAX_ASPECT` gets white at its long edge.
    """
    scale = min(math.sqrt(MAX_PIXELS / width / height), MAX_SIDE_PX / max(width, height))
    if not enlarge:
        scale = min(scale, 1.0)
    return on_canvas((max(1, math.floor(width * scale)), max(1, math.floor(height * scale))))


def on_canvas(content: tuple[int, int]) -> Canvas:
    """Return the canvas for content of this size."""
    shortest = math.ceil(max(content) / MAX_ASPECT)
    return Canvas(content, (max(content[0], shortest), max(content[1], shortest)))


def placed(content: Image.Image, canvas: Canvas) -> Image.Image:
    """Return a picture in RGB on its canvas."""
    if canvas.size == canvas.content:
        return content
    page = Image.new("RGB", canvas.size, "white")
    page.paste(content)
    return page


def build_page_image(image: Image.Image, rgb: bytes | memoryview) -> PageImage:
    """Encode and measure a page image of mode RGB, whose rows top down are `rgb`."""
    factor = max(1, min(_MEASURE_FACTOR, math.isqrt(image.width * image.height // _MEASURED_PIXELS)))
    # Hashing takes longest and releases the interpreter lock: in a thread it runs in parallel with the rest.
    with ThreadPoolExecutor(max_workers=1) as hasher:
        digest = hasher.submit(pixels_sha256, image.size, rgb)
        small = image.reduce(factor) if factor > 1 else image
        contrasts = contrast(small)
        return PageImage(
            jpeg=encoded(image, "JPEG", quality=JPEG_QUALITY),
            thumbnail=_thumbnail(small),
            rgb=rgb,
            facts={
                "ink_share": ink_share(contrasts),
                "colours": colour_names(small),
                "glyph_px": glyph_px(image),
            },
            properties={
                "width_px": image.width,
                "height_px": image.height,
                "phash": difference_hash(small),
                "blank": is_blank(contrasts) and not has_faint_marks(small),
                "pixels_sha256": digest.result(),
            },
        )


def pixels_sha256(size: tuple[int, int], rgb: bytes | memoryview) -> str:
    """Return the hash of pixels and their size: the same bytes in another shape are another picture."""
    digest = hashlib.sha256(b"%dx%d\n" % size)
    digest.update(rgb)
    return digest.hexdigest()


def _thumbnail(small: Image.Image) -> bytes:
    scale = min(1.0, THUMBNAIL_PX / max(small.size))
    size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
    # Method 0 takes a third of the time of WebP's default for a quarter more bytes.
    return encoded(small.resize(size, Image.Resampling.BILINEAR), "WEBP", quality=75, method=0)


def encoded(image: Image.Image, image_format: str, **options: int) -> bytes:
    """Return a picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()

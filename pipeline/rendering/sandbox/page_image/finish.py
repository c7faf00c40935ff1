"""What all decoders have in common: the size of a page image, and what is made of its pixels."""

from __future__ import annotations

import hashlib
import io
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from pipeline.rendering.sandbox.page_image.glyphs import glyph_px
from pipeline.rendering.sandbox.page_image.measure import colour_names, contrast, difference_hash, ink_share, is_blank

#: jina-vlm sees at most 1,280 patches of 28 x 28 pixels; more would be scaled down there.
MAX_PIXELS = 28 * 28 * 1280
#: The longest ratio of sides that jina-vlm takes.
MAX_ASPECT = 200
#: Longest side: at `MAX_ASPECT` its page image has 14,000 x 70 pixels, just below `MAX_PIXELS`.
MAX_SIDE_PX = 14_000
JPEG_QUALITY = 90
THUMBNAIL_PX = 320
#: Pixels that are left for measuring: the long edge of these still fills a thumbnail.
_MEASURED_PIXELS = THUMBNAIL_PX**2
#: A third of the page image suffices for marks as thin as a page number, and averages single specks away.
_MEASURE_FACTOR = 3


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where a page's content is drawn: at the top left of a canvas that may be larger on its short side."""

    content: tuple[int, int]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class PageImage:
    """The page image and what was measured of it; field names are those of `pipeline.core.models`."""

    jpeg: bytes
    thumbnail: bytes
    width_px: int
    height_px: int
    pixels_sha256: str
    phash: str
    blank: bool
    ink_share: float
    colours: tuple[str, ...]
    glyph_px: float | None
    """From the ink; see `pipeline.rendering.sandbox.page_image.glyphs`."""
    rgb: bytes | memoryview


#: The values of `models.LayerState`; the sandbox imports no models.
LayerState = Literal["none", "sound", "garbage", "invisible"]


@dataclass(frozen=True, slots=True)
class DecodedPage:
    """A page as a decoder hands it to the child's loop.

    `original` has the fields of `models.OriginalImage`, and `info` those of `models.PageInfo`.
    """

    image: PageImage
    dpi: float | None
    original: dict[str, Any]
    is_vector: bool
    picture_share: float | None = None
    layer_text: str | None = None
    layer: LayerState = "none"
    layer_glyph_px: float | None = None
    """Of a sound layer: see `models.PageFacts.glyph_px`."""
    placeholder: bool = False
    info: dict[str, Any] = field(default_factory=dict)


def fit(width: float, height: float, *, enlarge: bool) -> Canvas:
    """Return the size at which a page of these sides is shown.

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


def finish_page(image: Image.Image, rgb: bytes | memoryview) -> PageImage:
    """Encode and measure a page image of mode RGB, whose rows top down are `rgb`."""
    factor = max(1, min(_MEASURE_FACTOR, math.isqrt(image.width * image.height // _MEASURED_PIXELS)))
    # Hashing, the dearest part, holds no lock of the interpreter: beside the rest it takes no time.
    with ThreadPoolExecutor(max_workers=1) as hasher:
        digest = hasher.submit(pixels_sha256, image.size, rgb)
        small = image.reduce(factor) if factor > 1 else image
        contrasts = contrast(small)
        return PageImage(
            jpeg=encoded(image, "JPEG", quality=JPEG_QUALITY),
            thumbnail=_thumbnail(small),
            width_px=image.width,
            height_px=image.height,
            phash=difference_hash(small),
            blank=is_blank(contrasts),
            ink_share=ink_share(contrasts),
            colours=colour_names(small),
            glyph_px=glyph_px(image),
            pixels_sha256=digest.result(),
            rgb=rgb,
        )


def pixels_sha256(size: tuple[int, int], rgb: bytes | memoryview) -> str:
    """Hash pixels with their size: the same bytes in another shape are another picture."""
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

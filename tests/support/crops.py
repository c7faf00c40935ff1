"""What crops of a page must have in common with its page image."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageFilter, ImageStat

from pipeline.core.models import RenderedCrop, RenderedPage
from support.rendering import pixels


def picture_of(crop: RenderedCrop) -> Image.Image:
    return Image.open(io.BytesIO(crop.jpeg)).convert("RGB")


def assert_shows_the_page(page: RenderedPage, crops: Sequence[RenderedCrop]) -> None:
    """Scale each crop down and lay it over the page image: nothing may change, up to blur and JPEG's own errors."""
    shown = pixels(page)
    for crop in crops:
        left, top, right, bottom = (
            share * side for share, side in zip(crop.box, (*shown.size, *shown.size), strict=True)
        )
        size = (round(right - left), round(bottom - top))
        scaled = picture_of(crop).resize(size, Image.Resampling.BICUBIC)
        part = shown.resize(size, Image.Resampling.BICUBIC, (left, top, right, bottom))
        blur = ImageFilter.GaussianBlur(3)
        difference = ImageChops.difference(scaled.filter(blur), part.filter(blur))
        assert max(ImageStat.Stat(difference).mean) < 4
        assert max(high for _, high in difference.getextrema()) < 80

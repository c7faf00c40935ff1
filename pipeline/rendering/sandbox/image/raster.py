"""Converts a picture of any mode that Pillow decodes to RGB without transparency, at the size of a page image.

It converts band by band, so that a large picture is never copied as a whole.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias, cast

from PIL import Image, ImageChops, ImageCms

from pipeline.rendering.sandbox.image.transparency import flatten, has_transparency, with_alpha

if TYPE_CHECKING:
    from pipeline.rendering.sandbox.image.heif import HeifPicture

_BAND_PIXELS = 4_000_000
#: A picture is first shrunk by a whole factor, which is quick, to at least this many times the target; then resampled.
_RESAMPLED = 1.5
#: Highest values of the ranges that 16- and 32-bit samples may use: 8, 12 and 16 bits.
_INTEGER_TOPS = (255, 4095, 65535)
_FLOAT_TOPS = (1.0, 255.0, 65535.0)
#: Colour spaces as ICC profiles name them, by the mode whose pixels they describe.
_ICC_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
_Range = tuple[float, float]
Picture: TypeAlias = "Image.Image | HeifPicture"


def to_rgb(image: Picture, size: tuple[int, int], icc_profile: bytes | None, *, inverted: bool = False) -> Image.Image:
    """Return a decoded picture in RGB: on a ground, deep samples scaled, colours in sRGB if it has a profile.

    `inverted` means that the samples are the inverse of those that their mode implies.
    """
    shrunk = _shrink(image, size)
    if shrunk.mode == "RGBA":
        shrunk = flatten(shrunk)
    if inverted:
        shrunk = ImageChops.invert(shrunk)
    return _in_srgb(shrunk, icc_profile) if icc_profile else shrunk.convert("RGB")


def _shrink(image: Picture, size: tuple[int, int]) -> Image.Image:
    """Return the picture at `size`, in mode L, RGB, RGBA or CMYK."""
    factor = max(1, int(min(image.width / size[0], image.height / size[1]) / _RESAMPLED))
    levels = _Levels(image) if image.mode.startswith("I") or image.mode == "F" else None
    small: Image.Image | None = None
    for top, band in _bands(image, factor):
        plain = levels.apply(band) if levels else _eight_bit(band)
        part = plain.reduce(factor) if factor > 1 else plain
        if small is None:
            small = Image.new(part.mode, (math.ceil(image.width / factor), math.ceil(image.height / factor)))
        small.paste(part, (0, top // factor))
    assert small is not None  # a picture without pixels was refused before
    if small.size == size:
        return small
    box = (0, 0, image.width / factor, image.height / factor)
    return small.resize(size, Image.Resampling.BICUBIC, box)


def _bands(image: Picture, factor: int) -> Iterator[tuple[int, Image.Image]]:
    rows = max(1, _BAND_PIXELS // image.width // factor) * factor
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _eight_bit(band: Image.Image) -> Image.Image:
    if has_transparency(band):
        return with_alpha(band)
    if band.mode == "LAB":
        to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(band, to_srgb)
        assert converted is not None  # only an in-place transform returns none
        return converted
    if band.mode == "1":
        return band.convert("L")
    return band if band.mode in ("L", "RGB", "CMYK") else band.convert("RGB")


class _Levels:
    """Maps deep samples to 8 bits: from the smallest usual range that holds them all, else from their own."""

    def __init__(self, image: Picture) -> None:
        self._mode = "F" if image.mode == "F" else "I"
        extrema = [cast(_Range, band.convert(self._mode).getextrema()) for _, band in _bands(image, 1)]
        low, high = min(low for low, _ in extrema), max(high for _, high in extrema)
        tops = _FLOAT_TOPS if self._mode == "F" else _INTEGER_TOPS
        fitting = [top for top in tops if high <= top] if low >= 0 else []
        bottom, top = (0.0, fitting[0]) if fitting else (low, high)
        self._scale = 255 / (top - bottom) if top > bottom else 0.0
        self._offset = -bottom * self._scale

    def apply(self, band: Image.Image) -> Image.Image:
        """Return a band in mode L."""
        scale, offset = self._scale, self._offset
        return band.convert(self._mode).point(lambda level: level * scale + offset).convert("L")


def _in_srgb(image: Image.Image, icc_profile: bytes) -> Image.Image:
    """Convert by the picture's own profile; a profile that is broken or describes other pixels is passed over."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        space = profile.profile.xcolor_space.strip()
        if space == "GRAY" and image.mode == "RGB":  # as which some decoders hand over grey
            image = _grey(image)
        if space != _ICC_SPACES[image.mode]:
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return image.convert("RGB")
    return converted or image.convert("RGB")


def _grey(image: Image.Image) -> Image.Image:
    """Return a picture without colours in mode L, another one as it is."""
    grey = image.convert("L")
    return image if ImageChops.difference(image, grey.convert("RGB")).getbbox() else grey

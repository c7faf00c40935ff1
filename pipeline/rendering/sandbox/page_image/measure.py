"""Measures a page image: ink, blankness, colours, a perceptual hash.

All functions take the page image reduced to about a third of its sides, and work without numpy.
"""

from __future__ import annotations

import colorsys
import math
from functools import lru_cache

from PIL import Image, ImageChops, ImageFilter, ImageOps

#: Levels of 255 by which a pixel must differ from the ground to count as ink.
INK_LEVELS = 32
#: On a page without noise a mark may be as pale as this.
PALE_LEVELS = 12
#: A mark differs from the ground by this many times the level that 95 % of the page stay below.
_OVER_NOISE = 2.5
_NOISE_SHARE = 0.95
#: Pixels within 5 x 5 that make a mark: a digit in 10 points has them, a single speck does not.
MARK_PIXELS = 4
_MARK_RADIUS = 2
#: A page with this share of ink is not blank, whatever its shape.
_CERTAIN_INK_SHARE = 0.01
#: Differences from the ground around are enlarged by this factor, since faint marks differ by a few levels.
_STRETCH = 8
#: Radius of the ground around a pixel, half a line of text and its leading.
_GROUND_RADIUS = 12
#: Stretched differences beyond this count as this: specks are dark, but faint strokes are longer.
_MOST_STRETCHED = 64
#: Stretched levels by which a faint mark differs: this many times the noise, and at least this number.
_FAINT_OVER_NOISE = 4
_FAINT_LEVELS = 14
#: Around a mark the ground seems to differ to the other side, but less.
_FAINT_FACTORS = (1, 1.5, 2)
#: Pixels of a third of the page image that faint marks have: a line of pencil has 200.
_FAINT_PIXELS = 60
#: Noise and grain are lighter and darker alike; marks are one of both, by this factor.
_ONE_SIDED = 4
#: Share of a side at each edge that is not examined: scanners leave shadows there.
_EDGE_SHARE = 0.03
#: Share of a normal distribution below its mean and one standard deviation.
_ONE_SIGMA = 0.84
#: Colours with a smaller share of the page are not named; the grey rims of black letters are below it.
_NAMED_SHARE = 0.03
_NAMED_COLOURS = 3
_SAMPLE_PX = 96
#: 4 bits of each channel: few enough colours to be named one by one.
_COARSE = bytes(level & 0xF0 | 0x08 for level in range(256))


def contrast(small: Image.Image) -> Image.Image:
    """Return by how many levels each pixel differs from the page's ground, its most frequent colour (mode L)."""
    ground = tuple(max(range(256), key=channel.histogram().__getitem__) for channel in small.split())
    red, green, blue = ImageChops.difference(small, Image.new("RGB", small.size, ground)).split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def ink_share(contrasts: Image.Image) -> float:
    """Return the share of pixels that differ clearly from the ground, 0 to 1."""
    return sum(contrasts.histogram()[INK_LEVELS:]) / (contrasts.width * contrasts.height)


def is_blank(contrasts: Image.Image) -> bool:
    """Whether the page has no clear mark. A lone page number is one; noise, single specks and a uniform colour are not.

    In doubt a page is not blank: a wrong "not blank" costs a question, a wrong "blank" loses the page.
    """
    if ink_share(contrasts) >= _CERTAIN_INK_SHARE:
        return False
    level = min(INK_LEVELS, max(PALE_LEVELS, math.ceil(_OVER_NOISE * _noise(contrasts))))
    # Instead of `Image.point`, which computes its table in Python each time.
    marked = contrasts.tobytes().translate(bytes(255 if value >= level else 0 for value in range(256)))
    density = Image.frombytes("L", contrasts.size, marked).filter(ImageFilter.BoxBlur(_MARK_RADIUS)).histogram()
    window = (2 * _MARK_RADIUS + 1) ** 2
    return not any(density[math.ceil(255 * (MARK_PIXELS - 0.5) / window) :])


def has_faint_marks(small: Image.Image) -> bool:
    """Whether a page that seems to be blank has marks that are fainter than its noise: pencil, a faded fax.

    The difference from the ground around is stretched and averaged: noise averages out, strokes do not. What scanners
    add to blank paper (shading, streaks along the feed, specks, grain) is taken off first or has no preferred side.
    """
    grey = small.convert("L")
    ground = grey.filter(ImageFilter.BoxBlur(_GROUND_RADIUS))
    stretched = ImageChops.subtract(grey, ground, 1 / _STRETCH, 128).point(_bounded)
    streaks = stretched.resize((stretched.width, 1), Image.Resampling.BOX).resize(stretched.size)
    smooth = ImageChops.subtract(stretched, streaks, 1, 128).filter(ImageFilter.BoxBlur(1))
    edges = int(_EDGE_SHARE * smooth.width), int(_EDGE_SHARE * smooth.height)
    histogram = ImageOps.crop(smooth, (*edges, *edges)).histogram()
    below, middle, above = (_quantile(histogram, share) for share in (1 - _ONE_SIGMA, 0.5, _ONE_SIGMA))
    level = max(_FAINT_LEVELS, math.ceil(_FAINT_OVER_NOISE * (above - below) / 2))
    return any(_is_one_sided(histogram, middle, round(factor * level)) for factor in _FAINT_FACTORS)


def _is_one_sided(histogram: list[int], middle: int, level: int) -> bool:
    """Whether enough pixels differ by a level, nearly all of them to the same side."""
    darker, lighter = sum(histogram[: max(0, middle - level + 1)]), sum(histogram[middle + level :])
    return max(darker, lighter) >= max(_FAINT_PIXELS, _ONE_SIDED * min(darker, lighter))


def _bounded(level: int) -> int:
    return min(128 + _MOST_STRETCHED, max(128 - _MOST_STRETCHED, level))


def _noise(contrasts: Image.Image) -> int:
    """Return the level that most of the page stays below."""
    return _quantile(contrasts.histogram(), _NOISE_SHARE)


def _quantile(histogram: list[int], share: float) -> int:
    """Return the level that a share of the pixels does not exceed."""
    below, wanted = 0, share * sum(histogram)
    for level, count in enumerate(histogram):
        below += count
        if below >= wanted:
            return level
    return 255


def difference_hash(small: Image.Image) -> str:
    """Return the 64-bit difference hash: which of two neighbours in 9 x 8 grey cells is brighter, as 16 hex digits."""
    cells = small.resize((9, 8), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("L").tobytes()
    bits = (cells[9 * row + column] > cells[9 * row + column + 1] for row in range(8) for column in range(8))
    return f"{sum(1 << (63 - place) for place, bit in enumerate(bits) if bit):016x}"


def colour_names(small: Image.Image) -> tuple[str, ...]:
    """Return the names of up to three dominant colours, most first."""
    sample = small.resize((_SAMPLE_PX, _SAMPLE_PX), Image.Resampling.NEAREST)
    coarse = Image.frombytes("RGB", sample.size, sample.tobytes().translate(_COARSE))
    shares: dict[str, int] = {}
    for count, colour in coarse.getcolors(_SAMPLE_PX**2) or ():
        name = _colour_name(colour)
        shares[name] = shares.get(name, 0) + count
    ordered = sorted(shares, key=lambda name: (-shares[name], name))
    return tuple(name for name in ordered if shares[name] >= _NAMED_SHARE * _SAMPLE_PX**2)[:_NAMED_COLOURS]


@lru_cache(maxsize=4096)
def _colour_name(colour: tuple[int, int, int]) -> str:
    """Name a colour whose channels are known to 4 bits each."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(level / 255 for level in colour))
    degrees = hue * 360
    if value < 0.2:
        return "black"
    if max(colour) - min(colour) <= 0x20:
        return "white" if value > 0.85 else "grey" if value > 0.3 else "black"
    if 15 <= degrees < 65 and saturation < 0.4 and value > 0.7:
        return "beige"
    if (degrees < 15 or degrees >= 290) and saturation < 0.55 and value > 0.7:
        return "pink"
    if degrees < 50 and value < 0.6 and (degrees >= 15 or saturation < 0.6):
        return "brown"
    bounds = ((15, "red"), (45, "orange"), (70, "yellow"), (165, "green"), (200, "cyan"), (255, "blue"))
    for bound, name in bounds:
        if degrees < bound:
            return name
    return "purple" if degrees < 290 or (degrees < 345 and value < 0.6) else "pink" if degrees < 345 else "red"

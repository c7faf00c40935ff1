"""Reads a picture's resolution along both axes. Runs in the sandbox process.

Pixels are not always square: a fax has 204 x 98 dots per inch. Its page image gets the proportions of the sheet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import ExifTags

from pipeline.rendering.sandbox.image import exif

if TYPE_CHECKING:
    from pipeline.rendering.sandbox.image.raster import Picture

#: Resolutions at or outside these bounds are ignored: no scanner has them, and Pillow returns 1 for a TIFF without one.
_DPI = (1.0, 20_000.0)
#: Axes that differ by less count as equal: densities are rounded to whole dots for each metre or centimetre.
_ROUNDING = 0.01
#: With a larger ratio one of the numbers is wrong. The fax modes have 0.52 to 2.08.
_MAX_RATIO = 8.0
_CM_PER_INCH = 2.54
#: Values of EXIF's ResolutionUnit. Without the tag the unit is an inch.
_NO_UNIT, _INCH, _CENTIMETRE = 1, 2, 3
#: JFIF's unit of a density that is only a ratio.
_JFIF_RATIO = 0

Pair = tuple[float, float]


class Resolution(NamedTuple):
    """The resolution of a stored picture, before it is turned upright."""

    dpi: Pair | None
    """Dots per inch across and down; None if the file does not say it."""
    stretch: Pair
    """Factors, at least 1, by which width and height are multiplied so that pixels are square."""

    def turned(self) -> Resolution:
        """Return the resolution of the picture turned by a right angle."""
        return Resolution(self.dpi and self.dpi[::-1], self.stretch[::-1])

    def stretched(self, size: tuple[int, int]) -> Pair:
        """Return the size that the picture has in square pixels."""
        return size[0] * self.stretch[0], size[1] * self.stretch[1]


def resolution(image: Picture) -> Resolution:
    """Return a picture's resolution. One that is missing, broken or implausible counts as square pixels.

    Of a PNG this decodes the pixels, since EXIF may follow them.
    """
    dots, has_unit = _dots(image)
    if has_unit and not _is_plausible(dots[0]):
        return Resolution(None, (1.0, 1.0))
    stretch = _stretch(dots) if not has_unit or _is_plausible(dots[1]) else (1.0, 1.0)
    across, down = dots
    return Resolution((across, across if stretch == (1.0, 1.0) else down) if has_unit else None, stretch)


def _dots(image: Picture) -> tuple[Pair, bool]:
    """Return the dots across and down, and whether they are for each inch: otherwise only their ratio counts."""
    info = image.info
    says_itself = "dpi" in info and (image.format not in ("JPEG", "MPO") or info.get("jfif_unit"))
    if says_itself:  # Pillow sets a JPEG's from EXIF too, but only of the horizontal axis
        return _pair(info["dpi"]), True
    if found := _exif_dots(image):
        return found
    return _pair(next((info[key] for key in ("aspect", "resolution", "jfif_density") if key in info), ())), False


def _exif_dots(image: Picture) -> tuple[Pair, bool] | None:
    tags = dict(exif.guarded(lambda: [*image.getexif().items()]))
    dots = _pair([tags.get(ExifTags.Base.XResolution), tags.get(ExifTags.Base.YResolution)])
    if not all(dots):
        return None
    unit = tags.get(ExifTags.Base.ResolutionUnit, _INCH)
    scale = _CM_PER_INCH if unit == _CENTIMETRE else 1.0
    return (dots[0] * scale, dots[1] * scale), unit != _NO_UNIT


def _pair(values: Sequence[Any]) -> Pair:
    """Return two numbers; zeros for what is not a pair of numbers."""
    try:
        across, down = (float(value) for value in values)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0, 0.0
    return (across, down) if math.isfinite(across) and math.isfinite(down) else (0.0, 0.0)


def _is_plausible(dpi: float) -> bool:
    return _DPI[0] < dpi < _DPI[1]


def _stretch(dots: Pair) -> Pair:
    across, down = dots
    if min(dots) <= 0 or max(dots) > _MAX_RATIO * min(dots) or max(dots) <= (1 + _ROUNDING) * min(dots):
        return 1.0, 1.0
    return max(1.0, down / across), max(1.0, across / down)

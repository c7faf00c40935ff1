"""Measures the height of letters on a page from its ink alone. Runs in the sandbox process, without numpy.

The page is averaged into narrow upright strips. In each strip, lines of text are dark runs between light ones. A run
begins and ends at half of its darkness: that is the body of its letters.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator

from PIL import Image, ImageOps

#: Width of a strip, a tenth of an A4 page: a word of body text. In narrower strips the gaps in large letters would
#: count; in wider strips the lines of a skewed page would merge.
_STRIP_PX = 72
#: Rows that are judged together: some lines of text, but only a small part of a shadow on the page.
_BLOCK_ROWS = 64
#: With less contrast in these rows, in levels of 255, a strip shows grain rather than text.
_MIN_CONTRAST = 32
#: Shorter runs are specks and rules, longer ones pictures and headings, in pixels.
_RUN_PX = range(3, 49)
#: Fewer runs are not counted as text.
_MIN_RUNS = 24
#: In lines of text half of the runs differ by less than this share of the median; photographs have runs of all lengths.
_MAX_SPREAD = 1.0
_RUN = re.compile(b"\1+")


def glyph_px(image: Image.Image) -> float | None:
    """Return the height of typical letters' bodies on a page image of mode RGB, in pixels.

    None without text, and if all letters are large: from 20 points on A4, a strip holds too few of them.
    """
    grey = image.convert("L")
    histogram = grey.histogram()
    if max(range(256), key=histogram.__getitem__) < 128:  # light letters on a dark page
        grey = ImageOps.invert(grey)
    runs = [length for strip in _strips(grey) for length in _runs(strip) if length in _RUN_PX]
    if len(runs) < _MIN_RUNS:
        return None
    runs.sort()
    middle = runs[len(runs) // 4 : -len(runs) // 4]
    if middle[-1] - middle[0] > _MAX_SPREAD * statistics.median(middle):
        return None
    return statistics.mean(middle)  # unlike the median, the mean distinguishes 7.4 pixels from 7


def _strips(grey: Image.Image) -> Iterator[bytes]:
    """Yield the mean level of each row of each strip."""
    count = max(1, grey.width // _STRIP_PX)
    averaged = grey.resize((count, grey.height), Image.Resampling.BOX).transpose(Image.Transpose.TRANSPOSE).tobytes()
    for start in range(0, len(averaged), grey.height):
        yield averaged[start : start + grey.height]


def _runs(strip: bytes) -> Iterator[int]:
    dark = b"".join(_dark(strip[start : start + _BLOCK_ROWS]) for start in range(0, len(strip), _BLOCK_ROWS))
    return (len(run) for run in _RUN.findall(dark))


def _dark(rows: bytes) -> bytes:
    darkest, lightest = min(rows), max(rows)
    if lightest - darkest < _MIN_CONTRAST:
        return bytes(len(rows))
    middle = (darkest + lightest) // 2
    return rows.translate(bytes(level <= middle for level in range(256)))

"""How high the letters on a page are, from its ink alone. Runs in the sandbox process, and needs no numpy.

The page is averaged into narrow upright strips. In each, lines of text are dark runs between light ones; where a run is
half as dark as its line begins and ends the body of its letters.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator

from PIL import Image, ImageOps

#: Width of a strip, a tenth of an A4 page: a word of body text. In narrower ones the gaps within large letters would
#: count, in wider ones lines of a page that lies askew would run into each other.
_STRIP_PX = 72
#: Rows that are judged together: some lines of text, and little enough of a shadow that falls over the page.
_BLOCK_ROWS = 64
#: A strip with less contrast in these rows bears no text but grain, in levels of 255.
_MIN_CONTRAST = 32
#: Shorter runs are specks and rules, longer ones pictures and headings, in pixels.
_RUN_PX = range(3, 49)
#: Fewer runs are no text to speak of.
_MIN_RUNS = 24
#: Half of the runs differ from each other by less than this share of the median one where they are lines of text;
#: photographs have runs of all lengths.
_MAX_SPREAD = 1.0
_RUN = re.compile(b"\1+")


def glyph_px(image: Image.Image) -> float | None:
    """Return how high the bodies of typical letters are on a page image of mode RGB.

    None where there is no text, or none but large letters: from 20 points on A4, a strip holds too few of them.
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
    return statistics.mean(middle)  # which, unlike the median, tells 7.4 pixels from 7


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

"""Draws transparent pictures on a ground on which they can be seen. Runs in the sandbox process.

The ground is white, unless white hides a part of the drawing: white letters on nothing would be a blank page.
"""

from __future__ import annotations

from typing import cast

from PIL import Image, ImageChops

#: White first: it is taken unless another ground shows more. Grey shows what is partly black and partly white.
_GROUNDS = (255, 0, 128)
#: Levels by which neighbours differ at an edge that can be read.
_EDGE_LEVELS = 48
#: Another ground must show this many times the edges. A white card has a rim of its own on any other ground.
_MORE_EDGES = 1.25
#: With a smaller range of levels, a picture without edges shows nothing.
_MIN_RANGE = 32
#: Modes that convert to their plain twins only.
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


def has_transparency(band: Image.Image) -> bool:
    """Whether pixels of a picture may be transparent: by their own channel, or by a colour that stands for nothing."""
    return band.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in band.info


def with_alpha(band: Image.Image) -> Image.Image:
    """Return a picture that may be transparent in mode RGBA."""
    return band.convert(_PREMULTIPLIED.get(band.mode, band.mode)).convert("RGBA")


def flatten(picture: Image.Image) -> Image.Image:
    """Return a picture of mode RGBA in RGB, on white or on a ground that shows more of it."""
    colours, alpha = picture.convert("RGB"), picture.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return colours
    if alpha.getextrema() == (0, 0) and len(picture.getcolors(1) or ()) != 1:
        return colours  # some programs leave the channel empty
    ground = _ground(colours.convert("L"), alpha)
    return Image.composite(colours, Image.new("RGB", picture.size, (ground,) * 3), alpha)


def _ground(grey: Image.Image, alpha: Image.Image) -> int:
    drawn = {ground: Image.composite(grey, Image.new("L", grey.size, ground), alpha) for ground in _GROUNDS}
    edges = {ground: _edges(drawn[ground]) for ground in _GROUNDS}
    best = max(_GROUNDS, key=edges.__getitem__)
    if edges[best] > _MORE_EDGES * edges[_GROUNDS[0]]:
        return best
    ranges = {ground: _range(drawn[ground]) for ground in _GROUNDS}
    return _GROUNDS[0] if ranges[_GROUNDS[0]] >= _MIN_RANGE else max(_GROUNDS, key=ranges.__getitem__)


def _edges(grey: Image.Image) -> int:
    """Return the number of pixels that differ clearly from the one beside or below."""
    return sum(
        sum(ImageChops.difference(grey, ImageChops.offset(grey, *step)).histogram()[_EDGE_LEVELS:])
        for step in ((1, 0), (0, 1))
    )


def _range(grey: Image.Image) -> int:
    darkest, brightest = cast("tuple[int, int]", grey.getextrema())
    return brightest - darkest

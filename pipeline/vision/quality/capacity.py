"""Estimates how much text a page's ink can hold, from the height of its letters.

A character of height `g` takes about `g` squared pixels of ink. Measured on 34 pages of a corpus with a sound layer and
few pictures, in Latin, Arabic, Hebrew and Thai: the share is 0.31 to 1.8 of that, and 1.0 in the middle.
"""

from __future__ import annotations

#: Below this share of ink per character and squared height the page cannot hold the answer.
MIN_INK_PER_SQUARE = 0.2
#: From this share on the page holds all of the answer, so what repeats in the answer repeats on the page. An answer
#: that says everything three times has a third of its page's share.
FULL_INK_PER_SQUARE = 0.45
#: Above this share the page holds more text than the answer. Only forms with drawn lines have more.
SURPLUS_INK_PER_SQUARE = 1.5
#: From this share of ink on, pictures or dark grounds take part in it.
TEXT_MAX_INK_SHARE = 0.3


def ink_per_square(text: str, ink_px: float, glyph_px: float | None) -> float | None:
    """Return a page's ink per character of an answer, as a share of the squared height of its letters.

    None if the page shows no lines of text, or the answer has no characters.
    """
    characters = sum(map(len, text.split()))
    return ink_px / (characters * glyph_px**2) if characters and glyph_px else None


def holds(share: float | None, ink_share: float) -> bool:
    """Return whether the page's ink accounts for all of the answer."""
    return share is not None and share >= FULL_INK_PER_SQUARE and ink_share <= TEXT_MAX_INK_SHARE


def has_surplus(share: float | None) -> bool:
    """Return whether the page surely holds more text than the answer."""
    return share is not None and share > SURPLUS_INK_PER_SQUARE

"""Classifies a text layer by its characters. Runs in the sandbox process."""

from __future__ import annotations

import re
import statistics
import unicodedata
from typing import Literal

#: The values of `models.LayerState`: the sandbox cannot import models, which need pydantic.
LayerState = Literal["none", "sound", "garbage", "invisible"]

#: With a smaller share of visible letters a layer does not describe its page: it is OCR under a scan, or holds hidden
#: words.
MIN_INKED_SHARE = 0.8
#: Of fewer characters only invalid ones are counted.
MIN_JUDGED = 5
#: A longer text is judged by its beginning.
MAX_JUDGED = 20_000
#: Replacement, private-use and unassigned characters come from fonts without a usable mapping to Unicode.
MAX_BAD_SHARE = 0.02
#: Share of letters, digits and their marks among all characters but spaces. Dense tables of numbers with signs have
#: 0.7; glyph numbers used as characters have less than half.
MIN_LETTER_SHARE = 0.6
#: Letters in a word: spaced letters give a median of 1, words without spaces a mean of 50.
MIN_MEDIAN_WORD = 2
MAX_MEAN_WORD = 20
#: Vowels among Latin letters, if there are enough to judge. The European languages have 0.36 to 0.50; letters
#: shifted by a broken font mapping fall below 0.2.
MIN_VOWEL_SHARE = 0.2
MIN_LATIN_LETTERS = 100

_BAD_CATEGORIES = frozenset({"Co", "Cn", "Cc", "Cs"})
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_WORD = re.compile(r"[^\W_]+")
#: Leader dots and rules, which are not letters.
_RUN = re.compile(r"([^\w\s])(?:\s*\1)+")


def state_of(text: str | None, inked_share: float) -> LayerState:
    """Return the state of a layer.

    Args:
        inked_share: share of its letters that is visible on the page, 0 to 1.
    """
    if text is None:
        return "none"
    if inked_share < MIN_INKED_SHARE:
        return "invisible"
    return "garbage" if is_garbage(text) else "sound"


def is_garbage(text: str) -> bool:
    """Whether a layer's characters cannot be the ones on the page."""
    characters = [c for c in _RUN.sub(r"\1", text[:MAX_JUDGED]) if not (c.isspace() or _is_sign(c))]
    bad = sum(c == _REPLACEMENT or unicodedata.category(c) in _BAD_CATEGORIES for c in characters)
    if bad > MAX_BAD_SHARE * len(characters):
        return True
    if len(characters) < MIN_JUDGED:
        return False
    letters = [c for c in characters if unicodedata.category(c)[0] in "LMN"]
    if len(letters) < MIN_LETTER_SHARE * len(characters):
        return True
    return not (_has_plausible_words(text[:MAX_JUDGED]) and _has_vowels(letters))


def _is_sign(char: str) -> bool:
    """Whether it is a bullet, an emoji or the like, rather than a letter or a broken font's replacement of one."""
    return unicodedata.category(char) == "So" and char != _REPLACEMENT


def _has_plausible_words(text: str) -> bool:
    """Whether words have a plausible length. Scripts without upper and lower case may omit spaces: not judged."""
    words = _WORD.findall(text)
    cased = [len(word) for word in words if any(map(str.isalpha, word)) and all(map(_is_cased_or_digit, word))]
    if sum(cased) < sum(map(len, words)) / 2:
        return True
    return not cased or (statistics.median(cased) >= MIN_MEDIAN_WORD and statistics.mean(cased) <= MAX_MEAN_WORD)


def _is_cased_or_digit(char: str) -> bool:
    return char.lower() != char.upper() or char.isdecimal()


def _has_vowels(letters: list[str]) -> bool:
    plain = [unicodedata.normalize("NFD", c)[0].lower() for c in letters]
    latin = [c for c in plain if "a" <= c <= "z"]
    return len(latin) < MIN_LATIN_LETTERS or sum(c in "aeiouy" for c in latin) >= MIN_VOWEL_SHARE * len(latin)

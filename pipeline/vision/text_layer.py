"""Whether a file's own text layer can stand for what is read on the page."""

from __future__ import annotations

import re
import statistics
import unicodedata

from pipeline.models import PageFacts

#: With fewer letters and digits the layer may be a mere header or page number beside text drawn as curves: it is
#: trusted only where its letters account for the ink. A letter of 24 points has about this share of an A4 page.
MIN_LETTERS = 24
MAX_INK_PER_LETTER = 0.0003
#: Replacement, private-use and unassigned characters come from fonts without a usable mapping to Unicode.
MAX_BAD_SHARE = 0.02
#: Letters, digits and the marks that belong to letters, of all that is no space. Dense tables of numbers with signs
#: have 0.7; glyph numbers taken for characters have less than half.
MIN_LETTER_SHARE = 0.6
#: Letters in a word: letters set apart one by one give a median of 1, words without their spaces a mean of 50.
MIN_MEDIAN_WORD = 2
MAX_MEAN_WORD = 20
#: Vowels among Latin letters, where there are enough to judge. The European languages have 0.36 to 0.50; letters
#: shifted by a broken font mapping fall below 0.2.
MIN_VOWEL_SHARE = 0.2
MIN_LATIN_LETTERS = 100

_BAD_CATEGORIES = frozenset({"Co", "Cn", "Cc", "Cs"})
_WORD = re.compile(r"[^\W\d_]+")
#: Leader dots and drawn rules, which say nothing of the letters around them.
_RUN = re.compile(r"([^\w\s])(?:\s*\1)+")


def is_sound(layer_text: str | None, facts: PageFacts) -> bool:
    """Whether to take the text layer for the page's text, by what characters it holds.

    A layer over a scan (`facts.is_vector` is false) is somebody's OCR or unseen text put there: its worth cannot be
    told from its characters, so what is visible is read instead. The layer stays searchable as `layer_text`.
    """
    if layer_text is None or not facts.is_vector:
        return False
    characters = [c for c in _RUN.sub(r"\1", layer_text) if not c.isspace()]
    letters = [c for c in characters if unicodedata.category(c)[0] in "LMN"]
    if len(letters) < MIN_LETTERS and facts.ink_share > MAX_INK_PER_LETTER * len(letters):
        return False
    if not letters or len(letters) < MIN_LETTER_SHARE * len(characters):
        return False
    bad = sum(c == "\N{REPLACEMENT CHARACTER}" or unicodedata.category(c) in _BAD_CATEGORIES for c in characters)
    return bad <= MAX_BAD_SHARE * len(characters) and _has_plausible_words(layer_text) and _has_vowels(letters)


def _has_plausible_words(text: str) -> bool:
    """Whether words are of a human length. Scripts without upper and lower case may do without spaces: not judged."""
    words = _WORD.findall(text)
    cased = [len(word) for word in words if all(c.lower() != c.upper() for c in word)]
    if sum(cased) < sum(map(len, words)) / 2:
        return True
    return not cased or (statistics.median(cased) >= MIN_MEDIAN_WORD and statistics.mean(cased) <= MAX_MEAN_WORD)


def _has_vowels(letters: list[str]) -> bool:
    plain = [unicodedata.normalize("NFD", c)[0].lower() for c in letters]
    latin = [c for c in plain if "a" <= c <= "z"]
    return len(latin) < MIN_LATIN_LETTERS or sum(c in "aeiouy" for c in latin) >= MIN_VOWEL_SHARE * len(latin)

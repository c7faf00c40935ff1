"""How much of an expected text is in a text that was read, as figures. Pure functions, for people and benchmarks."""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections import Counter

from rapidfuzz.distance import Levenshtein

from pipeline.core.languages import SPACELESS

#: In scripts without spaces each character counts as a word.
_SPACELESS = re.compile(f"([{SPACELESS}])")


def word_recall(expected: str, text: str) -> float | None:
    """Return the share of the expected words that are in the text, as often as expected; their order is of no account.

    None where no words are expected: there is nothing to be missed.
    """
    wanted, found = Counter(words(expected)), Counter(words(text))
    return (wanted & found).total() / wanted.total() if wanted else None


def line_recall(expected: str, text: str) -> float | None:
    """Return the share of the expected lines that are in the text word for word, wherever its own lines break.

    None where no line has a word.
    """
    found = f" {' '.join(words(text))} "
    wanted = [line for line in map(words, expected.splitlines()) if line]
    return statistics.mean(f" {' '.join(line)} " in found for line in wanted) if wanted else None


def character_error_rate(expected: str, text: str) -> float | None:
    """Return the characters to insert, delete or replace, for each expected one: 0 is right, and more than 1 may be.

    Characters are those of Unicode's composed form, and every run of blanks and line ends counts as one blank. The
    order counts: a text whose columns are read in another order is full of errors. None where nothing is expected.
    """
    wanted = _composed(expected)
    return Levenshtein.distance(wanted, _composed(text)) / len(wanted) if wanted else None


def words(text: str) -> list[str]:
    """Return a text's words: letters, marks and numbers, without regard to case and to compatibility forms."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    kept = (character if unicodedata.category(character)[0] in "LMN" else " " for character in plain)
    return _SPACELESS.sub(r" \1 ", "".join(kept)).split()


def _composed(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())

"""Measures how much of an expected text was read. Pure functions, used by `evaluate` and benchmarks."""

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
    """Return the share of the expected words that are in the text, counting repeated words and ignoring the order.

    None without expected words.
    """
    wanted, found = Counter(words(expected)), Counter(words(text))
    return (wanted & found).total() / wanted.total() if wanted else None


def line_recall(expected: str, text: str) -> float | None:
    """Return the share of the expected lines that are in the text word for word, regardless of its line breaks.

    None without expected words.
    """
    found = f" {' '.join(words(text))} "
    wanted = [line for line in map(words, expected.splitlines()) if line]
    return statistics.mean(f" {' '.join(line)} " in found for line in wanted) if wanted else None


def character_error_rate(expected: str, text: str) -> float | None:
    """Return the number of edits (insert, delete, replace) per expected character: 0 is perfect, and it may exceed 1.

    Characters are compared in Unicode's composed form, and each run of blanks and line ends counts as one blank. The
    order matters: columns that are read in another order count as errors. None without expected characters.
    """
    wanted = _composed(expected)
    return Levenshtein.distance(wanted, _composed(text)) / len(wanted) if wanted else None


def words(text: str) -> list[str]:
    """Return a text's words of letters, marks and numbers, without differences of case and compatibility forms."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    kept = (character if unicodedata.category(character)[0] in "LMN" else " " for character in plain)
    return _SPACELESS.sub(r" \1 ", "".join(kept)).split()


def _composed(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())

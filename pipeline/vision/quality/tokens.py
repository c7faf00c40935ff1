"""Cuts texts into tokens, in the same way for repetitions, for echoes and for comparison with a text layer."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

from pipeline.core.languages import SPACELESS

#: A word, a number, a line break, a punctuation mark, or a run of marks that draw lines.
TOKEN = re.compile(rf"[{SPACELESS}]|(?:(?![{SPACELESS}])[^\W\d_])+|\d+|\n|\.+|_+|-+|=+|\*+|…+|·+|[^\w\s]")
SPACELESS_TOKEN = re.compile(f"[{SPACELESS}]")


def terms(text: str) -> list[str]:
    """Return the words of a text; in scripts without spaces, each pair of neighbouring characters."""
    tokens = TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())
    words = [token for token in tokens if token.isalnum() and not SPACELESS_TOKEN.match(token)]
    pairs = pairwise(token for token in tokens if SPACELESS_TOKEN.match(token))
    return [*words, *(first + second for first, second in pairs)]


def letters(text: str) -> str:
    """Return only the letters and digits of a text, in lower case."""
    return "".join(character for character in text.casefold() if character.isalnum())

"""Detects text that nobody can read: lost bytes, wrong code pages, letters of many scripts within words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

from pipeline.vision.quality.tokens import SPACELESS_TOKEN

#: Share of replacement characters among all characters but spaces.
MAX_REPLACED_SHARE = 0.01
#: Glyph numbers of a font, written as `(cid:17)`.
MAX_GLYPH_NUMBERS = 5
#: Least sequences of a wrong code page, and their least share of the characters outside ASCII.
MISDECODED_MIN = 3
MISDECODED_SHARE = 0.5
#: Words with letters of two scripts: so many by chance, and this share of all words.
MIXED_WORDS = 3
MIXED_SHARE = 0.03
#: Scripts on a page whose neighbouring words change the script at this share.
SCRIPTS = 4
CHANGE_SHARE = 0.4
#: Latin words of at least this length without a vowel: so many, and this share.
VOWELLESS_LETTERS = 4
VOWELLESS_WORDS = 8
VOWELLESS_SHARE = 0.5

_GLYPH_NUMBER = re.compile(r"\(cid:\d{1,6}\)")
#: A byte that begins a character of several bytes in UTF-8 and those that follow, read as Latin-1.
_MISDECODED = re.compile(
    "[\u00c2-\u00df][\u0080-\u00bf]|[\u00e0-\u00ef][\u0080-\u00bf]{2}|[\u00f0-\u00f4][\u0080-\u00bf]{3}"
)
_WORD = re.compile(r"[^\W\d_]+")
#: Scripts that are written with Latin words in between, or whose letters serve as symbols.
_TOGETHER = (
    frozenset(
        {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "HALFWIDTH", "FULLWIDTH", "LATIN"}
    ),
)
_SYMBOLS = frozenset(
    {"MATHEMATICAL", "DOUBLE-STRUCK", "SCRIPT", "BLACK-LETTER", "MICRO", "OHM", "KELVIN", "MODIFIER", "FEMININE"}
)


def is_garbled(raw: str, text: str) -> bool:
    """Return whether a text cannot be read. `raw` is the text before control characters were removed from it."""
    return (
        _is_replaced(text)
        or len(_GLYPH_NUMBER.findall(text)) >= MAX_GLYPH_NUMBERS
        or _is_misdecoded(raw)
        or _is_bytes(text)
        or _mixes_scripts(text)
        or _has_no_vowels(text)
    )


def _is_replaced(text: str) -> bool:
    characters = len(text) - sum(map(str.isspace, text))
    return text.count("\N{REPLACEMENT CHARACTER}") > MAX_REPLACED_SHARE * characters


def _is_misdecoded(raw: str) -> bool:
    """Return whether UTF-8 was read as Latin-1 or as Windows' code page 1252."""
    latin = "".join(character if ord(character) < 0x100 else _byte_of(character) for character in raw)
    found = sum(map(len, _MISDECODED.findall(latin)))
    others = sum(not character.isascii() for character in raw)
    return len(_MISDECODED.findall(latin)) >= MISDECODED_MIN and found >= MISDECODED_SHARE * others


@lru_cache(maxsize=1024)
def _byte_of(character: str) -> str:
    return character.encode("cp1252", "replace").decode("latin-1")


def _is_bytes(text: str) -> bool:
    """Return whether a tokenizer's letters for spaces and line ends take their places. Maltese has them too."""
    spaces = text.count("Ġ") + text.count("Ċ")
    return spaces >= 2 and spaces > text.count(" ")


def _mixes_scripts(text: str) -> bool:
    words = [frozenset(map(_script, word)) - _SYMBOLS for word in _WORD.findall(text)]
    mixed = sum(len(scripts) > 1 and not any(scripts <= group for group in _TOGETHER) for scripts in words)
    if mixed >= MIXED_WORDS and mixed > MIXED_SHARE * len(words):
        return True
    changes = sum(not before & after for before, after in pairwise(words))
    return len(frozenset().union(*words)) >= SCRIPTS and changes > CHANGE_SHARE * len(words)


def _has_no_vowels(text: str) -> bool:
    words = [_plain(word) for word in _WORD.findall(text) if len(word) >= VOWELLESS_LETTERS and not word.isupper()]
    latin = [word for word in words if word.isascii()]
    vowelless = sum(not any(letter in "aeiouy" for letter in word) for word in latin)
    return vowelless >= VOWELLESS_WORDS and vowelless > VOWELLESS_SHARE * len(words)


def _plain(word: str) -> str:
    return "".join(unicodedata.normalize("NFD", letter)[0] for letter in word.casefold())


@lru_cache(maxsize=8192)
def _script(letter: str) -> str:
    if SPACELESS_TOKEN.match(letter):
        return "CJK"
    return unicodedata.name(letter, "").partition(" ")[0]

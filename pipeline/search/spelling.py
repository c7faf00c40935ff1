"""Other spellings of the words of a query, written in the syntax of `simple_query_string`.

Some are equal ones (`Mueller` for `Müller`), which every search uses. Others are likely mistakes, of the typist or of
the OCR program that read the page. These are searched if no page has a word as it was typed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from difflib import SequenceMatcher

#: Words of a query that are searched in other spellings: without operators, and outside quotes.
_PIECE = re.compile(r'"[^"]*"?|[^\s"]+')
_WORD = re.compile(r"[^\W_]+", re.UNICODE)
#: Shorter words with `ae`, `oe` or `ue` are rarely umlauts ("toe", "does").
DIGRAPH_MIN_LETTERS = 5
_UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "å": "aa", "ø": "oe"}
#: `ue` after a vowel or q is two letters: "neue", "quer".
_DIGRAPH = re.compile(r"(?:([aoAO])e|(?<![aeioqAEIOQ])([uU])e)")
#: Changes that turn one word into another, by its number of letters, as Elasticsearch's `AUTO`.
EDITS = ((6, 2), (3, 1), (0, 0))
#: Longest word that is searched with mistakes in it. The server needs memory for each letter.
MAX_LETTERS = 50
#: Least share of letters in common of a word and the word that was found instead.
ALIKE = 0.6
#: What OCR programs mistake for each other. The long s is folded to s, and read as f.
_CONFUSED = tuple(
    pair.split("/") for pair in "rn/m m/rn l/1 1/l l/i i/l 1/i i/1 o/0 0/o s/f f/s cl/d d/cl vv/w w/vv ii/u".split()
)
#: Most words that are searched with mistakes in them, and most other spellings of them all: each is a clause for each
#: field.
MAX_MISTAKEN = 4
MAX_SPELLINGS = 12


def equal_spellings(query: str) -> str:
    """Return a query in which a German or Scandinavian word is also found with, or without, `ae`, `oe`, `ue`."""
    return replaced(query, _equal)


def forgiving(query: str, unknown: Iterable[str]) -> str:
    """Return a query in which the longest of these words are also found with a mistake in them.

    The first letter counts as right, but for what OCR confuses.
    """
    mistaken = sorted(unknown, key=len, reverse=True)[:MAX_MISTAKEN]
    share = MAX_SPELLINGS // max(1, len(mistaken))
    return replaced(query, lambda word: (_fuzzy(word), *confusions(word)[:share]) if word in mistaken else _equal(word))


def words_of(query: str) -> tuple[str, ...]:
    """Return the words of a query that may be searched in other spellings, each once."""
    pieces = _PIECE.findall(query)
    return tuple(dict.fromkeys(piece for piece in pieces if _WORD.fullmatch(piece) and is_spelled(piece)))


def is_spelled(word: str) -> bool:
    """Whether a word has more letters than digits, and a usual length. Another digit makes another number."""
    letters = sum(character.isalpha() for character in word)
    return letters > len(word) - letters and len(word) <= MAX_LETTERS


def confusions(word: str) -> tuple[str, ...]:
    """Return the words that an OCR program may have read as this one, or this one as them."""
    lower = word.lower()
    once = [lower[:at] + new + lower[at + len(old) :] for old, new in _CONFUSED for at in _places(lower, old)]
    everywhere = [lower.replace(old, new) for old, new in _CONFUSED if lower.count(old) > 1]
    long = [spelling for spelling in (*everywhere, *once) if len(spelling) != len(lower)]
    return tuple(dict.fromkeys((*long, *everywhere, *once)))[:MAX_SPELLINGS]


def nearest(word: str, found: Iterable[str]) -> str | None:
    """Return the spelling, among words of pages, that is most like a word, or None if none is like it."""
    plain = _plain(word)
    alike = {other: SequenceMatcher(None, plain, _plain(other)).ratio() for other in found}
    best = max(alike, key=lambda other: alike[other], default=None)
    return best if best is not None and alike[best] >= ALIKE else None


def replaced(query: str, spellings: Callable[[str], tuple[str, ...]]) -> str:
    """Return a query in which each word that has other spellings is a group of them. All else stays."""

    def group(match: re.Match[str]) -> str:
        piece = match[0]
        others = spellings(piece) if _WORD.fullmatch(piece) else ()
        return f"({' | '.join((piece, *others))})" if others else piece

    return _PIECE.sub(group, query)


def _equal(word: str) -> tuple[str, ...]:
    if any(letter in _UMLAUTS for letter in word):
        return ("".join(_UMLAUTS.get(letter, letter) for letter in word),)
    short = _DIGRAPH.sub(lambda match: match[1] or match[2], word) if len(word) >= DIGRAPH_MIN_LETTERS else word
    return (short,) if short != word else ()


def _fuzzy(word: str) -> str:
    edits = next(edits for letters, edits in EDITS if len(word) >= letters)
    return f"{word}~{edits}"


def _places(word: str, part: str) -> Iterator[int]:
    at = word.find(part)
    while at >= 0:
        yield at
        at = word.find(part, at + 1)


def _plain(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", word.lower()) if not unicodedata.combining(c))

"""Inputs on which a regular expression that backtracks takes longest: each repeat of its tree pumped, then broken off.

For a pattern such as `a(b|c+)*d` the tree of Python's own parser is walked; a string is made that reaches each repeat,
goes round it many times, and ends with a character that no continuation takes. Another one begins the pattern many
times, since a search that fails far behind each beginning is quadratic too.
"""

from __future__ import annotations

import re
import re._constants as codes  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator
from typing import Any

#: Times round a repeat. With it a quadratic match takes minutes, a linear one milliseconds.
ROUNDS = 80_000
#: None of them is likely to go on with what was matched.
ENDINGS = ("\x00", "\uffff", "!", "\n", "x")
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
_CATEGORIES = {
    codes.CATEGORY_DIGIT: "0",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_WORD: "a",
    codes.CATEGORY_NOT_DIGIT: "a",
    codes.CATEGORY_NOT_SPACE: "a",
    codes.CATEGORY_NOT_WORD: " ",
}


def worst_cases(pattern: re.Pattern[Any]) -> Iterator[Any]:
    """Yield strings, or bytes for a pattern of bytes, that make the pattern backtrack as far as it can."""
    tree = parser.parse(pattern.pattern, pattern.flags)
    pumped = [(prefix, body) for prefix, body in _repeats(tree, "")]
    pumped += [("", prefix + body) for prefix, body in pumped]
    for prefix, body in dict.fromkeys(pumped):
        for ending in ENDINGS:
            text = prefix + _pumped(body) + ending
            yield text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text


def _pumped(text: str) -> str:
    return text * (ROUNDS // max(1, len(text)))


def _repeats(tree: Any, before: str) -> Iterator[tuple[str, str]]:
    """Yield each repeat with a string that leads to it and one that goes round it once."""
    for operation, argument in tree:
        if operation in _REPEATS:
            _, most, inner = argument
            if most > 1:
                for variant in _variants(inner):
                    yield before, variant
            yield from _repeats(inner, before)
        elif operation is codes.SUBPATTERN:
            yield from _repeats(argument[3], before)
        elif operation is codes.BRANCH:
            for branch in argument[1]:
                yield from _repeats(branch, before)
        elif operation in (codes.ASSERT, codes.ASSERT_NOT):
            yield from _repeats(argument[1], before)
        elif operation is codes.ATOMIC_GROUP:
            yield from _repeats(argument, before)
        before += _sample([(operation, argument)])


def _variants(tree: Any) -> Iterator[str]:
    """Yield a string that the tree matches, and one with each optional part taken once more."""
    yield _sample(tree)
    yield _sample(tree, optional=True)
    for operation, argument in tree:
        if operation is codes.SUBPATTERN:
            yield from _variants(argument[3])
        elif operation is codes.BRANCH:
            for branch in argument[1]:
                yield _sample(branch)


def _sample(tree: Any, *, optional: bool = False) -> str:
    """Return a string that the tree matches; repeats that may be left out are taken where `optional`."""
    text = ""
    for operation, argument in tree:
        if operation is codes.LITERAL:
            text += chr(argument)
        elif operation is codes.NOT_LITERAL:
            text += "b" if argument != ord("b") else "c"
        elif operation is codes.ANY:
            text += "a"
        elif operation is codes.IN:
            text += _member(argument)
        elif operation in _REPEATS:
            least, most, inner = argument
            text += _sample(inner, optional=optional) * max(least, min(1, most) if optional else 0)
        elif operation is codes.SUBPATTERN:
            text += _sample(argument[3], optional=optional)
        elif operation is codes.BRANCH:
            text += _sample(argument[1][0], optional=optional)
        elif operation is codes.CATEGORY:
            text += _CATEGORIES[argument]
        elif operation is codes.ATOMIC_GROUP:
            text += _sample(argument, optional=optional)
    return text


def _member(items: Any) -> str:
    """Return a character of a class."""
    negated = items[0][0] is codes.NEGATE
    if not negated:
        operation, argument = items[0]
        if operation is codes.LITERAL:
            return chr(argument)
        if operation is codes.RANGE:
            return chr(argument[0])
        return _CATEGORIES.get(argument, "a")
    taken = {chr(argument) for operation, argument in items[1:] if operation is codes.LITERAL}
    return next((character for character in "a 0b-" if character not in taken), "~")

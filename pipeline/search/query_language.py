"""The query language: words, "phrases", begin*, -without, NOT, OR, parentheses, field:value.

No input is an error. What cannot be read as an operator is searched as words: an unbalanced quote, a stray OR, a colon
after something other than a field. `OR` binds closer than the space between words, as in web searches: `harbour dues OR
fees` is harbour, and one of the other two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.search.query_fields import QueryField, find_field, has_letters

#: A phrase, possibly after a field or a minus; a parenthesis; a word. Each class is passed once: time is linear.
_TOKEN = re.compile(r'(?P<before>-?(?:[\w.@]+:)?)"(?P<phrase>[^"]*)"|(?P<paren>[()])|(?P<word>[^\s()"]+)')
_FIELD = re.compile(r"([\w.@]+):(.+)", re.DOTALL)
#: Operators of `simple_query_string` that are part of a word here.
_OPERATORS = re.compile(r'[+|"()~\\*-]')
#: A word in `AllOf.words`, without its operators.
_PLAIN = re.compile(r'(?:\\.|[^\s"()|*\\])+')
#: Deepest nesting of parentheses. Deeper ones are ignored.
MAX_DEPTH = 10


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """`field:value`, `field:begin*` or `field:"a phrase"`."""

    field: QueryField
    value: str
    is_phrase: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    """A page must match all of it."""

    words: str = ""
    """Words, phrases, beginnings, and alternatives of these, in the syntax of `simple_query_string`."""
    required: tuple[FieldTerm | AllOf | AnyOf, ...] = ()
    excluded: tuple[FieldTerm | AllOf | AnyOf, ...] = ()

    @property
    def is_words(self) -> bool:
        """Whether there is nothing but words in it."""
        return not self.required and not self.excluded


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A page must match one of these."""

    nodes: tuple[FieldTerm | AllOf | AnyOf, ...]


Node = FieldTerm | AllOf | AnyOf


def parse(query: str) -> AllOf:
    """Return the structure of a query. No input raises an error."""
    return _Parser(query).all_of(0)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    """A word with all its signs, the inside of a phrase, or a parenthesis."""
    kind: str
    """`word`, `phrase`, `(` or `)`."""
    begin: int
    end: int
    minus: bool = False
    """Whether a minus is directly before a word or a phrase."""
    field: str = ""
    """Of a phrase: the name of the field before it."""


def _tokens(query: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(query):
        if found["phrase"] is not None:
            yield from _phrase(found)
        elif found["paren"]:
            yield _Token(found["paren"], found["paren"], *found.span())
        else:
            yield _word(found["word"], *found.span())


def _word(text: str, begin: int, end: int) -> _Token:
    minus = text.startswith("-") and len(text) > 1
    return _Token(text[minus:], "word", begin, end, minus)


def _phrase(found: re.Match[str]) -> Iterator[_Token]:
    """Yield a phrase. A name before it that is not a field is a word of its own."""
    before, (begin, end) = found["before"], found.span()
    minus, name = before.startswith("-"), before.strip("-:")
    if name and find_field(name) is None:
        yield _word(before, begin, begin + len(before))
        minus, name = False, ""
    yield _Token(found["phrase"], "phrase", begin, end, minus, name)


class _Parser:
    """Reads tokens from left to right, each once."""

    def __init__(self, query: str) -> None:
        self._tokens = list(_tokens(query))
        self._at = 0

    def all_of(self, depth: int) -> AllOf:
        """Read clauses up to the closing parenthesis of this depth, or to the end."""
        words: list[str] = []
        required: list[Node] = []
        excluded: list[Node] = []
        while (token := self._peek()) is not None:
            if token.kind == ")":
                self._at += 1
                if depth:
                    break
                continue
            self._clause(depth, words, required, excluded)
        return AllOf(" ".join(words), tuple(required), tuple(excluded))

    def _clause(self, depth: int, words: list[str], required: list[Node], excluded: list[Node]) -> None:
        if self._is_or():
            self._at += 1  # nothing is before it
            return
        is_excluded, node = self._unary(depth)
        if is_excluded and not self._is_or():
            excluded += [node] if node is not None else []
            return
        nodes = _positive(is_excluded, node)
        while self._is_or():
            self._at += 1
            nodes += _positive(*self._unary(depth))
        _add(nodes, words, required)

    def _unary(self, depth: int) -> tuple[bool, Node | None]:
        """Read an atom with what negates it: `NOT`, or a minus without a space after it."""
        negated = False
        while (token := self._peek()) is not None and (negates := self._before_atom(token, depth)) is not None:
            negated = negated != negates
            self._at += 1
        if token is None or token.kind == ")":
            return negated, None
        self._at += 1
        if token.kind == "(":
            found = self.all_of(depth + 1)
            return negated, None if found == AllOf() else found
        return negated != token.minus, _atom(token)

    def _before_atom(self, token: _Token, depth: int) -> bool | None:
        """Return whether a token before an atom negates it, or None for the first token of the atom.

        A parenthesis that is nested too deep is ignored, so what negates it negates the next atom.
        """
        if token.kind == "(":
            return None if depth < MAX_DEPTH else False
        if token.kind == "word" and token.text in ("NOT", "AND"):
            return token.text == "NOT"
        return True if token.kind == "word" and token.text == "-" and self._opens_at(token.end) else None

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _is_or(self) -> bool:
        token = self._peek()
        return token is not None and token.kind == "word" and token.text in ("OR", "|", "||")

    def _opens_at(self, end: int) -> bool:
        """Whether a parenthesis opens directly after the next token, which ends there."""
        after = self._tokens[self._at + 1] if self._at + 1 < len(self._tokens) else None
        return after is not None and after.kind == "(" and after.begin == end


def _positive(is_excluded: bool, node: Node | None) -> list[Node]:
    """Return an alternative, with its negation in it; nothing for an empty one."""
    if node is None:
        return []
    return [AllOf(excluded=(node,)) if is_excluded else node]


def _atom(token: _Token) -> Node | None:
    if token.kind == "phrase":
        return _phrase_node(token.field, token.text) if has_letters(token.text) else None
    named = _FIELD.fullmatch(token.text)
    field = find_field(named[1]) if named else None
    if named and field is not None and field.accepts(named[2]):
        return FieldTerm(field, named[2])
    word = searched_word(token.text)
    return AllOf(word) if word else None


def _phrase_node(name: str, phrase: str) -> Node:
    field = find_field(name) if name else None
    if field is not None and field.accepts(phrase):
        return FieldTerm(field, phrase, is_phrase=True)
    quoted = f'"{_escaped(phrase)}"'
    return AllOf(f"{_escaped(name)} {quoted}" if name else quoted)


def plain_words(parsed: AllOf) -> str:
    """Return the words and phrases that a page must have, without operators, fields and exclusions."""
    return " ".join(re.sub(r"\\(.)", r"\1", word) for word in _PLAIN.findall(parsed.words))


def searched_word(text: str) -> str:
    """Return a word for `simple_query_string`. Only a star at its end is an operator; nothing else of it is one."""
    begins = text.endswith("*") and any(character.isalnum() for character in text)
    word = _escaped(text.rstrip("*") if begins else text)
    if not has_letters(word):
        return ""
    return f"{word}*" if begins else word


def _escaped(text: str) -> str:
    return _OPERATORS.sub(r"\\\g<0>", text)


def _add(nodes: list[Node], words: list[str], required: list[Node]) -> None:
    """Add alternatives. If all are words, they join the words, so that forgiveness reaches them."""
    if not nodes:
        return
    if all(isinstance(node, AllOf) and node.is_words for node in nodes):
        texts = [node.words for node in nodes if isinstance(node, AllOf) and node.words]
        if len(texts) > 1:
            words.append("( " + " | ".join(text if " " not in text else f"( {text} )" for text in texts) + " )")
        else:
            words += texts
    else:
        required.append(nodes[0] if len(nodes) == 1 else AnyOf(tuple(nodes)))

"""KQL, compiled as Kibana 9 does it: its grammar and its `toElasticsearchQuery`, written anew from their description.

A bare word is a `multi_match` without fields, so `index.query.default_field` decides where it is looked for. What a
field's word becomes depends on the field's type in the data view.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Query: TypeAlias = dict[str, Any]

#: Stands for a `*` that was not escaped.
STAR = "\0"
_SPECIAL = '\\():<>"*{}'
_SPACE = " \t\r\n\u00a0"
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n"}
_RESERVED = re.compile(r'[+\-=&|><!(){}\[\]^"~*?:\\/]')


class KqlError(ValueError):
    """Kibana would show a syntax error."""


@dataclass(frozen=True, slots=True)
class Word:
    """A literal: of a field's name, or a value."""

    value: str | bool | None
    quoted: bool = False

    @property
    def is_wildcard(self) -> bool:
        return isinstance(self.value, str) and not self.quoted and STAR in self.value


@dataclass(frozen=True, slots=True)
class Is:
    field: Word
    value: Word


@dataclass(frozen=True, slots=True)
class Range:
    field: Word
    operator: Literal["lt", "lte", "gt", "gte"]
    value: Word


@dataclass(frozen=True, slots=True)
class Joined:
    how: Literal["and", "or"]
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Node


Node: TypeAlias = Is | Range | Joined | Not
#: What a list of values becomes once its field is known.
Partial: TypeAlias = Callable[[Word], Node]


def parse(text: str) -> Node:
    """Raises KqlError."""
    parser = _Parser(text)
    parser.spaces()
    node = parser.attempt(parser.or_query)
    parser.spaces()
    if parser.at < len(text):
        raise KqlError(f"unexpected {text[parser.at]!r} at {parser.at} of {text!r}")
    return node if node is not None else Is(Word(STAR), Word(STAR))


def fields_of(node: Node) -> Iterator[str]:
    """The fields that a query names."""
    match node:
        case Joined(parts=parts):
            for part in parts:
                yield from fields_of(part)
        case Not(part=part):
            yield from fields_of(part)
        case Is(field=field) | Range(field=field):
            if isinstance(field.value, str) and not field.is_wildcard:
                yield field.value


def compiled(text: str, types: Mapping[str, str], *, scored: bool = False) -> Query:
    """What Kibana sends for a query in the bar. `scored`: the table is sorted by score, so clauses count in it."""
    return _query(parse(text), types, "must" if scored else "filter")


def control(field: str, *values: str) -> Query:
    """The filter of an options list with these values chosen."""
    if len(values) == 1:
        return {"match_phrase": {field: values[0]}}
    return {"bool": {"should": [{"match_phrase": {field: value}} for value in values], "minimum_should_match": 1}}


def searched(text: str, types: Mapping[str, str], *filters: Query, scored: bool = False) -> Query:
    """The query of a whole request: the bar's, and those of controls and of the time picker."""
    clause = "must" if scored else "filter"
    other = {"filter": list(filters)} if scored else {"must": []}
    mine = [compiled(text, types, scored=scored)] + ([] if scored else list(filters))
    return {"bool": other | {clause: mine, "should": [], "must_not": []}}


def _query(node: Node, types: Mapping[str, str], clause: str) -> Query:
    match node:
        case Joined(how="and", parts=parts):
            return {"bool": {clause: [_query(part, types, clause) for part in parts]}}
        case Joined(how="or", parts=parts):
            return {"bool": {"should": [_query(part, types, clause) for part in parts], "minimum_should_match": 1}}
        case Not(part=part):
            return {"bool": {"must_not": _query(part, types, clause)}}
        case Range(field=field, operator=operator, value=value):
            queries = [{"range": {name: {operator: _plain(value)}}} for name in _names(field, types)]
        case Is(field=field, value=value):
            if value.value == STAR and field.value == STAR:
                return {"match_all": {}}
            if field.value is None:
                return _bare(value)
            queries = [_field_query(name, types.get(name, ""), value) for name in _names(field, types)]
    return {"bool": {"should": queries, "minimum_should_match": 1}}


def _bare(value: Word) -> Query:
    if value.is_wildcard:
        return {"query_string": {"query": _query_string(value)}}
    kind = "phrase" if value.quoted else "best_fields"
    return {"multi_match": {"type": kind, "query": value.value, "lenient": True}}


def _field_query(name: str, type: str, value: Word) -> Query:
    if value.value == STAR and not value.quoted:
        return {"exists": {"field": name}}
    if value.is_wildcard:
        if type == "keyword":
            return {"wildcard": {name: {"value": _query_string(value)}}}
        return {"query_string": {"fields": [name], "query": _query_string(value)}}
    if type == "date":
        return {"range": {name: {"gte": value.value, "lte": value.value}}}
    if type == "keyword":
        return {"term": {name: {"value": value.value}}}
    return {"match_phrase" if value.quoted else "match": {name: value.value}}


def _names(field: Word, types: Mapping[str, str]) -> list[str]:
    """The fields that a name means; one that the data view lacks is sent as it stands."""
    if not field.is_wildcard:
        return [str(field.value)]
    pattern = re.compile(".*".join(map(re.escape, str(field.value).split(STAR))), re.DOTALL)
    return [name for name in types if pattern.fullmatch(name)] or [str(_plain(field))]


def _plain(word: Word) -> str | bool | None:
    return word.value.replace(STAR, "*") if isinstance(word.value, str) else word.value


def _query_string(word: Word) -> str:
    return "*".join(_RESERVED.sub(r"\\\g<0>", part) for part in str(word.value).split(STAR))


class _Parser:
    """Recursive descent; each rule returns None where it does not fit, with the place put back by `attempt`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def attempt(self, rule: Callable[[], Any]) -> Any:
        start = self.at
        found = rule()
        if found is None:
            self.at = start
        return found

    def spaces(self, least: int = 0) -> bool:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] in _SPACE:
            self.at += 1
        return self.at - start >= least

    def take(self, symbol: str) -> bool:
        if self.text.startswith(symbol, self.at):
            self.at += len(symbol)
            return True
        return False

    def keyword(self, word: str, *, before: bool = True) -> bool:
        """A keyword with spaces around it, or behind it only."""
        start = self.at
        if (not before or self.spaces(1)) and self.text[self.at : self.at + len(word)].lower() == word:
            self.at += len(word)
            if self.spaces(1):
                return True
        self.at = start
        return False

    def or_query(self) -> Node | None:
        return self._joined("or", lambda: self._joined("and", self.not_query))

    def _joined(self, how: Literal["and", "or"], rule: Callable[[], Node | None]) -> Node | None:
        parts = [self.attempt(rule)]
        if parts[0] is None:
            return None
        start = self.at
        while self.keyword(how) and (part := self.attempt(rule)) is not None:
            parts.append(part)
            start = self.at
        self.at = start
        return parts[0] if len(parts) == 1 else Joined(how, tuple(parts))

    def not_query(self) -> Node | None:
        if self.keyword("not", before=False) and (part := self.attempt(self.sub_query)) is not None:
            return Not(part)
        return self.attempt(self.sub_query)

    def sub_query(self) -> Node | None:
        return (
            self.attempt(self.group)
            or self.attempt(self.field_range)
            or self.attempt(self.field_values)
            or (self.attempt(self.bare))
        )

    def group(self) -> Node | None:
        return self._parenthesised(self.or_query)

    def _parenthesised(self, rule: Callable[[], Any]) -> Any:
        if not self.take("("):
            return None
        self.spaces()
        inner = self.attempt(rule)
        self.spaces()
        return inner if inner is not None and self.take(")") else None

    def field_range(self) -> Node | None:
        field = self.attempt(self.literal)
        self.spaces()
        symbols = {"<=": "lte", ">=": "gte", "<": "lt", ">": "gt"}
        symbol = next((symbol for symbol in symbols if self.take(symbol)), None)
        self.spaces()
        value = self.attempt(self.literal) if field and symbol else None
        return Range(field, symbols[symbol], value) if value and symbol else None  # type: ignore[arg-type]

    def field_values(self) -> Node | None:
        field = self.attempt(self.literal)
        self.spaces()
        if field is None or not self.take(":"):
            return None
        self.spaces()
        partial = self.attempt(self.values)
        return partial(field) if partial else None

    def bare(self) -> Node | None:
        value = self.attempt(self.literal)
        return Is(Word(None), value) if value else None

    def values(self) -> Partial | None:
        listed: Partial | None = self.attempt(lambda: self._parenthesised(self.or_values))
        if listed is not None:
            return listed
        value = self.attempt(self.literal)
        return (lambda field: Is(field, value)) if value else None

    def or_values(self) -> Partial | None:
        return self._joined_values("or", lambda: self._joined_values("and", self.not_values))

    def _joined_values(self, how: Literal["and", "or"], rule: Callable[[], Partial | None]) -> Partial | None:
        parts = [self.attempt(rule)]
        if parts[0] is None:
            return None
        start = self.at
        while self.keyword(how) and (part := self.attempt(rule)) is not None:
            parts.append(part)
            start = self.at
        self.at = start
        if len(parts) == 1:
            return parts[0]  # type: ignore[no-any-return]
        return lambda field: Joined(how, tuple(part(field) for part in parts))

    def not_values(self) -> Partial | None:
        if self.keyword("not", before=False) and (part := self.attempt(self.values)) is not None:
            return lambda field: Not(part(field))
        return self.attempt(self.values)  # type: ignore[no-any-return]

    def literal(self) -> Word | None:
        return self.quoted() if self.text.startswith('"', self.at) else self.unquoted()

    def quoted(self) -> Word | None:
        self.at += 1
        letters = []
        while self.at < len(self.text):
            if self.take('"'):
                return Word("".join(letters), quoted=True)
            letters.append(self._escaped('\\"') or self._one())
        return None

    def unquoted(self) -> Word | None:
        letters = []
        while self.at < len(self.text):
            if (escaped := self._escaped(_SPECIAL)) is not None:
                letters.append(escaped)
            elif self.take("*"):
                letters.append(STAR)
            elif self.text[self.at] in _SPECIAL or self._at_keyword():
                break
            else:
                letters.append(self._one())
        if not letters:
            return None
        value = "".join(letters).strip(_SPACE)
        return Word({"null": None, "true": True, "false": False}.get(value, value))

    def _one(self) -> str:
        self.at += 1
        return self.text[self.at - 1]

    def _escaped(self, special: str) -> str | None:
        rest = self.text[self.at : self.at + 6]
        if not rest.startswith("\\"):
            return None
        if found := re.match(r"\\u([0-9a-fA-F]{4})", rest):
            self.at += 6
            return chr(int(found[1], 16))
        if word := re.match(r"\\(or|and|not)", rest, re.IGNORECASE):
            self.at += len(word[0])
            return word[1]
        letter = rest[1:2]
        if letter in _ESCAPES or (letter and letter in special):
            self.at += 2
            return _ESCAPES.get(letter, letter)
        return None

    def _at_keyword(self) -> bool:
        return bool(re.match(r"[ \t\r\n\u00a0](or|and)[ \t\r\n\u00a0]|not[ \t\r\n\u00a0]", self.text[self.at :], re.I))

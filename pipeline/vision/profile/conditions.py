"""The condition of a question: a small expression over facts of the page and earlier answers.

Unknown values are None, as in SQL: a comparison with an unknown value is unknown, and a question whose condition is
unknown is not asked. For example, `text.language != requested` holds only if the language of the text was detected.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from pipeline.core.languages import base, detect_language
from pipeline.core.models import LayerState, PageKind, RenderedPage

#: A value that a condition can name; None if it is unknown.
Known = str | bool | float | tuple[str, ...] | None
#: The possible values of a name: one example of its type and, if there is a fixed set, all of them.
Sample = tuple[Known, tuple[str, ...]]

#: Bounds of a condition. Parsing and evaluation recurse, and the text comes from users' files.
MAX_CHARACTERS = 2000
MAX_DEPTH = 32

REQUESTED = "requested"
#: Facts of a page that are known before the first question is asked.
PAGE_NAMES: Mapping[str, Sample] = {
    "page.kind": ("scanned", tuple(kind.value for kind in PageKind)),
    "page.layer": ("none", tuple(state.value for state in LayerState)),
    "page.ink_share": (0.5, ()),
    "page.picture_share": (0.5, ()),
    REQUESTED: ("en", ()),
}


def page_facts(page: RenderedPage, language: str) -> dict[str, Known]:
    """Return the value of each of `PAGE_NAMES` for a page and a requested language (BCP 47 tag)."""
    return {
        "page.kind": page.kind.value,
        "page.layer": page.facts.layer.value,
        "page.ink_share": page.facts.ink_share,
        "page.picture_share": page.facts.picture_share,
        REQUESTED: _detected_name(base(language)),
    }


def language_of(text: str) -> str | None:
    """Return the language of an answer in the form in which conditions compare it with `requested`, or None."""
    found = detect_language(text)
    return _detected_name(found) if found else None


def check_condition(expression: str, names: Mapping[str, Sample]) -> None:
    """Check that a condition can be evaluated for all values of its names.

    Raises:
        ValueError: it cannot. The message gives the reason; for an unknown name it lists the known ones.
    """
    tree = _parse(expression)
    for name in _names(tree):
        if name not in names:
            raise ValueError(f"the condition names {name!r}, which is not known there; known are {', '.join(names)}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            _require_comparable(node, names)


def evaluate(expression: str, values: Mapping[str, Known]) -> bool | None:
    """Return whether a checked condition holds, or None if the known values do not decide it."""
    found = _value(_parse(expression), values)
    return None if found is None else bool(found)


def _value(node: ast.expr, values: Mapping[str, Known]) -> object:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return values.get(ast.unparse(node))
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_value(element, values) for element in elements]
        case ast.UnaryOp(operand=operand):
            return _negate(_value(operand, values))
        case ast.BoolOp(op=operation, values=operands):
            return _combine([_value(part, values) for part in operands], decisive=isinstance(operation, ast.Or))
        case ast.Compare():
            return _compare(node, values)
    raise AssertionError(f"{type(node).__name__} is in _ALLOWED and is not evaluated")


def _negate(value: object) -> bool | None:
    return None if value is None else not value


def _combine(values: Sequence[object], *, decisive: bool) -> bool | None:
    """Combine by `or` (decisive: True) or `and` (False). A decisive value wins over unknown ones."""
    if any(value is not None and bool(value) is decisive for value in values):
        return decisive
    return None if None in values else not decisive


def _compare(node: ast.Compare, values: Mapping[str, Known]) -> bool | None:
    """Evaluate a comparison. A chain such as `0 < x <= 1` is the `and` of its pairs."""
    sides = pairwise(_value(side, values) for side in (node.left, *node.comparators))
    results = [
        None if left is None or right is None else _COMPARISONS[type(operation)](left, right)
        for operation, (left, right) in zip(node.ops, sides, strict=True)
    ]
    return _combine(results, decisive=False)


_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_ALLOWED = (
    *(ast.Expr, ast.Name, ast.Attribute, ast.List, ast.Tuple, ast.Load),
    *(ast.UnaryOp, ast.Not, ast.BoolOp, ast.boolop, ast.Compare, *_COMPARISONS),
)
#: Names of common parts that are refused. The others are named by their class in `ast`.
_REFUSED: Mapping[type[ast.AST], str] = {
    ast.Call: "a call",
    ast.BinOp: "arithmetic",
    ast.USub: "a minus sign",
    ast.Subscript: "an index",
    ast.JoinedStr: "an f-string",
    ast.IfExp: "if … else",
    ast.Lambda: "lambda",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.NamedExpr: "an assignment",
    ast.Assign: "an assignment",
    ast.Is: "is",
    ast.IsNot: "is not",
}
#: The language detector reports both written forms of Norwegian as one language.
_NORWEGIAN = {"nb": "no", "nn": "no"}


def _detected_name(language: str) -> str:
    return _NORWEGIAN.get(language, language)


@lru_cache(maxsize=256)
def _parse(expression: str) -> ast.expr:
    """Return the tree of a condition that consists of allowed parts only."""
    if len(expression) > MAX_CHARACTERS:
        raise ValueError(f"the condition has {len(expression)} characters; at most {MAX_CHARACTERS} are allowed")
    try:
        (statement,) = ast.parse(expression.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"the condition {expression!r} is not an expression") from None
    if _depth(statement) > MAX_DEPTH:
        raise ValueError(f"the condition {expression!r} is nested more than {MAX_DEPTH} levels deep")
    for node in ast.walk(statement):
        if not _is_allowed(node):
            refused = _REFUSED.get(type(node), type(node).__name__)
            allowed = "may compare, and use and, or, not; nothing else"
            raise ValueError(f"the condition {expression!r} {allowed}: {refused} is not allowed")
    assert isinstance(statement, ast.Expr)
    return statement.value


def _is_allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return node.value is None or isinstance(node.value, str | int | float)
    return isinstance(node, _ALLOWED)


def _depth(tree: ast.AST) -> int:
    """Return the number of levels of a tree, without recursion."""
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name | ast.Attribute):
        yield ast.unparse(node)
    else:
        for part in ast.iter_child_nodes(node):
            yield from _names(part)


def _require_comparable(node: ast.Compare, names: Mapping[str, Sample]) -> None:
    """Refuse a comparison that never holds: of different types, or with a word outside a name's fixed set."""
    try:
        _compare(node, {name: sample for name, (sample, _) in names.items()})
    except TypeError as error:
        raise ValueError(f"{ast.unparse(node)!r} cannot be compared: {error}") from None
    words = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    for name in _names(node):
        choices = names[name][1]
        for word in words:
            if choices and word not in choices:
                raise ValueError(f"{name} is never {word!r}; it is one of {', '.join(choices)}")

"""Conditions of a profile's questions: which expressions may be written, and what they come to.

What is not known is None, as in SQL: a comparison with it is not known either, and a question whose condition is not
known is not asked. `text.language != requested` therefore holds only where the text's language could be told.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from simpleeval import SimpleEval

from pipeline.core.languages import base, detect_language
from pipeline.core.models import LayerState, PageKind, RenderedPage

#: A value that a condition can name; None where it is not known.
Known = str | bool | float | tuple[str, ...] | None
#: What a name may be: a value that stands for all of its type, and, where there are only so many, all of them.
Sample = tuple[Known, tuple[str, ...]]

REQUESTED = "requested"
#: What is known of a page before anything is asked.
PAGE_NAMES: Mapping[str, Sample] = {
    "page.kind": ("scanned", tuple(kind.value for kind in PageKind)),
    "page.layer": ("none", tuple(state.value for state in LayerState)),
    "page.ink_share": (0.5, ()),
    "page.picture_share": (0.5, ()),
    REQUESTED: ("en", ()),
}


def page_facts(page: RenderedPage, language: str) -> dict[str, Known]:
    """Return the value of each of `PAGE_NAMES` for a page that is read in the language of a BCP 47 tag."""
    return {
        "page.kind": page.kind.value,
        "page.layer": page.facts.layer.value,
        "page.ink_share": page.facts.ink_share,
        "page.picture_share": page.facts.picture_share,
        REQUESTED: _written(base(language)),
    }


def language_of(text: str) -> str | None:
    """Return the language of an answer, as conditions compare it with `requested`; None where it cannot be told."""
    found = detect_language(text)
    return _written(found) if found else None


def check_condition(expression: str, names: Mapping[str, Sample]) -> None:
    """See to it that a condition can be evaluated, whatever its names will stand for.

    Raises:
        ValueError: it cannot; the message says what is wrong and, of a name, which ones are known.
    """
    tree = _parsed(expression)
    for name in _names(tree):
        if name not in names:
            raise ValueError(f"the condition names {name!r}, which is not known there; known are {', '.join(names)}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            _require_comparable(node, names)


def evaluate(expression: str, values: Mapping[str, Known]) -> bool | None:
    """Return whether a checked condition holds; None where that cannot be told from what is known."""
    found = _Evaluator(values).eval(expression, _parsed(expression))
    return None if found is None else bool(found)


class _Evaluator(SimpleEval):  # type: ignore[misc]  # simpleeval has no types
    """Names, constants, lists, comparisons, `and`, `or`, `not`; no calls, no arithmetic, no attributes of objects."""

    def __init__(self, values: Mapping[str, Known]) -> None:
        super().__init__(operators=_OPERATORS, functions={}, names={})
        self._values = values
        self.nodes: dict[type[ast.AST], Callable[[Any], object]] = {
            ast.Expr: self._eval_expr,
            ast.Constant: self._eval_constant,
            ast.UnaryOp: self._eval_unaryop,
            ast.Compare: self._eval_compare,
            ast.BoolOp: self._eval_either,
            ast.Name: self._eval_dotted,
            ast.Attribute: self._eval_dotted,
            ast.List: self._eval_several,
            ast.Tuple: self._eval_several,
        }

    def _eval_dotted(self, node: ast.Name | ast.Attribute) -> Known:
        return self._values.get(ast.unparse(node))

    def _eval_several(self, node: ast.List | ast.Tuple) -> list[object]:
        return [self._eval(element) for element in node.elts]

    def _eval_either(self, node: ast.BoolOp) -> bool | None:
        """What decides wins; else what is not known makes the whole unknown."""
        decisive = isinstance(node.op, ast.Or)
        found = [self._eval(value) for value in node.values]
        if any(value is not None and bool(value) is decisive for value in found):
            return decisive
        return None if None in found else not decisive


def _written(language: str) -> str:
    return _NORWEGIAN.get(language, language)


def _known(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool | None]:
    return lambda left, right: None if left is None or right is None else compare(left, right)


_OPERATORS = {
    ast.Eq: _known(operator.eq),
    ast.NotEq: _known(operator.ne),
    ast.Lt: _known(operator.lt),
    ast.LtE: _known(operator.le),
    ast.Gt: _known(operator.gt),
    ast.GtE: _known(operator.ge),
    ast.In: _known(lambda left, right: left in right),
    ast.NotIn: _known(lambda left, right: left not in right),
    ast.Not: lambda value: None if value is None else not value,
}
#: The detector calls most of both by the name of the two together.
_NORWEGIAN = {"nb": "no", "nn": "no"}
_NODES = (*_Evaluator({}).nodes, ast.Load, ast.boolop, ast.unaryop, ast.cmpop)


@lru_cache(maxsize=256)
def _parsed(expression: str) -> ast.Expr:
    try:
        (statement,) = ast.parse(expression.strip()).body
    except (SyntaxError, ValueError):
        raise ValueError(f"the condition {expression!r} is no expression") from None
    for node in ast.walk(statement):
        unfit = isinstance(node, ast.unaryop | ast.cmpop) and type(node) not in _OPERATORS
        if unfit or not isinstance(node, _NODES):
            raise ValueError(f"the condition {expression!r} may compare, and use and, or, not; nothing else")
    assert isinstance(statement, ast.Expr)
    return statement


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name | ast.Attribute):
        yield ast.unparse(node)
    else:
        for part in ast.iter_child_nodes(node):
            yield from _names(part)


def _require_comparable(node: ast.Compare, names: Mapping[str, Sample]) -> None:
    """Refuse what would never hold: values of different types, and words that a name is never equal to."""
    try:
        _Evaluator({name: sample for name, (sample, _) in names.items()}).eval("", node)
    except TypeError as error:
        raise ValueError(f"{ast.unparse(node)!r} cannot be compared: {error}") from None
    words = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    for name in _names(node):
        choices = names[name][1]
        for word in words:
            if choices and word not in choices:
                raise ValueError(f"{name} is never {word!r}; it is one of {', '.join(choices)}")

"""Every regular expression of the processes that a hostile file must not freeze, and how long its worst inputs take.

Patterns are found in the source of each module of `pipeline` and `workers`, and evaluated in the imported module, so
that one in a function counts like one at the top. Each is tried with the methods that its module calls. Modules that
run only in a confined child are left out: the child's clock ends it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
import resource
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from support.regex_worst_cases import worst_cases

#: CPU seconds that one call may take. Of 80,000 characters a linear one takes less than a third of it, a quadratic one
#: several times as much.
CPU_SECONDS = 0.3
#: CPU seconds of the whole process, which ends one that no signal reaches.
PROCESS_CPU_SECONDS = 240
_FUNCTIONS = ("match", "fullmatch", "search", "findall", "finditer", "split", "sub", "subn")
#: Of a pattern whose calls are not found.
_EVERY = ("fullmatch", "search", "findall")
#: Stands for a value that only a running function knows.
_UNKNOWN = "word"


@dataclass(frozen=True)
class TrustedPattern:
    """A regular expression, where it is written, and how it is called."""

    module: str
    line: int
    pattern: re.Pattern[Any]
    methods: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.pattern.pattern!r:.80}"


@dataclass
class _Source:
    """A module's tree and namespace."""

    name: str
    tree: ast.Module
    namespace: dict[str, Any]
    uses: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def is_confined(module: str) -> bool:
    """Whether a module runs in confined children only."""
    return ".sandbox" in module or module.endswith(("_child", ".conversion.confined"))


def trusted_patterns() -> list[TrustedPattern]:
    """Return all of them.

    Raises:
        ValueError: a pattern cannot be evaluated here; write it so that it can.
    """
    sources = list(_sources())
    public: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        for name, methods in source.uses.items():
            public[name] |= methods
    return [pattern for source in sources for pattern in _patterns(source, public)]


def _sources() -> Iterator[_Source]:
    for root in ("pipeline", "workers"):
        package = importlib.import_module(root)
        for found in pkgutil.walk_packages(package.__path__, f"{root}."):
            if not is_confined(found.name):
                module = importlib.import_module(found.name)
                source = _Source(found.name, ast.parse(inspect.getsource(module)), vars(module))
                for node in ast.walk(source.tree):
                    if isinstance(node, ast.Attribute) and node.attr in _FUNCTIONS:
                        source.uses[_last_name(node.value)].add(node.attr)
                yield source


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _patterns(source: _Source, public: Mapping[str, set[str]]) -> Iterator[TrustedPattern]:
    names = {
        id(node.value): _last_name(node.targets[0]) for node in ast.walk(source.tree) if isinstance(node, ast.Assign)
    }
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.module == "re":
            raise ValueError(f"{source.name}:{node.lineno}: write `import re`, so that patterns can be found")
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        function = node.func.attr
        if _last_name(node.func.value) != "re" or function not in ("compile", *_FUNCTIONS):
            continue
        methods: tuple[str, ...] = (function,)
        if function == "compile":
            name = names.get(id(node), "")
            methods = tuple(source.uses[name] if name.startswith("_") else public.get(name, ())) or _EVERY
        yield TrustedPattern(source.name, node.lineno, _compiled(source, node, function), methods)


def _compiled(source: _Source, call: ast.Call, function: str) -> re.Pattern[Any]:
    arguments = (
        inspect.signature(getattr(re, function))
        .bind(*call.args, **{word.arg: word.value for word in call.keywords if word.arg})
        .arguments
    )
    flags = arguments.get("flags")
    return re.compile(_value(source, arguments["pattern"]), _value(source, flags) if flags is not None else 0)


def _value(source: _Source, node: ast.expr) -> Any:
    try:
        return eval(compile(ast.Expression(node), source.name, "eval"), source.namespace)
    except NameError:
        if not isinstance(node, ast.JoinedStr):
            raise ValueError(f"{source.name}:{node.lineno}: this pattern is known only to its function") from None
    return "".join(_piece(source, piece) for piece in node.values)


def _piece(source: _Source, piece: ast.expr) -> str:
    try:
        return str(_value(source, piece.value if isinstance(piece, ast.FormattedValue) else piece))
    except ValueError:
        return _UNKNOWN


class _TooLong(Exception):
    pass


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise _TooLong


def slow_case(pattern: re.Pattern[Any], methods: tuple[str, ...]) -> str | None:
    """Return the first method, with the head of its input, that takes too much CPU time; None if there is none."""
    signal.signal(signal.SIGVTALRM, _interrupt)
    for text in worst_cases(pattern):
        for method in methods:
            signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
            try:
                _call(pattern, method, text)
            except _TooLong:
                return f"{method} on {text[:30]!r} … {text[-10:]!r}"
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return None


def _call(pattern: re.Pattern[Any], method: str, text: Any) -> None:
    if method in ("sub", "subn"):
        getattr(pattern, method)(text[:0], text)
    elif method == "finditer":
        pattern.findall(text)
    else:
        getattr(pattern, method)(text)


def main() -> None:
    """Try all patterns, or those of the arguments under `search`; print the tried and the slow ones as JSON."""
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESS_CPU_SECONDS, PROCESS_CPU_SECONDS))
    given = [TrustedPattern("argument", 0, re.compile(text), ("search",)) for text in sys.argv[1:]]
    tried, slow = [], []
    for pattern in given or trusted_patterns():
        tried.append(str(pattern))
        if (case := slow_case(pattern.pattern, pattern.methods)) is not None:
            slow.append(f"{pattern}: {case}")
    json.dump({"tried": tried, "slow": slow}, sys.stdout)


if __name__ == "__main__":
    main()

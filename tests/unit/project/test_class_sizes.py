"""No class has more methods than a reader can keep in mind."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
MAX_METHODS = 20


def class_sizes(path: Path) -> dict[str, int]:
    classes = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef))
    return {
        node.name: sum(isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) for each in node.body)
        for node in classes
    }


def test_no_class_has_more_than_twenty_methods() -> None:
    too_long = {
        f"{path.relative_to(ROOT)}:{name}": size
        for package in ("pipeline", "workers")
        for path in (ROOT / package).rglob("*.py")
        for name, size in class_sizes(path).items()
        if size > MAX_METHODS
    }
    assert too_long == {}

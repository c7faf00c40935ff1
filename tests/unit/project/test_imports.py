"""The layout of the code: no import cycles, no import of a higher layer, and a table of layers that is true."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("pipeline", "workers")
MAX_ROOMS = 24
MAX_LAYERS = 8
#: The Celery runner is a package of its own, on the layer of these two.
BESIDE_WORKERS = {"web", "kibana"}

Graph = dict[str, set[str]]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that can run, in functions too; what only the type checker reads is left out."""
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            for other in child.orelse:  # type: ignore[attr-defined]
                yield from executed(other)
            continue
        yield child
        yield from executed(child)


def targets(node: ast.AST, importer: str, is_package: bool) -> Iterator[str]:
    """Full names that an import statement names; the last part may be a module or an attribute."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parts = importer.split(".")
        package = parts[: len(parts) - node.level + is_package] if node.level else []
        base = ".".join([*package, *([node.module] if node.module else [])])
        yield from (f"{base}.{alias.name}" for alias in node.names)


def nearest_module(name: str) -> str | None:
    """The module itself, or the one that holds the attribute; None for other people's modules."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


@cache
def graph() -> Graph:
    found: Graph = {}
    for name, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = (target for node in executed(tree) for target in targets(node, name, path.name == "__init__.py"))
        found[name] = {module for target in named if (module := nearest_module(target)) and module != name}
    return found


def cycles(graph: Graph) -> list[list[str]]:
    """Groups of two or more nodes that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


@cache
def contract_layers() -> list[set[str]]:
    """Rooms of each layer in the contract of import-linter, from the top down, `workers` included."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (contract,) = (each for each in contracts if each["type"] == "layers" and each["containers"] == ["pipeline"])
    layers = [{room.strip() for room in re.split(r"[|:]", layer)} for layer in contract["layers"]]
    return [layer | {"workers"} if layer >= BESIDE_WORKERS else layer for layer in layers]


def room(module: str) -> str:
    """The folder or module directly below `pipeline`; the whole of `workers` is one room."""
    return "workers" if module.split(".")[0] == "workers" else module.split(".")[1]


def room_graph() -> Graph:
    found: Graph = {}
    for importer, imported in graph().items():
        if importer != "pipeline":
            others = {room(module) for module in imported if module != "pipeline"}
            found.setdefault(room(importer), set()).update(others - {room(importer)})
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert cycles(graph()) == []


def test_a_cycle_is_found_wherever_the_import_is() -> None:
    source = "def late():\n    from pipeline.core import errors\nif TYPE_CHECKING:\n    import workers.app\n"
    nodes = executed(ast.parse(source))
    assert [name for node in nodes for name in targets(node, "pipeline.pages.plan", False)] == ["pipeline.core.errors"]
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_every_room_is_in_the_contract() -> None:
    rooms = {room(module) for module in modules() if module != "pipeline"}
    assert rooms == set().union(*contract_layers())
    assert len(rooms) <= MAX_ROOMS
    assert len(contract_layers()) <= MAX_LAYERS


def test_every_room_imports_lower_layers_only() -> None:
    layers = contract_layers()
    height = {name: len(layers) - at for at, layer in enumerate(layers) for name in layer}
    upward = [
        f"{importer} -> {other}"
        for importer, others in sorted(room_graph().items())
        for other in sorted(others)
        if height[importer] <= height[other]
    ]
    assert upward == []


def test_the_table_of_layers_is_the_contract() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    section = re.search(r"^## Layers\n.*?(?=^## )", text, re.MULTILINE | re.DOTALL)
    assert section
    table: dict[int, set[str]] = {}
    for row in re.finditer(r"^\| (\d+) \| `([\w.]+)` \| .+ \|$", section[0], re.MULTILINE):
        table.setdefault(int(row[1]), set()).add(row[2].removesuffix(".py"))
    layers = contract_layers()
    assert table == {len(layers) - at: layer for at, layer in enumerate(layers)}


@pytest.mark.parametrize("folder", sorted((ROOT / "tests" / "unit").iterdir()), ids=lambda folder: folder.name)
def test_unit_tests_mirror_the_rooms(folder: Path) -> None:
    tests = list(folder.rglob("test_*.py"))
    assert folder.name in {"project", "tools"} | set().union(*contract_layers()) or not tests

"""The text of docs/api.md: an introduction, each route with its parameters, and the answers with their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.archive import Archive, Store
from pipeline.core.url_signing import Signer
from pipeline.search.index import Index
from pipeline.web import Access
from pipeline.web.api import make_api

INTRODUCTION = Path(__file__).with_name("introduction.md")
Schema = Mapping[str, Any]


def api_page() -> str:
    """Return the page."""
    archive = Archive(Store("memory://api-docs"))
    described = make_api(lambda: Index("http://127.0.0.1:9200"), archive, Access(Signer()), None, "").openapi()
    schemas = described["components"]["schemas"]
    lines = [line for path, methods in described["paths"].items() for line in _routes(path, methods, schemas)]
    lines += ["# Answers", ""]
    lines += [line for name, schema in schemas.items() if "properties" in schema for line in _fields(name, schema)]
    return INTRODUCTION.read_text(encoding="utf-8") + "\n".join(lines)


def _routes(path: str, methods: Mapping[str, Any], schemas: Schema) -> Iterator[str]:
    for method, route in methods.items():
        yield f"## `{method.upper()} {path}`"
        yield ""
        yield f"{route['description']} Answers with {_answer(route)}."
        yield ""
        yield from _parameters(route.get("parameters", ()), schemas)


def _answer(route: Mapping[str, Any]) -> str:
    schema = route["responses"]["200"]["content"]["application/json"]["schema"]
    return f"[{_kind(schema)}](#{_kind(schema).lower()})"


def _parameters(parameters: Sequence[Mapping[str, Any]], schemas: Schema) -> Iterator[str]:
    if parameters:
        yield "| parameter | in | form | meaning |"
        yield "| --- | --- | --- | --- |"
        for one in parameters:
            yield f"| `{one['name']}` | {one['in']} | {_form(one['schema'], schemas)} | {one.get('description', '')} |"
        yield ""


def _fields(name: str, schema: Schema) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield schema.get("description", "")
    yield ""
    yield "| field | form | meaning |"
    yield "| --- | --- | --- |"
    for field, form in schema["properties"].items():
        yield f"| `{field}` | {_form(form, {})} | {form.get('description', '')} |"
    yield ""


def _form(schema: Schema, schemas: Schema) -> str:
    """Return the type of a value, its bounds and its default, in words."""
    bounds = {"minimum": "from", "maximum": "to", "default": "default"}
    words = [f"{word} {schema[key]}" for key, word in bounds.items() if schema.get(key) is not None]
    kinds = [_kind(entry) for entry in schema.get("anyOf", [schema])]
    values = [value for kind in kinds for value in schemas.get(kind, {}).get("enum", ())]
    named = [", ".join(f"`{value}`" for value in values)] if values else [" or ".join(kinds)]
    return ", ".join(named + words)


def _kind(schema: Schema) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    kind = str(schema.get("type", "any"))
    return f"list of {_kind(schema['items'])}" if kind == "array" and "items" in schema else kind

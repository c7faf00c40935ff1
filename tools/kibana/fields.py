"""The fields of an index family and their types. Every object is built from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.search import templates

NUMBERS = frozenset({"byte", "short", "integer", "long", "float", "double"})
#: Kibana's names of the types that a bucket or a value may have.
DATA_TYPES = {"keyword": "string", "boolean": "boolean", "date": "date"} | dict.fromkeys(NUMBERS, "number")
#: Type of a field that is in records, but can be neither searched nor counted.
_SHOWN_ONLY = "shown only"


def mapped_fields(family: str) -> dict[str, str]:
    """Return the type of each field of a family, sub-fields such as `document.name.raw` included.

    Fields of languages and of a profile's questions are left out.
    """
    mapped: dict[str, str] = {}
    for name in templates.load(f"templates/{family}.json")["composed_of"]:
        component = templates.load(f"components/{name.removeprefix(templates.PREFIX)}.json")
        mapped |= _leaves(component["template"].get("mappings", {}).get("properties", {}), "")
    return mapped


def _leaves(properties: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in properties.items():
        path = prefix + name
        if "properties" in field:
            yield from _leaves(field["properties"], f"{path}.")
        else:
            yield path, field["type"] if field.get("doc_values", True) else _SHOWN_ONLY
            yield from _leaves(field.get("fields", {}), f"{path}.")

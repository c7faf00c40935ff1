"""What the mappings in `mappings/` name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any


def mapped(family: str) -> set[str]:
    """The fields of an index, from its template's components."""
    template = json.loads((files("mappings") / "templates" / f"{family}.json").read_text())
    names: set[str] = set()
    for component in template["composed_of"]:
        path = files("mappings") / "components" / f"{component.removeprefix('pagesight-')}.json"
        if path.is_file():
            body = json.loads(path.read_text())["template"].get("mappings", {})
            names |= set(leaves(body.get("properties", {}), is_mapping=True))
    return names


def leaves(value: dict[str, Any], prefix: str = "", *, is_mapping: bool = False) -> Iterator[str]:
    """Yield the names of fields. Aliases of fields are left out: records have no values for them."""
    for key, entry in value.items():
        if is_mapping and entry.get("type") == "alias":
            continue
        inner = entry.get("properties") if is_mapping else entry
        if isinstance(inner, dict) and not (prefix == "" and key == "exif"):
            yield from leaves(inner, f"{prefix}{key}.", is_mapping=is_mapping)
        else:
            yield prefix + key

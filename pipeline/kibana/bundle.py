"""The shipped objects, made ready for one installation: its space, the prefix of its indices, where its pages are."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from pipeline.kibana.building import ID_PREFIX, lines
from pipeline.kibana.objects import PAGES_URL

Object = dict[str, Any]

#: In the order of an import.
FILES = ("data-views.ndjson", "searches.ndjson", "charts.ndjson", "dashboards.ndjson")
RULES_FILE = "rules.ndjson"
DEFAULT_SPACE = "default"
DEFAULT_VIEW = ID_PREFIX + "pages"
_ID = re.compile(f'(?<="){ID_PREFIX}')
#: Alert rules may have UUIDs only for ids; ours follow from space and name in this one's namespace.
_RULES_NAMESPACE = uuid.UUID("6f0b7a0e-8d1c-4c57-9f35-0a3d5f8b9b21")


@dataclass(frozen=True)
class Bundle:
    """What one installation of Pagesight has in one space of Kibana."""

    space: str
    index_prefix: str
    pages_url: str

    @cached_property
    def tag(self) -> Object:
        """The object by which the others are found, and which keeps what state they were installed in."""
        return next(entry for entry in self._all() if entry["type"] == "tag")

    @cached_property
    def objects(self) -> tuple[Object, ...]:
        """Every object but the tag."""
        return tuple(entry for entry in self._all() if entry["type"] != "tag")

    @cached_property
    def rules(self) -> tuple[Object, ...]:
        """Alert rules, as a request that makes one wants them, with their ids."""
        return tuple(map(self._rule, _shipped(RULES_FILE, self.space)))

    @property
    def default_view(self) -> str:
        """Id of the data view that Discover opens with."""
        return _in_space(DEFAULT_VIEW, self.space)

    @property
    def digest(self) -> str:
        """What changes whenever one of the objects does."""
        return digest(self.objects)

    def ndjson(self) -> str:
        """Return the objects as Kibana imports them."""
        return lines([self.tag, *self.objects])

    def _all(self) -> Iterator[Object]:
        for name in FILES:
            yield from map(self._adapted, _shipped(name, self.space))

    def _adapted(self, entry: Object) -> Object:
        if entry["type"] != "index-pattern":
            return entry
        attributes = entry["attributes"]
        formats = attributes["fieldFormatMap"].replace(PAGES_URL, self.pages_url.rstrip("/"))
        title = self.index_prefix + attributes["title"]
        return entry | {"attributes": attributes | {"title": title, "fieldFormatMap": formats}}

    def _rule(self, rule: Object) -> Object:
        indices = [self.index_prefix + index for index in rule["params"]["index"]]
        return rule | {
            # Kibana takes version 4 only; this one is not random, so that a second installation finds it.
            "id": str(uuid.UUID(bytes=uuid.uuid5(_RULES_NAMESPACE, rule["id"]).bytes, version=4)),
            "params": rule["params"] | {"index": indices},
        }


def digest(objects: Iterable[Object]) -> str:
    """Return a digest of objects' types, ids, attributes and references, whatever their order.

    How often Kibana's users chose a field is left out: Kibana counts that within its data views.
    """
    kept = sorted(map(_comparable, objects), key=lambda entry: (entry["type"], entry["id"]))
    return hashlib.sha256(lines(kept).encode()).hexdigest()[:16]


def _comparable(entry: Object) -> Object:
    attributes = dict(entry["attributes"])
    if entry["type"] == "index-pattern":
        fields = json.loads(attributes.get("fieldAttrs") or "{}")
        labels = {name: field["customLabel"] for name, field in fields.items() if "customLabel" in field}
        attributes["fieldAttrs"] = labels
    references = sorted(entry["references"], key=lambda reference: str(reference["name"]))
    return {"type": entry["type"], "id": entry["id"], "attributes": attributes, "references": references}


def _shipped(name: str, space: str) -> list[Object]:
    text = (files("mappings") / "kibana" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in _ID.sub(_in_space(ID_PREFIX, space), text).splitlines()]


def _in_space(id: str, space: str) -> str:
    """Return an id, or its beginning, as it is in a space. Ids are unique in the whole of Kibana: where another space
    has one, an import would put a random one in its place."""
    return id if space == DEFAULT_SPACE else f"{space}-{id}"

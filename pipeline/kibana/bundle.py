"""The objects in `mappings/kibana/`, adapted to one installation: its space, its index prefix, the URL of its pages."""

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

Object = dict[str, Any]

#: Prefix of every id in the files. An installation outside the default space puts its space before it.
ID_PREFIX = "pagesight-"
#: Placeholder in the files for an installation's `pages_url`.
PAGES_URL = "{pages_url}"
#: Files of objects, in the order of the import.
FILES = ("data-views.ndjson", "searches.ndjson", "charts.ndjson", "dashboards.ndjson")
RULES_FILE = "rules.ndjson"
DEFAULT_SPACE = "default"
DEFAULT_VIEW = ID_PREFIX + "pages"
_ID = re.compile(f'(?<="){ID_PREFIX}')
#: The id of an alert rule must be a UUID. Pagesight derives it from the id in the file, in this namespace.
_RULES_NAMESPACE = uuid.UUID("6f0b7a0e-8d1c-4c57-9f35-0a3d5f8b9b21")


@dataclass(frozen=True)
class Bundle:
    """The objects of one installation of Pagesight in one space of Kibana."""

    space: str
    index_prefix: str
    pages_url: str

    @cached_property
    def tag(self) -> Object:
        """The tag of all objects. Its description records the installed state."""
        return next(entry for entry in self._all() if entry["type"] == "tag")

    @cached_property
    def objects(self) -> tuple[Object, ...]:
        """Every object except the tag."""
        return tuple(entry for entry in self._all() if entry["type"] != "tag")

    @cached_property
    def rules(self) -> tuple[Object, ...]:
        """Alert rules with their ids, in the form of the requests that create them."""
        return tuple(map(self._rule, _shipped(RULES_FILE, self.space)))

    @property
    def default_view(self) -> str:
        """Id of the data view with which Discover opens."""
        return _in_space(DEFAULT_VIEW, self.space)

    @property
    def digest(self) -> str:
        """Digest of the objects."""
        return digest(self.objects)

    def ndjson(self) -> str:
        """Return tag and objects in Kibana's import format."""
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
            # Kibana accepts only UUIDs of version 4. This one is not random, so a second installation finds the rule.
            "id": str(uuid.UUID(bytes=uuid.uuid5(_RULES_NAMESPACE, rule["id"]).bytes, version=4)),
            "params": rule["params"] | {"index": indices},
        }


def lines(objects: Iterable[Object]) -> str:
    """Return objects as NDJSON. Keys are sorted, so that equal objects give equal lines."""
    return "".join(compact_json(entry) + "\n" for entry in objects)


def compact_json(value: object) -> str:
    """Return JSON without spaces and with sorted keys."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def digest(objects: Iterable[Object]) -> str:
    """Return a digest of types, ids, attributes and references, independent of their order.

    Of the attributes of a data view's fields only the labels count: Kibana also stores the popularity of fields there.
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
    """Return an id, or the prefix of an id, for a space.

    Ids are unique in all spaces of Kibana. If another space had the same id, an import would assign a random one.
    """
    return id if space == DEFAULT_SPACE else f"{space}-{id}"

"""Finds what would break in Kibana: run over the shipped objects, and over broken ones by its own tests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from pydantic import ValidationError

from pipeline.search.templates import FAMILIES
from support.kibana_schemas import (
    ATTRIBUTES,
    Closed,
    Control,
    FieldAttributes,
    FieldFormat,
    LensState,
    Panel,
    SavedObject,
    SourceFilter,
)
from support.kql import KqlError, fields_of, parse
from tools.kibana.building import CORE_VERSION, GRID_COLUMNS, TYPE_VERSIONS
from tools.kibana.fields import DATA_TYPES, NUMBERS, mapped_fields

Object = dict[str, Any]

#: Columns and sorts that are no fields of ours.
_META = frozenset({"_score", "_id", "_index"})
#: The types of fields that an operation takes.
_SUITED = {
    "terms": frozenset({"keyword", "boolean"}) | NUMBERS,
    "date_histogram": frozenset({"date"}),
    "unique_count": frozenset(DATA_TYPES),
    "sum": NUMBERS,
    "median": NUMBERS,
    "max": NUMBERS | {"date"},
}
_BUCKETS = frozenset({"terms", "date_histogram"})
_FORMATS = {"url": frozenset({"keyword"}), "bytes": NUMBERS, "static_lookup": frozenset({"keyword"})}


def lint(objects: Sequence[Object]) -> list[str]:
    """What is wrong, one line each, with the object that it is about; nothing where everything is fine."""
    return list(_Linter(objects).problems())


class _Linter:
    def __init__(self, objects: Sequence[Object]) -> None:
        self._objects = objects
        self._ids = Counter((entry["type"], entry["id"]) for entry in objects)
        self._families = {
            entry["id"]: entry["attributes"].get("title") for entry in objects if entry["type"] == "index-pattern"
        }

    def problems(self) -> Iterator[str]:
        for key, count in self._ids.items():
            if count > 1:
                yield f"{key}: {count} objects have this id"
        for entry in self._objects:
            named = f"{entry['type']} {entry['id']}"
            yield from (f"{named}: {problem}" for problem in self._of(entry))

    def _of(self, entry: Object) -> Iterator[str]:
        kind = entry["type"]
        broken = [*_closed(SavedObject, entry), *_versions(entry)]
        if kind in ATTRIBUTES:
            broken += _closed(ATTRIBUTES[kind], entry["attributes"])
        yield from broken
        if broken:
            return
        check = {
            "index-pattern": self._data_view,
            "search": self._search,
            "lens": self._lens,
            "dashboard": self._dashboard,
            "tag": lambda _: iter(()),
        }[kind]
        try:
            yield from check(entry)
        except json.JSONDecodeError as error:
            yield f"a string does not hold JSON: {error}"
        yield from self._targets(entry)

    def _targets(self, entry: Object) -> Iterator[str]:
        for reference in entry["references"]:
            if not self._ids[reference["type"], reference["id"]]:
                target = f"{reference['type']} {reference['id']}"
                yield f"the reference {reference['name']} leads to {target}, which is not there"

    def _data_view(self, view: Object) -> Iterator[str]:
        attributes = view["attributes"]
        if attributes["title"] not in FAMILIES:
            yield f"there is no family of indices {attributes['title']!r}"
            return
        types = mapped_fields(attributes["title"])
        if (time := attributes.get("timeFieldName")) and types.get(time) != "date":
            yield f"the time field {time} is no date"
        for name in ("fields", "typeMeta", "runtimeFieldMap"):
            json.loads(attributes.get(name) or "{}")
        for source_filter in json.loads(attributes.get("sourceFilters") or "[]"):
            yield from _closed(SourceFilter, source_filter)
        for name, label in json.loads(attributes.get("fieldAttrs") or "{}").items():
            yield from _closed(FieldAttributes, label)
            yield from _known(name, types, "a label")
        for name, shown in json.loads(attributes.get("fieldFormatMap") or "{}").items():
            yield from _known(name, types, "a format")
            yield from _closed(FieldFormat, shown)
            yield from _format(name, shown, types.get(name, ""))

    def _search(self, search: Object) -> Iterator[str]:
        attributes = search["attributes"]
        source = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
        yield from _references(search, {source["indexRefName"]: "index-pattern"})
        types = self._types(search, source["indexRefName"])
        if types is None:
            return
        named = [*attributes["columns"], *(field for field, _ in attributes["sort"])]
        named += attributes["grid"].get("columns", {})
        for name in named:
            yield from _known(name, types, "a column")
        yield from _kql(source["query"], types)

    def _lens(self, lens: Object) -> Iterator[str]:
        state = lens["attributes"]["state"]
        if problems := list(_closed(LensState, state)):
            yield from problems
            return
        layers = state["datasourceStates"]["formBased"]["layers"]
        yield from _references(lens, {f"indexpattern-datasource-layer-{name}": "index-pattern" for name in layers})
        drawn = state["visualization"].get("layers", [state["visualization"]])
        if {layer.get("layerId") for layer in drawn} != set(layers):
            yield "the visualization draws other layers than there are"
        for name, layer in layers.items():
            yield from _columns(layer)
            types = self._types(lens, f"indexpattern-datasource-layer-{name}")
            for column in layer["columns"].values():
                yield from _operation(column, types or {})
            for visual in drawn:
                yield from _accessors(visual, layer["columns"])

    def _dashboard(self, dashboard: Object) -> Iterator[str]:
        attributes = dashboard["attributes"]
        for text in (attributes["optionsJSON"], attributes["kibanaSavedObjectMeta"]["searchSourceJSON"]):
            json.loads(text)
        panels = json.loads(attributes["panelsJSON"])
        group = attributes.get("controlGroupInput") or {}
        controls = json.loads(group.get("panelsJSON") or "{}")
        json.loads(group.get("ignoreParentSettingsJSON") or "{}")
        problems = [problem for panel in panels for problem in _closed(Panel, panel)]
        problems += [problem for control in controls.values() for problem in _closed(Control, control)]
        yield from problems
        if problems:
            return
        yield from _grid(panels)
        wanted = {
            f"{panel['panelIndex']}:{panel['panelRefName']}": panel["type"]
            for panel in panels
            if "panelRefName" in panel
        }
        wanted |= {f"controlGroup_{name}:optionsListDataView": "index-pattern" for name in controls}
        yield from _references(dashboard, wanted)
        for name, control in controls.items():
            given = control["explicitInput"]
            types = self._types(dashboard, f"controlGroup_{name}:optionsListDataView")
            if types is not None and types.get(given["fieldName"]) not in ("keyword", "boolean"):
                yield f"the control {name} lists values of {given['fieldName']}, which has none to list"
            if given["id"] != name or not self._ids["index-pattern", given["dataViewId"]]:
                yield f"the control {name} names another control or data view"

    def _types(self, entry: Object, reference: str) -> dict[str, str] | None:
        """The fields behind the data view that a reference leads to; None where it leads nowhere."""
        for found in entry["references"]:
            if found["name"] == reference:
                family = self._families.get(found["id"])
                return mapped_fields(family) if family in FAMILIES else None
        return None


def _closed(schema: type[Closed], value: object) -> Iterator[str]:
    try:
        schema.model_validate(value)
    except ValidationError as error:
        for problem in error.errors():
            yield f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def _versions(entry: Object) -> Iterator[str]:
    pin = TYPE_VERSIONS.get(entry["type"])
    if pin is None:
        yield "nothing is known of this type"
        return
    for found, most in (
        (entry.get("typeMigrationVersion", ""), pin),
        (entry.get("coreMigrationVersion", ""), CORE_VERSION),
    ):
        if not found or _version(found) > _version(most):
            yield f"the version {found} is above {most}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _known(name: str, types: Mapping[str, str], what: str) -> Iterator[str]:
    if name not in types and name not in _META:
        yield f"{what} names the field {name}, which is not mapped"


def _format(name: str, shown: Object, type: str) -> Iterator[str]:
    if type not in _FORMATS.get(shown["id"], frozenset()):
        yield f"the format {shown['id']} does not suit {name}"
    parameters = shown.get("params", {})
    template = parameters.get("urlTemplate", "")
    if parameters.get("type") == "a" and not template.startswith(("http://", "https://", "{pages_url}/")):
        yield f"the link of {name} is relative: Kibana puts its own path before it"
    if parameters.get("type") == "img" and not template.startswith("/"):
        yield f"the image of {name} comes from another origin than Kibana"


def _kql(query: Object, types: Mapping[str, str]) -> Iterator[str]:
    if query.get("language") != "kuery":
        yield f"the language {query.get('language')} is not KQL"
        return
    try:
        names = set(fields_of(parse(query["query"])))
    except KqlError as error:
        yield f"Kibana cannot read the query: {error}"
        return
    for name in sorted(names):
        yield from _known(name, types, "a query")


def _references(entry: Object, wanted: Mapping[str, str]) -> Iterator[str]:
    """Each name that the attributes use has one reference of its type, and no other is there but tags."""
    names = Counter(reference["name"] for reference in entry["references"])
    types = {reference["name"]: reference["type"] for reference in entry["references"]}
    for name, kind in wanted.items():
        if names[name] != 1 or types[name] != kind:
            yield f"there is not exactly one reference {name} to a {kind}"
    for name in names.keys() - wanted.keys():
        if types[name] != "tag":
            yield f"nothing uses the reference {name}"


def _columns(layer: Object) -> Iterator[str]:
    if layer["columnOrder"] != list(dict.fromkeys(layer["columnOrder"])) or set(layer["columnOrder"]) != set(
        layer["columns"]
    ):
        yield "columnOrder and columns do not name the same"
        return
    bucketed = [layer["columns"][name]["isBucketed"] for name in layer["columnOrder"]]
    if bucketed != sorted(bucketed, reverse=True):
        yield "a value stands before a bucket"
    for name, column in layer["columns"].items():
        by = column.get("params", {}).get("orderBy", {}).get("columnId")
        if by is not None and (by not in layer["columns"] or layer["columns"][by]["isBucketed"]):
            yield f"{name} is ordered by {by}, which is no value"


def _operation(column: Object, types: Mapping[str, str]) -> Iterator[str]:
    operation, field = column["operationType"], column["sourceField"]
    if "filter" in column:
        yield from _kql(column["filter"], types)
    if column["isBucketed"] != (operation in _BUCKETS):
        yield f"{operation} is a bucket, or is none, otherwise than it says"
    if operation == "count":
        if field != "___records___":
            yield f"records are counted by the field {field}"
        return
    if field not in types:
        yield f"{operation} of {field}, which is not mapped"
    elif types[field] not in _SUITED.get(operation, frozenset()):
        yield f"{operation} does not suit {field}, a {types[field]}"
    elif column["dataType"] != ("number" if operation == "unique_count" else DATA_TYPES[types[field]]):
        yield f"{field} is called a {column['dataType']}"


def _accessors(visual: Object, columns: Iterable[str]) -> Iterator[str]:
    named = [visual.get(name) for name in ("metricAccessor", "xAccessor", "splitAccessor")]
    named += visual.get("accessors", [])
    named += [column["columnId"] for column in visual.get("columns", [])]
    used = [name for name in named if name is not None]
    for name in used:
        if name not in columns:
            yield f"the visualization shows a column {name}, which is not there"
    for name in set(columns) - set(used):
        yield f"the visualization does not show the column {name}"


def _grid(panels: Sequence[Object]) -> Iterator[str]:
    for panel in panels:
        place = panel["gridData"]
        if place["x"] + place["w"] > GRID_COLUMNS:
            yield f"the panel {panel['panelIndex']} is beyond the right edge"
        if place["i"] != panel["panelIndex"]:
            yield f"the panel {panel['panelIndex']} has the place of {place['i']}"
    for one, other in combinations(panels, 2):
        if _overlap(one["gridData"], other["gridData"]):
            yield f"the panels {one['panelIndex']} and {other['panelIndex']} overlap"


def _overlap(one: Object, other: Object) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not beside and not above

"""What Kibana asks Elasticsearch for a Lens chart: worked out from the saved object as it is shipped.

Left out are what only Kibana's own interface adds: sampling, time shifts, and the second request for "other" buckets,
which no chart of ours asks for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from support.kql import Query, compiled

Object = dict[str, Any]

#: Bars that Kibana aims at along an axis of time, and the widths that it chooses from, in seconds.
TARGET_BARS = 50
WIDTHS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 43200, 86400, 604800, 2592000, 31536000)
UNITS = {604800: "1w", 2592000: "1M", 31536000: "1y"}


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of a bundle with what its columns mean."""

    title: str
    kind: str
    view: Object
    columns: Mapping[str, Object]
    """In order: buckets, the outermost first, then values."""

    @property
    def buckets(self) -> dict[str, Object]:
        return {name: column for name, column in self.columns.items() if column["isBucketed"]}

    @property
    def values(self) -> dict[str, Object]:
        return {name: column for name, column in self.columns.items() if not column["isBucketed"]}


def charts(objects: Sequence[Object]) -> dict[str, Chart]:
    """Every Lens chart by its id."""
    views = {entry["id"]: entry for entry in objects if entry["type"] == "index-pattern"}
    found = {}
    for entry in objects:
        if entry["type"] == "lens":
            state = entry["attributes"]["state"]
            ((layer_id, layer),) = state["datasourceStates"]["formBased"]["layers"].items()
            name = f"indexpattern-datasource-layer-{layer_id}"
            (view,) = (views[reference["id"]] for reference in entry["references"] if reference["name"] == name)
            columns = {column: layer["columns"][column] for column in layer["columnOrder"]}
            found[entry["id"]] = Chart(
                entry["attributes"]["title"], entry["attributes"]["visualizationType"], view, columns
            )
    return found


def time_filter(view: Object, range: tuple[datetime, datetime] | None) -> list[Query]:
    """The time picker's filter: it means nothing to a data view without a time field."""
    field = view["attributes"].get("timeFieldName")
    if not field or range is None:
        return []
    start, end = (time.isoformat() for time in range)
    return [{"range": {field: {"gte": start, "lte": end, "format": "strict_date_optional_time"}}}]


def search_body(
    chart: Chart,
    types: Mapping[str, str],
    filters: Sequence[Query] = (),
    range: tuple[datetime, datetime] | None = None,
) -> Object:
    """The request of a chart."""
    values = {name: _value(column, types) for name, column in chart.values.items() if _needs_aggregation(column)}
    inner = values
    for name, column in reversed(chart.buckets.items()):
        ordered_by = column["params"].get("orderBy", {}).get("columnId")
        # Buckets are ordered by a value of their own level, whatever lies within them.
        order = {ordered_by: values[ordered_by]} if ordered_by in values else {}
        inner = {name: _bucket(column, values, range) | {"aggs": order | inner}}
    clauses = [*filters, *time_filter(chart.view, range)]
    return {"size": 0, "track_total_hits": True, "query": {"bool": {"filter": clauses}}, "aggs": inner}


def rows(chart: Chart, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the chart shows: one row for each innermost bucket, by column."""
    top = {"doc_count": answer["hits"]["total"]["value"]} | answer.get("aggregations", {})
    return _rows(list(chart.buckets), chart.values, top, {})


def _rows(
    buckets: list[str], values: Mapping[str, Object], level: Mapping[str, Any], above: Mapping[str, Any]
) -> list[dict[str, Any]]:
    if not buckets:
        return [dict(above) | {name: _number(column, level.get(name), level) for name, column in values.items()}]
    first, *rest = buckets
    found = []
    for bucket in level[first]["buckets"]:
        key = bucket.get("key_as_string", bucket["key"])
        found += _rows(rest, values, bucket, dict(above) | {first: key})
    return found


def _needs_aggregation(column: Object) -> bool:
    return column["operationType"] != "count" or "filter" in column


def _bucket(column: Object, values: Mapping[str, Object], range: tuple[datetime, datetime] | None) -> Object:
    field, parameters = column["sourceField"], column["params"]
    if column["operationType"] == "date_histogram":
        return {"date_histogram": {"field": field, "min_doc_count": 0, "time_zone": "UTC"} | _width(range)}
    by, direction = parameters["orderBy"]["columnId"], parameters["orderDirection"]
    order = {by if by in values else "_count": direction}
    return {"terms": {"field": field, "size": parameters["size"], "order": order}}


def _width(range: tuple[datetime, datetime] | None) -> Object:
    seconds = (range[1] - range[0]).total_seconds() if range else 86400 * 365 * 20
    width = next((width for width in WIDTHS if seconds / width <= TARGET_BARS), WIDTHS[-1])
    return {"calendar_interval": UNITS[width]} if width in UNITS else {"fixed_interval": f"{width}s"}


def _value(column: Object, types: Mapping[str, str]) -> Object:
    field = column["sourceField"]
    match column["operationType"]:
        case "count":
            return {"filter": compiled(column["filter"]["query"], types)}
        case "unique_count":
            return {"cardinality": {"field": field}}
        case "median":
            return {"percentiles": {"field": field, "percents": [50]}}
        case operation:
            return {operation: {"field": field}}


def _number(column: Object, found: Mapping[str, Any] | None, level: Mapping[str, Any]) -> Any:
    if found is None:
        return level["doc_count"]
    if "doc_count" in found:
        return found["doc_count"]
    if "values" in found:
        return found["values"]["50.0"]
    return found.get("value_as_string", found["value"])


def controls(dashboard: Object) -> list[Object]:
    """What each control of a dashboard asks for: the values of its field, most frequent first."""
    panels = json.loads(dashboard["attributes"]["controlGroupInput"]["panelsJSON"])
    return [
        {"size": 0, "aggs": {"suggestions": {"terms": {"field": panel["explicitInput"]["fieldName"], "size": 10}}}}
        for panel in panels.values()
    ]

"""Builds Kibana's saved objects from the declarations.

The versions are old on purpose: every Kibana 9 migrates an older object to its own version, and refuses a newer one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import singledispatch
from itertools import accumulate
from typing import Any

from pipeline.kibana.bundle import ID_PREFIX, compact_json
from tools.kibana import objects
from tools.kibana.declarations import (
    Bars,
    Bucket,
    Chart,
    Control,
    Dashboard,
    DataView,
    Dates,
    Measure,
    Metric,
    Note,
    Panel,
    Row,
    Rule,
    Search,
    Table,
    Value,
)
from tools.kibana.fields import DATA_TYPES, mapped_fields

Object = dict[str, Any]
Reference = dict[str, str]

#: Version of each type of object, and of the file format.
TYPE_VERSIONS = {"index-pattern": "8.0.0", "search": "10.5.0", "lens": "8.9.0", "dashboard": "10.2.0", "tag": "8.0.0"}
CORE_VERSION = "8.8.0"
#: Columns of a dashboard's grid.
GRID_COLUMNS = 48
TAG_ID = ID_PREFIX + "objects"

_LAYER = "layer"
_SOURCE_REFERENCE = "kibanaSavedObjectMeta.searchSourceJSON.index"


def build() -> dict[str, list[Object]]:
    """Return the objects of each file in `mappings/kibana/`, by file name."""
    return {
        "data-views.ndjson": [_tag(), *map(_data_view, objects.VIEWS)],
        "searches.ndjson": list(map(_search, objects.SEARCHES)),
        "charts.ndjson": [chart for dashboard in objects.DASHBOARDS for chart in _charts(dashboard)],
        "dashboards.ndjson": list(map(_dashboard, objects.DASHBOARDS)),
        "rules.ndjson": list(map(_rule, objects.RULES)),
    }


def _id(name: str) -> str:
    return ID_PREFIX + name


def _saved(kind: str, id: str, attributes: Object, references: Sequence[Reference] = ()) -> Object:
    return {
        "type": kind,
        "id": id,
        "attributes": attributes,
        "references": [*references, {"type": "tag", "id": TAG_ID, "name": f"tag-ref-{TAG_ID}"}]
        if kind not in ("tag", "index-pattern")
        else list(references),
        "coreMigrationVersion": CORE_VERSION,
        "typeMigrationVersion": TYPE_VERSIONS[kind],
    }


def _to_view(view: DataView, name: str) -> Reference:
    return {"type": "index-pattern", "id": _id(view.name), "name": name}


def _kql(where: str) -> Object:
    return {"query": where, "language": "kuery"}


def _tag() -> Object:
    return _saved("tag", TAG_ID, {"name": "Pagesight", "description": "Pagesight's objects", "color": "#0b64dd"})


def _data_view(view: DataView) -> Object:
    attributes = {
        "title": view.family,
        "name": view.title,
        "fields": "[]",
        "typeMeta": "{}",
        "runtimeFieldMap": "{}",
        "allowHidden": False,
        "sourceFilters": compact_json([{"value": name} for name in view.hidden]),
        "fieldFormatMap": compact_json(view.formats),
        "fieldAttrs": compact_json({name: {"customLabel": label} for name, label in view.labels.items()}),
    }
    if view.time_field:
        attributes["timeFieldName"] = view.time_field
    return _saved("index-pattern", _id(view.name), attributes)


def _search(search: Search) -> Object:
    source = {"query": _kql(search.where), "filter": [], "indexRefName": _SOURCE_REFERENCE}
    attributes = {
        "title": search.title,
        "description": search.description,
        "columns": list(search.columns),
        "sort": [list(search.sort)],
        "grid": {"columns": {name: {"width": width} for name, width in search.columns.items() if width}},
        # -1 fits the row to its content: a fixed height cuts thumbnails off.
        "rowHeight": -1,
        "hideChart": search.view.time_field is None,
        "isTextBasedQuery": False,
        "timeRestore": False,
        "kibanaSavedObjectMeta": {"searchSourceJSON": compact_json(source)},
    }
    return _saved("search", _id(search.name), attributes, [_to_view(search.view, _SOURCE_REFERENCE)])


def _charts(dashboard: Dashboard) -> Iterator[Object]:
    for row in dashboard.rows:
        yield from (_chart(panel, f"Of {dashboard.title}.") for panel, _ in row.panels if isinstance(panel, Chart))


def _chart(chart: Chart, description: str) -> Object:
    types = mapped_fields(chart.view.family)
    buckets = {f"bucket{number}": bucket for number, bucket in enumerate(chart.buckets, 1)}
    values = {f"value{number}": value for number, value in enumerate(chart.values, 1)}
    columns = {name: _bucket(bucket, types, next(iter(values))) for name, bucket in buckets.items()}
    columns |= {name: _value(value, types) for name, value in values.items()}
    kind, visualization = _visualization(chart, list(buckets), list(values))
    layer = {
        "columnOrder": list(columns),
        "columns": columns,
        "incompleteColumns": {},
        "sampling": 1,
        "ignoreGlobalFilters": False,
    }
    attributes = {
        "title": chart.title,
        "description": description,
        "visualizationType": kind,
        "state": {
            "datasourceStates": {"formBased": {"layers": {_LAYER: layer}}, "textBased": {"layers": {}}},
            "visualization": visualization,
            "query": _kql(""),
            "filters": [],
            "internalReferences": [],
            "adHocDataViews": {},
        },
    }
    reference = _to_view(chart.view, f"indexpattern-datasource-layer-{_LAYER}")
    return _saved("lens", _id(chart.name), attributes, [reference])


def _bucket(bucket: Bucket, types: dict[str, str], ordered_by: str) -> Object:
    column = {
        "label": bucket.label,
        "customLabel": True,
        "dataType": DATA_TYPES[types[bucket.field]],
        "isBucketed": True,
        "sourceField": bucket.field,
    }
    if isinstance(bucket, Dates):
        parameters: Object = {"interval": "auto", "includeEmptyRows": True, "dropPartials": False}
        return column | {"operationType": "date_histogram", "scale": "interval", "params": parameters}
    parameters = {
        "size": bucket.size,
        "orderBy": {"type": "column", "columnId": ordered_by},
        "orderDirection": "desc",
        "otherBucket": False,
        "missingBucket": False,
        "parentFormat": {"id": "terms"},
    }
    return column | {"operationType": "terms", "scale": "ordinal", "params": parameters}


def _value(value: Value, types: dict[str, str]) -> Object:
    column: Object = {"label": value.label, "customLabel": True, "isBucketed": False, "scale": "ratio"}
    if isinstance(value, Measure):
        counted = value.operation == "unique_count"
        return column | {
            "operationType": value.operation,
            "sourceField": value.field,
            "dataType": "number" if counted else DATA_TYPES[types[value.field]],
            "params": {"emptyAsNull": True},
        }
    column |= {"operationType": "count", "sourceField": "___records___", "dataType": "number"}
    column["params"] = {"emptyAsNull": False}
    return column | ({"filter": _kql(value.where)} if value.where else {})


@singledispatch
def _visualization(chart: object, buckets: list[str], values: list[str]) -> tuple[str, Object]:
    raise TypeError(type(chart))


@_visualization.register
def _metric(chart: Metric, buckets: list[str], values: list[str]) -> tuple[str, Object]:
    return "lnsMetric", {"layerId": _LAYER, "layerType": "data", "metricAccessor": values[0]}


@_visualization.register
def _table(chart: Table, buckets: list[str], values: list[str]) -> tuple[str, Object]:
    columns = [{"columnId": name} for name in buckets] + [{"columnId": name, "isMetric": True} for name in values]
    # Rows as high as their content, for thumbnails.
    return "lnsDatatable", {"layerId": _LAYER, "layerType": "data", "columns": columns, "rowHeight": "auto"}


@_visualization.register
def _bars(chart: Bars, buckets: list[str], values: list[str]) -> tuple[str, Object]:
    layer = {
        "layerId": _LAYER,
        "layerType": "data",
        "seriesType": "bar_stacked",
        "xAccessor": buckets[-1],
        "accessors": values,
        "position": "top",
        "showGridlines": False,
    }
    if chart.split:
        layer["splitAccessor"] = buckets[0]
    return "lnsXY", {
        "preferredSeriesType": "bar_stacked",
        "legend": {"isVisible": True, "position": "right"},
        "valueLabels": "hide",
        "layers": [layer],
    }


def _dashboard(dashboard: Dashboard) -> Object:
    panels: list[Object] = []
    references: list[Reference] = []
    for number, (panel, grid) in enumerate(_arranged(dashboard.rows), 1):
        index = f"panel{number}"
        shown, reference = _panel(panel, index)
        panels.append(shown | {"panelIndex": index, "gridData": grid | {"i": index}})
        references += reference
    controls = {f"control{number}": control for number, control in enumerate(dashboard.controls, 1)}
    for name, control in controls.items():
        references.append(_to_view(control.view, f"controlGroup_{name}:optionsListDataView"))
    options = {
        "useMargins": True,
        "syncColors": False,
        "syncCursor": True,
        "syncTooltips": False,
        "hidePanelTitles": False,
    }
    attributes = {
        "title": dashboard.title,
        "description": dashboard.description,
        "panelsJSON": compact_json(panels),
        "optionsJSON": compact_json(options),
        "controlGroupInput": _control_group(controls),
        "kibanaSavedObjectMeta": {"searchSourceJSON": compact_json({"query": _kql(""), "filter": []})},
        "timeRestore": dashboard.time is not None,
    }
    if dashboard.time:
        attributes["timeFrom"], attributes["timeTo"] = dashboard.time
        attributes["refreshInterval"] = {"pause": True, "value": 60_000}
    return _saved("dashboard", _id(dashboard.name), attributes, references)


def _arranged(rows: Sequence[Row]) -> Iterator[tuple[Panel, Object]]:
    """Yield each panel with its position and size on the grid."""
    for row, bottom in zip(rows, accumulate(row.height for row in rows), strict=True):
        widths = [width for _, width in row.panels]
        for (panel, width), right in zip(row.panels, accumulate(widths), strict=True):
            yield panel, {"x": right - width, "y": bottom - row.height, "w": width, "h": row.height}


def _panel(panel: Panel, index: str) -> tuple[Object, list[Reference]]:
    if isinstance(panel, Note):
        visualization = {
            "title": "",
            "description": "",
            "type": "markdown",
            "params": {"fontSize": 12, "openLinksInNewTab": True, "markdown": panel.text},
            "uiState": {},
            "data": {"aggs": [], "searchSource": {"query": _kql(""), "filter": []}},
        }
        return {"type": "visualization", "embeddableConfig": {"savedVis": visualization}}, []
    kind = "search" if isinstance(panel, Search) else "lens"
    name = f"panel_{index}"
    reference = {"type": kind, "id": _id(panel.name), "name": f"{index}:{name}"}
    return {"type": kind, "embeddableConfig": {}, "panelRefName": name}, [reference]


def _control_group(controls: dict[str, Control]) -> Object:
    panels = {
        name: {
            "type": "optionsListControl",
            "order": order,
            "width": "medium",
            "grow": True,
            "explicitInput": {
                "id": name,
                "dataViewId": _id(control.view.name),
                "fieldName": control.field,
                "title": control.label,
                "selectedOptions": [],
            },
        }
        for order, (name, control) in enumerate(controls.items())
    }
    ignored = {"ignoreFilters": False, "ignoreQuery": False, "ignoreTimerange": False, "ignoreValidations": False}
    return {
        "controlStyle": "oneLine",
        "chainingSystem": "HIERARCHICAL",
        "panelsJSON": compact_json(panels),
        "ignoreParentSettingsJSON": compact_json(ignored),
    }


def _rule(rule: Rule) -> Object:
    return {
        "name": rule.title,
        "id": _id(rule.name),
        "rule_type_id": ".es-query",
        "consumer": "stackAlerts",
        "tags": ["Pagesight"],
        "schedule": {"interval": rule.interval},
        "actions": [],
        "params": {
            "searchType": "esQuery",
            "index": [rule.family],
            "timeField": rule.time_field,
            "esQuery": compact_json({"query": rule.query}),
            "size": 10,
            "aggType": "count",
            "groupBy": "all",
            "thresholdComparator": rule.comparator,
            "threshold": [rule.threshold],
            "timeWindowSize": rule.window_hours,
            "timeWindowUnit": "h",
            # A count of new records since the last run would never exceed a threshold meant for an hour.
            "excludeHitsFromPreviousRun": False,
        },
    }

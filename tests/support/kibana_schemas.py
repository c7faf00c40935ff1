"""The attributes that Kibana lets its saved objects have, at the versions that are shipped; unknown ones are refused.

Ported from the schemas of Kibana's own plugins: `data_views` (its parsed form is the content of our JSON strings),
`saved_search` (model version 5), `lens`, `dashboard` (model versions 1 and 2), `saved_objects_tagging`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SearchSourceMeta(Closed):
    searchSourceJSON: str


class RefreshInterval(Closed):
    pause: bool
    value: int


class DataView(Closed):
    title: str = Field(min_length=1)
    name: str | None = None
    type: str | None = None
    timeFieldName: str | None = None
    sourceFilters: str | None = None
    fields: str | None = None
    typeMeta: str | None = None
    fieldFormatMap: str | None = None
    fieldAttrs: str | None = None
    runtimeFieldMap: str | None = None
    allowNoIndex: bool | None = None
    allowHidden: bool | None = None


class SourceFilter(Closed):
    value: str
    clientId: str | int | None = None


class FieldAttributes(Closed):
    customLabel: str | None = None
    customDescription: str | None = Field(default=None, max_length=300)
    count: int | None = None


class FieldFormat(Closed):
    id: str
    params: dict[str, Any] = {}


class ColumnWidth(Closed):
    width: int | None = None


class Grid(Closed):
    columns: dict[str, ColumnWidth] | None = None


class Search(Closed):
    title: str
    description: str = ""
    columns: list[str] = []
    sort: list[list[str]] = []
    grid: Grid = Grid()
    rowHeight: int | None = None
    headerRowHeight: int | None = None
    rowsPerPage: int | None = None
    sampleSize: int | None = None
    density: Literal["compact", "normal", "expanded"] | None = None
    hideChart: bool = False
    breakdownField: str | None = None
    kibanaSavedObjectMeta: SearchSourceMeta
    isTextBasedQuery: bool = False
    usesAdHocDataView: bool | None = None
    timeRestore: bool | None = None
    viewMode: Literal["documents", "patterns", "aggregated"] | None = None


class Lens(Closed):
    title: str
    description: str | None = None
    visualizationType: Literal["lnsMetric", "lnsDatatable", "lnsXY"]
    state: dict[str, Any]


class LensState(Closed):
    datasourceStates: dict[str, Any]
    visualization: dict[str, Any]
    query: dict[str, str]
    filters: list[Any]
    internalReferences: list[Any]
    adHocDataViews: dict[str, Any]


class ControlGroup(Closed):
    panelsJSON: str | None = None
    controlStyle: Literal["oneLine", "twoLine"] | None = None
    chainingSystem: Literal["HIERARCHICAL", "NONE"] | None = None
    ignoreParentSettingsJSON: str | None = None
    showApplySelections: bool | None = None


class Dashboard(Closed):
    title: str
    description: str = ""
    kibanaSavedObjectMeta: SearchSourceMeta | None = None
    timeRestore: bool | None = None
    timeFrom: str | None = None
    timeTo: str | None = None
    refreshInterval: RefreshInterval | None = None
    controlGroupInput: ControlGroup | None = None
    panelsJSON: str | None = None
    optionsJSON: str | None = None
    version: int | None = None


class GridPlace(Closed):
    x: int = Field(ge=0)
    y: int = Field(ge=0)
    w: int = Field(ge=1)
    h: int = Field(ge=1)
    i: str


class Panel(Closed):
    type: Literal["lens", "search", "visualization"]
    panelIndex: str
    gridData: GridPlace
    embeddableConfig: dict[str, Any]
    panelRefName: str | None = None


class ControlInput(Closed):
    id: str
    dataViewId: str
    fieldName: str
    title: str
    selectedOptions: list[str] = []


class Control(Closed):
    type: Literal["optionsListControl"]
    order: int
    width: Literal["small", "medium", "large"]
    grow: bool
    explicitInput: ControlInput


class Tag(Closed):
    name: str = Field(min_length=2, max_length=50)
    description: str
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")


class Reference(Closed):
    type: str
    id: str
    name: str


class SavedObject(Closed):
    type: str
    id: str = Field(min_length=1)
    attributes: dict[str, Any]
    references: list[Reference]
    coreMigrationVersion: str
    typeMigrationVersion: str


ATTRIBUTES: dict[str, type[Closed]] = {
    "index-pattern": DataView,
    "search": Search,
    "lens": Lens,
    "dashboard": Dashboard,
    "tag": Tag,
}

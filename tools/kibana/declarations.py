"""Classes for declaring Kibana's objects. Objects refer to each other as Python values, so every reference is valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Format: TypeAlias = dict[str, Any]
"""How a data view shows a field: Kibana's formatter and its parameters."""


@dataclass(frozen=True, slots=True)
class DataView:
    """The fields of one family of indices, with labels and formats."""

    name: str
    title: str
    family: str
    time_field: str | None = None
    """The field of the time picker. Without it, Discover shows records of any time."""
    labels: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, Format] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    """Fields that Discover leaves out of a record."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A bucket for each of the most frequent values of a field."""

    field: str
    label: str
    size: int = 10


@dataclass(frozen=True, slots=True)
class Dates:
    """Buckets of time. Kibana chooses their width."""

    field: str
    label: str


@dataclass(frozen=True, slots=True)
class Count:
    """Number of records; `where` filters them in KQL."""

    label: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number computed from a field's values."""

    operation: Literal["sum", "median", "max", "unique_count"]
    field: str
    label: str


Bucket: TypeAlias = Terms | Dates
Value: TypeAlias = Count | Measure


@dataclass(frozen=True, slots=True)
class Metric:
    """One number."""

    name: str
    title: str
    view: DataView
    value: Value

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """Return an empty tuple: one number has no buckets."""
        return ()

    @property
    def values(self) -> tuple[Value, ...]:
        """Return the number, as a tuple."""
        return (self.value,)


@dataclass(frozen=True, slots=True)
class Table:
    """A row for each bucket within the buckets before it."""

    name: str
    title: str
    view: DataView
    buckets: tuple[Bucket, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Bars:
    """Stacked bars along `x`: one bar for each value, or one value split by a field."""

    name: str
    title: str
    view: DataView
    x: Bucket
    values: tuple[Value, ...]
    split: Terms | None = None

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """Return the split, if any, and the axis."""
        return (self.split, self.x) if self.split else (self.x,)


@dataclass(frozen=True, slots=True)
class Search:
    """A saved search: a table of records."""

    name: str
    title: str
    description: str
    view: DataView
    columns: Mapping[str, int | None]
    """Fields in order, with the widths of their columns in pixels."""
    sort: tuple[str, Literal["asc", "desc"]]
    where: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Markdown text on a dashboard."""

    text: str


@dataclass(frozen=True, slots=True)
class Control:
    """A filter of a dashboard: a list of a field's values."""

    view: DataView
    field: str
    label: str


Chart: TypeAlias = Metric | Table | Bars
Panel: TypeAlias = Chart | Search | Note


@dataclass(frozen=True, slots=True)
class Row:
    """Panels beside each other with their widths, of 48 columns. The height is in rows of Kibana's grid."""

    height: int
    panels: tuple[tuple[Panel, int], ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of panels below controls. `time` is the initial range of the time picker."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    controls: tuple[Control, ...] = ()
    time: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert rule: compares the number of matching records within a window with a threshold."""

    name: str
    title: str
    family: str
    time_field: str
    query: Mapping[str, Any]
    comparator: Literal["<", ">"]
    threshold: int
    window_hours: int
    interval: str

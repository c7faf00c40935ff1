"""What Kibana's objects are declared with. Objects name each other as Python values, so no reference can be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Format: TypeAlias = dict[str, Any]
"""How a data view shows a field: Kibana's formatter and its parameters."""


@dataclass(frozen=True, slots=True)
class DataView:
    """The fields of one family of indices, as people see them."""

    name: str
    title: str
    family: str
    time_field: str | None = None
    """What the time picker means; without one Discover shows everything."""
    labels: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, Format] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    """Fields that Discover does not show with a record."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A bucket for each of the most frequent values of a field."""

    field: str
    label: str
    size: int = 10


@dataclass(frozen=True, slots=True)
class Dates:
    """Buckets of time, as wide as Kibana finds right."""

    field: str
    label: str


@dataclass(frozen=True, slots=True)
class Count:
    """How many records there are; `where` narrows them down in KQL."""

    label: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number made of a field's values."""

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
        """None."""
        return ()

    @property
    def values(self) -> tuple[Value, ...]:
        """Return the one number."""
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
    """Stacked bars: along `x` the values, or one of them split by a field."""

    name: str
    title: str
    view: DataView
    x: Bucket
    values: tuple[Value, ...]
    split: Terms | None = None

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """Return the split, if there is one, and what lies along the axis."""
        return (self.split, self.x) if self.split else (self.x,)


@dataclass(frozen=True, slots=True)
class Search:
    """A saved search: a table of records."""

    name: str
    title: str
    description: str
    view: DataView
    columns: Mapping[str, int | None]
    """Fields, in order, and the width of their columns in pixels."""
    sort: tuple[str, Literal["asc", "desc"]]
    where: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Words on a dashboard, in Markdown."""

    text: str


@dataclass(frozen=True, slots=True)
class Control:
    """A list of a field's values to choose from."""

    view: DataView
    field: str
    label: str


Chart: TypeAlias = Metric | Table | Bars
Panel: TypeAlias = Chart | Search | Note


@dataclass(frozen=True, slots=True)
class Row:
    """Panels beside each other and their widths, of 48 columns; the height is in steps of Kibana's grid."""

    height: int
    panels: tuple[tuple[Panel, int], ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of panels below controls; `time` is the range that it opens with."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    controls: tuple[Control, ...] = ()
    time: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert rule: how many records of a family match within a window, compared with a threshold."""

    name: str
    title: str
    family: str
    time_field: str
    query: Mapping[str, Any]
    comparator: Literal["<", ">"]
    threshold: int
    window_hours: int
    interval: str

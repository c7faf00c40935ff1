"""Draws docs/dashboard-data.jpg: what the dashboards' panels ask of the configured cluster, and what it answers.

This is not Kibana: layout and requests are those of the shipped objects, bars and tables are drawn here. Chromium takes
the picture.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch
from PIL import Image, ImageChops

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.core.settings import Settings, load
from pipeline.kibana.bundle import Bundle
from pipeline.services import elasticsearch_url
from support.kql import searched
from support.lens import Chart, charts, rows, search_body
from tools.kibana.fields import mapped_fields

TARGET = Path(__file__).parents[2] / "docs" / "dashboard-data.jpg"
#: Panels of a dashboard that are drawn; further down are tables of the same kinds.
LOWEST_ROW = 45
SIZE = (1380, 2400)
JPEG_QUALITY = 60
NOW = datetime.now(UTC)
RANGES = {
    "pagesight-search": (NOW - timedelta(days=365 * 30), NOW + timedelta(days=365)),
    "pagesight-ingest": (NOW - timedelta(days=7), NOW),
}
STYLE = """
body { font: 13px/1.35 "Liberation Sans", sans-serif; background: #f1f4fa; margin: 0; padding: 14px; color: #1d2a3e }
h1 { font-size: 17px; margin: 12px 0 8px } h2 { font-size: 12px; margin: 0 0 6px; color: #516381 }
.note { background: #fff3d0; padding: 7px 10px }
.grid { display: grid; grid-template-columns: repeat(48, 1fr); gap: 6px; align-items: stretch }
.panel { background: #fff; border: 1px solid #dbe1ec; padding: 8px; overflow: hidden; min-width: 0 }
.metric { font-size: 26px } table { border-collapse: collapse; width: 100%; font-size: 12px }
td, th { text-align: left; padding: 2px 6px; border-bottom: 1px solid #eef1f6; vertical-align: top }
.bar { display: grid; grid-template-columns: 120px 1fr; gap: 6px; margin: 2px 0; font-size: 12px }
.bar i { display: inline-block; height: 11px } img { max-width: 120px; max-height: 90px }
"""
COLOURS = ("#16c5c0", "#a6edea", "#61a2ff", "#f6726a", "#ee72a6", "#ffc9c2", "#bfdbff", "#eaae01")


class Drawing:
    def __init__(self, settings: Settings, client: Elasticsearch) -> None:
        bundle = Bundle("default", settings.elasticsearch_prefix, settings.pages_url)
        self._objects = {entry["id"]: entry for entry in bundle.objects}
        self._charts = charts(bundle.objects)
        self._client = client
        self._archive = Path(settings.archive_url)

    def page(self) -> str:
        dashboards = [entry for entry in self._objects.values() if entry["type"] == "dashboard"]
        note = "Drawn outside Kibana, from the answers of Elasticsearch to the requests of these dashboards’ panels."
        body = "".join(
            map(self._dashboard, sorted(dashboards, key=lambda entry: list(self._objects).index(entry["id"])))
        )
        return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><div class=note>{note}</div>{body}"

    def _dashboard(self, dashboard: dict[str, Any]) -> str:
        targets = {reference["name"]: reference["id"] for reference in dashboard["references"]}
        panels = []
        for panel in json.loads(dashboard["attributes"]["panelsJSON"]):
            place = panel["gridData"]
            if place["y"] >= LOWEST_ROW or "panelRefName" not in panel:
                continue
            target = self._objects[targets[f"{panel['panelIndex']}:{panel['panelRefName']}"]]
            inner = self._chart(target, dashboard["id"]) if target["type"] == "lens" else self._search(target)
            where = f"grid-column: {place['x'] + 1} / span {place['w']}"
            panels.append(
                f"<div class=panel style='{where}'><h2>{escape(target['attributes']['title'])}</h2>{inner}</div>"
            )
        return f"<h1>{escape(dashboard['attributes']['title'])}</h1><div class=grid>{''.join(panels)}</div>"

    def _chart(self, target: dict[str, Any], dashboard: str) -> str:
        chart = self._charts[target["id"]]
        title = chart.view["attributes"]["title"]
        family = self._family(title)
        body = search_body(chart, mapped_fields(family), range=RANGES.get(dashboard))
        found = rows(chart, self._client.search(index=title, **body).body)
        if chart.kind == "lnsMetric":
            return f"<div class=metric>{_text(next(iter(found[0].values())))}</div>"
        return self._table(chart, found) if chart.kind == "lnsDatatable" else _bars(chart, found)

    def _family(self, title: str) -> str:
        return title.rpartition("-")[2]

    def _table(self, chart: Chart, found: list[dict[str, Any]]) -> str:
        heads = "".join(f"<th>{escape(column['label'])}</th>" for column in chart.columns.values())
        lines = "".join(
            "<tr>"
            + "".join(
                f"<td>{self._cell(column['sourceField'], row[name])}</td>" for name, column in chart.columns.items()
            )
            for row in found[:6]
        )
        return f"<table><tr>{heads}</tr>{lines}</table>"

    def _cell(self, field: str, value: Any) -> str:
        if field == "view.thumbnail" and value:
            return f"<img src='file://{escape(str(self._archive / value.partition('?')[0]))}'>"
        return "<u>open page</u>" if field == "view.page" and value else _text(value)

    def _search(self, target: dict[str, Any]) -> str:
        attributes = target["attributes"]
        view = self._objects[target["references"][0]["id"]]["attributes"]
        typed = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]["query"]
        query = searched(typed, mapped_fields(self._family(view["title"])))
        fields = attributes["columns"]
        hits = self._client.search(index=view["title"], query=query, size=4)["hits"]["hits"]
        labels = json.loads(view["fieldAttrs"])
        heads = "".join(f"<th>{escape(labels.get(name, {}).get('customLabel', name))}</th>" for name in fields)
        lines = "".join(
            "<tr>" + "".join(f"<td>{self._cell(name, _value(hit['_source'], name))}</td>" for name in fields) + "</tr>"
            for hit in hits
        )
        return f"<table><tr>{heads}</tr>{lines}</table>"


def _value(record: dict[str, Any], name: str) -> Any:
    for part in name.split("."):
        record = record.get(part, {})
    return record or ""


def _text(value: Any) -> str:
    if isinstance(value, float):
        value = f"{value:,.1f}".removesuffix(".0")
    elif isinstance(value, int) and not isinstance(value, bool):
        value = f"{value:,}"
    text = str(value if value is not None else "–")
    return escape(text if len(text) <= 150 else text[:149] + "…")


def _bars(chart: Chart, found: list[dict[str, Any]]) -> str:
    """Each place along the axis as a line: its parts, by split or by value."""
    *split, axis = chart.buckets
    lines: dict[str, list[tuple[str, float]]] = {}
    for row in found:
        for name, column in chart.values.items():
            part = str(row[split[0]]) if split else column["label"]
            if row[name]:
                lines.setdefault(str(row[axis]), []).append((part, float(row[name])))
    parts = list(dict.fromkeys(part for line in lines.values() for part, _ in line))
    most = max((sum(amount for _, amount in line) for line in lines.values()), default=1)
    drawn = [
        f"<div class=bar><span>{_text(place.replace('T', ' ')[:16])}</span><span>"
        + "".join(
            f"<i style='width: {amount / most * 78:.1f}%; background: {COLOURS[parts.index(part) % len(COLOURS)]}'></i>"
            for part, amount in line
        )
        + f" {_text(sum(amount for _, amount in line))}</span></div>"
        for place, line in list(lines.items())[:8]
    ]
    legend = " ".join(
        f"<span style='color: {COLOURS[number % len(COLOURS)]}'>■</span> {_text(part)}"
        for number, part in enumerate(parts)
    )
    return "".join(drawn) + (f"<div>{legend}</div>" if split or len(chart.values) > 1 else "")


def main() -> None:
    settings = load()
    with Elasticsearch(elasticsearch_url(settings)) as client, tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "page.html", Path(folder) / "page.png"
        page.write_text(Drawing(settings, client).page(), encoding="utf-8")
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--hide-scrollbars",
        ]
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        subprocess.run(["chromium", *options, size, f"--screenshot={picture}", page.as_uri()], check=True)
        with Image.open(picture) as drawn:
            image = drawn.convert("RGB")
    # The window is higher than the page.
    background = Image.new("RGB", image.size, image.getpixel((1, image.height - 2)))
    bottom = ImageChops.difference(image, background).getbbox()
    image = image.crop((0, 0, image.width, bottom[3] + 14 if bottom else image.height))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    TARGET.write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()

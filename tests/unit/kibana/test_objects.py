"""What `mappings/kibana/` holds, and that the linter would notice if it were broken."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.models import DocumentStatus, PageKind, PageStatus, TextSource
from pipeline.kibana import Bundle
from pipeline.kibana.bundle import FILES, RULES_FILE, digest, lines
from support.kibana_linter import lint
from support.kql import KqlError, fields_of, parse
from tools.kibana.building import build
from tools.kibana.fields import mapped_fields

Object = dict[str, Any]

SHIPPED = files("mappings") / "kibana"


def shipped(*names: str) -> list[Object]:
    return [json.loads(line) for name in names for line in (SHIPPED / name).read_text(encoding="utf-8").splitlines()]


OBJECTS = shipped(*FILES)


def one(kind: str, name: str, objects: list[Object] = OBJECTS) -> Object:
    (found,) = (entry for entry in objects if (entry["type"], entry["id"]) == (kind, f"pagesight-{name}"))
    return found


def test_the_committed_files_are_those_that_the_declarations_make():
    built = build()
    assert set(built) == {*FILES, RULES_FILE}
    for name, objects in built.items():
        assert (SHIPPED / name).read_text(encoding="utf-8") == lines(objects), f"{name}: run `make kibana`"


def test_nothing_is_wrong_with_what_is_shipped():
    assert lint(OBJECTS) == []


@pytest.mark.parametrize("space", ["default", "archive-2"])
def test_nothing_is_wrong_with_what_is_installed(space):
    bundle = Bundle(space, "", "https://pages.example.org")
    assert lint([bundle.tag, *bundle.objects]) == []
    plain = json.dumps(OBJECTS) + json.dumps(shipped(RULES_FILE))
    # Ids are given a space by their beginning: nothing else may begin so.
    assert plain.count("pagesight-") == plain.count('"pagesight-') + plain.count("tag-ref-pagesight-")


@pytest.mark.parametrize(
    ("field", "values"),
    [("status", PageStatus), ("page.kind", PageKind), ("trust.text_source", TextSource)],
)
def test_every_word_of_a_field_is_explained(field: str, values: type[StrEnum]):
    formats = json.loads(one("index-pattern", "pages")["attributes"]["fieldFormatMap"])
    assert {entry["key"] for entry in formats[field]["params"]["lookupEntries"]} == set(values)


def test_every_word_of_a_document_s_status_is_explained():
    formats = json.loads(one("index-pattern", "documents")["attributes"]["fieldFormatMap"])
    assert {entry["key"] for entry in formats["status"]["params"]["lookupEntries"]} == set(DocumentStatus)


def test_discover_hides_no_page_by_its_time():
    assert "timeFieldName" not in one("index-pattern", "pages")["attributes"]


def test_rules_ask_for_fields_that_are_there():
    for rule in shipped(RULES_FILE):
        parameters = rule["params"]
        types = mapped_fields(parameters["index"][0])
        assert types[parameters["timeField"]] == "date"
        query = json.loads(parameters["esQuery"])["query"]
        assert all(field in types for field in query.get("term", {}))


def test_rules_have_uuids_that_stay():
    first, second = (Bundle("default", "", "http://x").rules for _ in range(2))
    other = Bundle("other", "", "http://x").rules
    assert [rule["id"] for rule in first] == [rule["id"] for rule in second]
    assert len({rule["id"] for rule in (*first, *other)}) == 4


def test_the_digest_minds_what_kibana_shows_and_not_how_often_it_was_used():
    used, edited = deepcopy(OBJECTS), deepcopy(OBJECTS)
    attributes = one("index-pattern", "pages", used)["attributes"]
    attributes["fieldAttrs"] = json.dumps(json.loads(attributes["fieldAttrs"]) | {"image.dpi": {"count": 3}})
    assert digest(reversed(used)) == digest(OBJECTS)
    one("dashboard", "search", edited)["attributes"]["title"] = "Mine"
    assert digest(edited) != digest(OBJECTS)


# --- objects that are broken, and what the linter says of each


def parsed(entry: Object, attribute: str, change: Callable[[Any], None]) -> None:
    value = json.loads(entry["attributes"][attribute])
    change(value)
    entry["attributes"][attribute] = json.dumps(value)


def layer(objects: list[Object], chart: str) -> Object:
    return one("lens", chart, objects)["attributes"]["state"]["datasourceStates"]["formBased"]["layers"]["layer"]


def visualization(objects: list[Object], chart: str) -> Object:
    return one("lens", chart, objects)["attributes"]["state"]["visualization"]


BROKEN: dict[str, tuple[Callable[[list[Object]], object], str]] = {
    "an unknown attribute": (
        lambda it: one("dashboard", "search", it)["attributes"].update(colour="red"),
        "colour: Extra inputs are not permitted",
    ),
    "an unknown key of an object": (lambda it: it[0].update(namespaces=[]), "namespaces: Extra inputs"),
    "an attribute of another type": (
        lambda it: one("search", "failures", it)["attributes"].update(rowHeight="auto"),
        "rowHeight: Input should be a valid integer",
    ),
    "an unknown type": (lambda it: it[0].update(type="canvas"), "nothing is known of this type"),
    "a newer version": (lambda it: it[-1].update(typeMigrationVersion="10.3.0"), "10.3.0 is above 10.2.0"),
    "a newer core version": (lambda it: it[-1].update(coreMigrationVersion="9.0.0"), "9.0.0 is above 8.8.0"),
    "two objects of one id": (lambda it: it.append(deepcopy(it[-1])), "2 objects have this id"),
    "a string that is no JSON": (
        lambda it: one("dashboard", "search", it)["attributes"].update(panelsJSON="[{]"),
        "does not hold JSON",
    ),
    "a reference that leads nowhere": (
        lambda it: it.remove(one("search", "failures", it)),
        "leads to search pagesight-failures, which is not there",
    ),
    "a missing reference": (
        lambda it: one("lens", "rate", it)["references"].pop(0),
        "there is not exactly one reference indexpattern-datasource-layer-layer",
    ),
    "a reference that nothing uses": (
        lambda it: one("search", "failures", it)["references"].append(
            {"type": "index-pattern", "id": "pagesight-pages", "name": "left over"}
        ),
        "nothing uses the reference left over",
    ),
    "a panel without its reference": (
        lambda it: one("dashboard", "search", it)["references"].pop(0),
        "there is not exactly one reference panel1:panel_panel1",
    ),
    "columns in another number": (lambda it: layer(it, "rate")["columnOrder"].pop(), "columnOrder and columns"),
    "a value before a bucket": (
        lambda it: layer(it, "rate")["columnOrder"].reverse(),
        "a value stands before a bucket",
    ),
    "an order by nothing": (
        lambda it: layer(it, "rate")["columns"]["bucket1"]["params"]["orderBy"].update(columnId="gone"),
        "ordered by gone, which is no value",
    ),
    "an accessor of nothing": (
        lambda it: visualization(it, "all-pages").update(metricAccessor="gone"),
        "shows a column gone, which is not there",
    ),
    "a column that is not shown": (
        lambda it: visualization(it, "by-collection")["columns"].pop(),
        "does not show the column value9",
    ),
    "a layer that is not there": (
        lambda it: visualization(it, "all-pages").update(layerId="other"),
        "draws other layers than there are",
    ),
    "a chart of an unmapped field": (
        lambda it: layer(it, "all-bytes")["columns"]["value1"].update(sourceField="image.weight"),
        "sum of image.weight, which is not mapped",
    ),
    "terms of a text": (
        lambda it: layer(it, "found-files")["columns"]["bucket1"].update(sourceField="document.name"),
        "terms does not suit document.name, a text",
    ),
    "terms of what is only shown": (
        lambda it: layer(it, "found-files")["columns"]["bucket1"].update(sourceField="error.remedy"),
        "terms does not suit error.remedy",
    ),
    "a sum of words": (
        lambda it: layer(it, "all-bytes")["columns"]["value1"].update(sourceField="status"),
        "sum does not suit status, a keyword",
    ),
    "a field called by another type": (
        lambda it: layer(it, "all-bytes")["columns"]["value1"].update(dataType="date"),
        "image.bytes is called a date",
    ),
    "a value called a bucket": (
        lambda it: layer(it, "all-bytes")["columns"]["value1"].update(isBucketed=True),
        "sum is a bucket, or is none",
    ),
    "a count of a field": (
        lambda it: layer(it, "all-pages")["columns"]["value1"].update(sourceField="status"),
        "records are counted by the field status",
    ),
    "a column's filter of an unmapped field": (
        lambda it: layer(it, "all-failed")["columns"]["value1"]["filter"].update(query="state: failed"),
        "a query names the field state",
    ),
    "a query that Kibana cannot read": (
        lambda it: layer(it, "all-failed")["columns"]["value1"]["filter"].update(query="status: (failed"),
        "Kibana cannot read the query",
    ),
    "a column of an unmapped field": (
        lambda it: one("search", "failures", it)["attributes"]["columns"].append("error.code"),
        "a column names the field error.code",
    ),
    "a sort by an unmapped field": (
        lambda it: one("search", "failures", it)["attributes"].update(sort=[["written_at", "desc"]]),
        "a column names the field written_at",
    ),
    "a format of an unmapped field": (
        lambda it: parsed(
            one("index-pattern", "pages", it), "fieldFormatMap", lambda formats: formats.update(size={"id": "bytes"})
        ),
        "a format names the field size",
    ),
    "a format that does not suit": (
        lambda it: parsed(
            one("index-pattern", "pages", it), "fieldFormatMap", lambda formats: formats.update(text={"id": "bytes"})
        ),
        "the format bytes does not suit text",
    ),
    "a relative link": (
        lambda it: parsed(
            one("index-pattern", "pages", it),
            "fieldFormatMap",
            lambda formats: formats["view.page"]["params"].update(urlTemplate="/view/{{rawValue}}"),
        ),
        "the link of view.page is relative",
    ),
    "an image from elsewhere": (
        lambda it: parsed(
            one("index-pattern", "pages", it),
            "fieldFormatMap",
            lambda formats: formats["view.thumbnail"]["params"].update(urlTemplate="https://x.org/{{rawValue}}"),
        ),
        "comes from another origin than Kibana",
    ),
    "a label of an unmapped field": (
        lambda it: parsed(one("index-pattern", "pages", it), "fieldAttrs", lambda labels: labels.update(size={})),
        "a label names the field size",
    ),
    "a time field that is none": (
        lambda it: one("index-pattern", "pages-by-date", it)["attributes"].update(timeFieldName="page.number"),
        "the time field page.number is no date",
    ),
    "a data view of no indices of ours": (
        lambda it: one("index-pattern", "runs", it)["attributes"].update(title="jobs"),
        "there is no family of indices 'jobs'",
    ),
    "a panel beyond the edge": (
        lambda it: parsed(
            one("dashboard", "search", it), "panelsJSON", lambda panels: panels[3]["gridData"].update(w=20)
        ),
        "the panel panel4 is beyond the right edge",
    ),
    "panels that overlap": (
        lambda it: parsed(
            one("dashboard", "search", it), "panelsJSON", lambda panels: panels[0]["gridData"].update(w=7)
        ),
        "the panels panel1 and panel2 overlap",
    ),
    "a panel in another's place": (
        lambda it: parsed(
            one("dashboard", "search", it), "panelsJSON", lambda panels: panels[0]["gridData"].update(i="panel9")
        ),
        "the panel panel1 has the place of panel9",
    ),
    "a control of a text": (
        lambda it: _control(it, fieldName="description"),
        "lists values of description, which has none to list",
    ),
    "a control of another data view": (
        lambda it: _control(it, dataViewId="logs"),
        "the control control1 names another control or data view",
    ),
}


def _control(objects: list[Object], **changed: str) -> None:
    group = one("dashboard", "search", objects)["attributes"]["controlGroupInput"]
    controls = json.loads(group["panelsJSON"])
    controls["control1"]["explicitInput"].update(changed)
    group["panelsJSON"] = json.dumps(controls)


@pytest.mark.parametrize("name", BROKEN)
def test_the_linter_finds(name):
    breaking, words = BROKEN[name]
    objects = deepcopy(OBJECTS)
    breaking(objects)
    problems = lint(objects)
    assert any(words in problem for problem in problems), problems


@pytest.mark.parametrize("query", ["(a", "a)", "status:", "a: (b or", "{}", 'x: "y'])
def test_what_kibana_calls_a_syntax_error_is_one_for_the_linter(query):
    with pytest.raises(KqlError):
        parse(query)


def test_the_examples_in_the_documentation_are_kql_and_name_fields_that_are_there():
    text = (Path(__file__).parents[3] / "docs" / "kibana.md").read_text(encoding="utf-8")
    table = text.partition("| query | finds |")[2].partition("\n\n")[0]
    examples = [
        typed for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for typed in re.findall(r"`(.+?)`", row)
    ]
    assert len(examples) > 10
    for typed in examples:
        assert set(fields_of(parse(typed))) <= mapped_fields("pages").keys(), typed

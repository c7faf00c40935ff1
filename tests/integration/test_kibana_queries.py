"""What people type and choose in Kibana, and what its charts ask for, on a real node.

Kibana itself does not run here: `support.kql` and `support.lens` make of queries and charts what it would send.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from pipeline.core.retry import CancelToken
from pipeline.kibana.bundle import FILES, RULES_FILE
from pipeline.search import BATCHES, DOCUMENTS, PAGES, RUNS, SOURCES, Write
from pipeline.search.index import Index
from support.kql import control, searched
from support.lens import Chart, charts, controls, rows, search_body, time_filter
from support.page_records import error, failed_source, page, page_write
from tools.kibana.fields import mapped_fields

NOW = datetime.now(UTC).replace(microsecond=0)
SHIPPED = files("mappings") / "kibana"
OBJECTS = [json.loads(line) for name in FILES for line in (SHIPPED / name).read_text(encoding="utf-8").splitlines()]
CHARTS = charts(OBJECTS)
TYPES = mapped_fields("pages")


def model(tokens_out: int) -> dict[str, Any]:
    return {
        "name": "jina-vlm",
        "revision": "1",
        "profile": "standard",
        "prompt_revision": "p1",
        "tokens_in": 1000,
        "tokens_out": tokens_out,
        "seconds": tokens_out / 100,
        "attempts": 1,
        "described_at": NOW.isoformat(),
    }


def document(id: str, name: str, year: int, **more: Any) -> dict[str, Any]:
    return {"id": id * 32, "name": name, "modified": f"{year}-05-01T00:00:00Z"} | more


def view(id: str, number: int) -> dict[str, str]:
    return {"page": f"works/{id * 32}/{number}?key=k", "thumbnail": f"thumbnails/{id}{number}.webp?key=k"}


LEDGER = document("aa", "ledger.pdf", 2019, title="Harbour accounts")
BERICHT = document("bb", "bericht.pdf", 2021, title="Jahresbericht")
BOOK = document("cc", "book.pdf", 2023)


def german(text: str) -> dict[str, Any]:
    return {"text": text, "i18n": {"text": {"de": text}}}


RECORDS = [
    page(
        1,
        document=LEDGER,
        collection="works",
        text="Net income rose by a tenth; income net of tax fell.",
        description="A photograph of a lighthouse at night.",
        caption="Lantern above the pier",
        language={"requested": "en", "text": "en", "description": "en"},
        trust={"text_source": "model", "truncated": False, "suspect": False},
        model=model(100),
        view=view("aa", 1),
        image={"bytes": 1000, "width": 800, "height": 1000, "key": "x.jpg", "thumbnail_key": "x.webp"},
        archived_at=NOW.isoformat(),
    )
    | {"page": {"number": 1, "kind": "mixed"}},
    page(
        2,
        document=LEDGER,
        collection="works",
        text="Income: see overleaf",
        layer_text="Wharfage and moorings",
        language={"requested": "en", "text": "en", "description": "en"},
        trust={"text_source": "layer", "truncated": True, "suspect": True, "reasons": ["truncated"]},
        model=model(300),
        view=view("aa", 2),
        archived_at=NOW.isoformat(),
    )
    | {"page": {"number": 2, "kind": "born_digital"}},
    page(
        3,
        document=LEDGER,
        collection="works",
        status="failed",
        error=error("answer_unusable", "the answer broke off"),
        archived_at=NOW.isoformat(),
    ),
    page(
        4,
        document=BERICHT,
        collection="berichte",
        **german("Die Häuser am Hafen und die Donaudampfschifffahrt"),
        translation="The houses by the quay",
        language={"requested": "en", "text": "de", "description": "en"},
        trust={"text_source": "model", "truncated": False, "suspect": False},
        model=model(200),
        view=view("bb", 4),
        archived_at=(NOW - timedelta(days=3)).isoformat(),
    )
    | {"page": {"number": 4, "kind": "scanned"}},
    page(
        5,
        document=BOOK,
        collection="books",
        text="東京都の地図",
        i18n={"text": {"ja": "東京都の地図"}},
        language={"requested": "en", "text": "ja", "description": "en"},
        status="text_only",
        trust={"text_source": "ocr", "truncated": False, "suspect": False},
        view=view("cc", 5),
        archived_at=(NOW - timedelta(days=30)).isoformat(),
    )
    | {"page": {"number": 5, "kind": "scanned"}},
    page(6, document=document("dd", "empty.pdf", 2023), collection="books", status="blank", archived_at=NOW.isoformat())
    | {"page": {"number": 6, "kind": "blank"}},
]


def other_records() -> Iterator[Write]:
    for record in (LEDGER, BERICHT):
        kept = {"media_type": "application/pdf", "bytes": 4096, "pages": 3} | record
        yield Write(DOCUMENTS, record["id"], 1, {"collection": "works", "document": kept, "status": "complete"})
    yield failed_source(1)
    started = {"started_at": NOW.isoformat(), "ended_at": NOW.isoformat(), "seconds": 60.0}
    for number, state in enumerate(["done", "done", "halted"]):
        batch = {"id": f"b{number}", "collection": "works", "state": state, "lane": "normal", "tokens": 500}
        yield Write(BATCHES, f"b{number}", 1, batch | started)
    run = {"schedule": "repair", "action": "repair", "due_at": NOW.isoformat(), "outcome": "done"}
    yield Write(RUNS, "repair:1", 1, run | started)


@pytest.fixture(scope="module")
def cluster(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    """A node with the records above; nothing here changes them."""
    with Index(elasticsearch_url) as index, Elasticsearch(elasticsearch_url) as client:
        index.drop()
        index.install()
        assert not index.write([*map(page_write, RECORDS), *other_records()], CancelToken()).refused
        for alias in (PAGES, SOURCES, DOCUMENTS, BATCHES, RUNS):
            index.refresh(alias)
        yield client


def found(cluster: Elasticsearch, query: dict[str, Any], **more: Any) -> list[int]:
    """Numbers of the pages that a request finds; each has one of its own here."""
    answer = cluster.search(index=PAGES, query=query, size=100, **more)
    return [hit["_source"]["page"]["number"] for hit in answer["hits"]["hits"]]


@pytest.mark.parametrize(
    ("typed", "pages"),
    [
        # A bare word is found wherever words are: description, caption, text, text layer, translation, title, name.
        ("lighthouse", [1]),
        ("lantern", [1]),
        ("overleaf", [2]),
        ("wharfage", [2]),
        ("quay", [4]),
        ("harbour", [1, 2, 3]),
        ("ledger", [1, 2, 3]),
        ("ledger.pdf", [1, 2, 3]),
        # In their language's other forms, and by pairs of characters where there are no spaces.
        ("Haus", [4]),
        ("東京", [5]),
        # Several words: any of them; all of them; next to each other.
        ("lighthouse overleaf", [1, 2]),
        ("income and lighthouse", [1]),
        ('"net income"', [1]),
        ('"income net"', [1]),
        ('"net of income"', []),
        # Beginnings and endings.
        ("wharf*", [2]),
        ("*dampfschifffahrt", [4]),
        ("*schiff*", [4]),
        ("schiff", []),
        ("text: inc*me", [1, 2]),
        # Fields: texts by words, keywords as a whole.
        ("text: income", [1, 2]),
        ('text: "net income"', [1]),
        ("description: income", []),
        ("document.title: harbour", [1, 2, 3]),
        ("document.name: ledger.pdf", [1, 2, 3]),
        ("status: failed", [3]),
        ("status: fail", []),
        ("status: fail*", [3]),
        ("error.message: broke", [3]),
        ("collection: (works or books) and not status: failed", [1, 2, 5, 6]),
        ("trust.suspect: true", [2]),
        ("trust.reasons: *", [2]),
        ("not text: *", [3, 6]),
        ("*.pdf: x", []),
        ("document.t*: harbour", [1, 2, 3]),
        # Ranges.
        ("page.number >= 2 and page.number < 5", [2, 3, 4]),
        ('document.modified >= "2021-01-01"', [4, 5, 6]),
        ('document.modified < "2020"', [1, 2, 3]),
        ("model.tokens_out > 150", [2, 4]),
        # Nested.
        ("(lighthouse or (text: overleaf and trust.suspect: true)) and not collection: books", [1, 2]),
        ("language.text: de or language.text: ja", [4, 5]),
        # What a page says is never syntax.
        (r"text: \(income\)", [1, 2]),
        ("", [1, 2, 3, 4, 5, 6]),
        ("*", [1, 2, 3, 4, 5, 6]),
    ],
)
def test_what_is_typed_into_the_bar_finds(cluster, typed, pages):
    assert sorted(found(cluster, searched(typed, TYPES))) == pages


def test_the_best_match_comes_first_where_the_table_is_sorted_by_score(cluster):
    for name in ("search-pages", "pages-found"):
        (search,) = (entry for entry in OBJECTS if entry["id"] == f"pagesight-{name}")
        ((field, direction),) = search["attributes"]["sort"]
        query = searched("income overleaf", TYPES, scored=field == "_score")
        assert found(cluster, query, sort=[{field: direction}]) == [2, 1]


@pytest.mark.parametrize(
    ("chosen", "pages"),
    [
        ({"collection": ["works"]}, [1, 2, 3]),
        ({"collection": ["works", "books"]}, [1, 2, 3, 5, 6]),
        ({"language.text": ["en"], "page.kind": ["mixed"]}, [1]),
        ({"status": ["text_only", "blank"]}, [5, 6]),
        ({"collection": ["works"], "language.text": ["de"]}, []),
    ],
)
def test_controls_narrow_down_what_is_typed(cluster, chosen, pages):
    filters = [control(field, *values) for field, values in chosen.items()]
    assert sorted(found(cluster, searched("", TYPES, *filters))) == pages


def test_the_time_picker_of_the_search_dashboard_means_the_date_of_the_file(cluster):
    dated = next(entry for entry in OBJECTS if entry["id"] == "pagesight-pages-by-date")
    undated = next(entry for entry in OBJECTS if entry["id"] == "pagesight-pages")
    years = datetime(2020, 1, 1, tzinfo=UTC), datetime(2022, 1, 1, tzinfo=UTC)
    assert found(cluster, searched("", TYPES, *time_filter(dated, years))) == [4]
    assert len(found(cluster, searched("", TYPES, *time_filter(undated, years)))) == len(RECORDS)


def test_every_saved_search_can_be_asked(cluster):
    """With its columns, its sort and its query; strict about fields that are not mapped."""
    views = {entry["id"]: entry["attributes"]["title"] for entry in OBJECTS if entry["type"] == "index-pattern"}
    counts = {}
    for search in (entry for entry in OBJECTS if entry["type"] == "search"):
        attributes = search["attributes"]
        family = views[search["references"][0]["id"]]
        typed = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]["query"]
        sort = [{field: {"order": direction}} for field, direction in attributes["sort"]]
        answer = cluster.search(
            index=family,
            query=searched(typed, mapped_fields(family)),
            sort=sort,
            fields=attributes["columns"],
            size=500,
        )
        counts[search["id"].removeprefix("pagesight-")] = answer["hits"]["total"]["value"]
    assert counts == {
        "search-pages": 6,
        "pages-found": 6,
        "pages-to-look-at": 1,
        "failures": 1,
        "failed-sources": 1,
        "batch-list": 3,
        "run-list": 1,
    }


def shown(cluster: Elasticsearch, name: str, **more: Any) -> list[list[Any]]:
    """What a chart shows: its rows, each as a list in the order of its columns."""
    chart = CHARTS[f"pagesight-{name}"]
    family = chart.view["attributes"]["title"]
    answer = cluster.search(index=family, **search_body(chart, mapped_fields(family), **more))
    return [[row[column] for column in chart.columns] for row in rows(chart, answer.body)]


@pytest.mark.parametrize("id", CHARTS)
def test_every_chart_can_be_asked(cluster, id):
    chart: Chart = CHARTS[id]
    name = id.removeprefix("pagesight-")
    years = datetime(2015, 1, 1, tzinfo=UTC), NOW + timedelta(minutes=1)
    assert shown(cluster, name, range=years), chart.title
    assert shown(cluster, name), chart.title
    shown(cluster, name, range=(NOW - timedelta(hours=1), NOW))


def test_every_control_lists_values(cluster):
    for dashboard in (entry for entry in OBJECTS if entry["type"] == "dashboard"):
        for body in controls(dashboard):
            answer = cluster.search(index=PAGES, **body)
            assert answer["aggregations"]["suggestions"]["buckets"], body


def test_charts_count_what_is_there(cluster):
    assert shown(cluster, "all-pages") == [[6]]
    assert shown(cluster, "all-documents") == [[4]]
    assert shown(cluster, "all-failed") == [[1]]
    assert shown(cluster, "all-suspect") == [[1]]
    #                                     pages documents described text blank failed suspect tokens
    assert shown(cluster, "by-collection") == [
        ["works", 3, 1, 2, 0, 0, 1, 1, 2000, 400],
        ["books", 2, 2, 0, 1, 1, 0, 0, 0, 0],
        ["berichte", 1, 1, 1, 0, 0, 0, 0, 1000, 200],
    ]
    assert shown(cluster, "failure-classes") == [["answer_unusable", "false", 1, 1]]
    assert shown(cluster, "suspect-pages") == [
        ["truncated", view("aa", 2)["thumbnail"], view("aa", 2)["page"], 1],
    ]
    assert shown(cluster, "media-types") == [["application/pdf", 2, 6, 8192]]
    assert shown(cluster, "revisions")[0][:5] == ["jina-vlm", "1", "standard", "p1", 3]
    assert shown(cluster, "batch-times") == [["works", "done", 2, 60, 60], ["works", "halted", 1, 60, 60]]


def test_charts_keep_to_time_bar_and_controls(cluster):
    week = NOW - timedelta(days=7), NOW + timedelta(minutes=1)
    assert shown(cluster, "indexed-pages", range=week) == [[5]]
    assert sum(row[-1] for row in shown(cluster, "rate", range=week)) == 5
    assert shown(cluster, "tokens-received", range=week) == [[600]]
    chosen = [control("collection", "berichte")]
    assert shown(cluster, "indexed-pages", range=week, filters=chosen) == [[1]]
    typed = [searched("income", TYPES)]
    assert shown(cluster, "found-pages", filters=typed) == [[2]]


def test_rules_would_fire_on_what_they_are_for(cluster):
    counts = {}
    for rule in (json.loads(line) for line in (SHIPPED / RULES_FILE).read_text(encoding="utf-8").splitlines()):
        parameters = rule["params"]
        window = {"gte": f"now-{parameters['timeWindowSize']}{parameters['timeWindowUnit']}"}
        clauses = [json.loads(parameters["esQuery"])["query"], {"range": {parameters["timeField"]: window}}]
        answer = cluster.search(index=parameters["index"][0], query={"bool": {"filter": clauses}}, size=0)
        counts[rule["name"]] = answer["hits"]["total"]["value"]
    assert counts == {"Pagesight: many pages failed": 1, "Pagesight: nothing was indexed for a day": 4}

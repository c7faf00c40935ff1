"""Declarations of Pagesight's objects in Kibana. `make kibana` builds `mappings/kibana/` from them."""

from __future__ import annotations

from pipeline.kibana.bundle import PAGES_URL
from tools.kibana.declarations import (
    Bars,
    Control,
    Count,
    Dashboard,
    Dates,
    Format,
    Measure,
    Metric,
    Note,
    Row,
    Rule,
    Search,
    Table,
    Terms,
)
from tools.kibana.declarations import DataView as View

_THUMBNAIL: Format = {
    "id": "url",
    "params": {
        "type": "img",
        # Relative: thumbnails come from Kibana's own origin, where its Content Security Policy allows them.
        "urlTemplate": "/page-images/{{rawValue}}",
        "labelTemplate": "page image",
        "width": "220",
        "height": "160",
    },
}
_PAGE_LINK: Format = {
    "id": "url",
    # Absolute: Kibana prefixes relative links with its own base path and space.
    "params": {"type": "a", "urlTemplate": f"{PAGES_URL}/view/{{{{rawValue}}}}", "labelTemplate": "open page"},
}
_BYTES: Format = {"id": "bytes"}


def _lookup(**words: str) -> Format:
    entries = [{"key": key, "value": value} for key, value in words.items()]
    return {"id": "static_lookup", "params": {"lookupEntries": entries, "unknownKeyValue": ""}}


_PAGE_STATUS = _lookup(
    described="described", text_only="read without a model", blank="blank", failed="failed, see the error"
)
_PAGE_KIND = _lookup(
    born_digital="drawn by a program", scanned="scan or photograph", mixed="drawn, with pictures", blank="blank"
)
_TEXT_SOURCE = _lookup(model="the model", layer="the file's text layer", ocr="OCR")
_DOCUMENT_STATUS = _lookup(
    complete="complete", partial="some pages failed", failed="all pages failed", working="still being read"
)

_PAGE_FIELDS = {
    "labels": {
        "view.thumbnail": "Page image",
        "view.page": "Link",
        "document.title": "Title",
        "document.name": "File",
        "document.path": "Path of the file",
        "document.media_type": "Format",
        "document.modified": "Date of the file",
        "page.number": "Page",
        "page.kind": "Kind of page",
        "language.text": "Language of the text",
        "language.description": "Language of the description",
        "collection": "Collection",
        "status": "Status",
        "description": "Description",
        "caption": "Caption",
        "text": "Text",
        "translation": "Translation",
        "layer_text": "Text layer of the file",
        "trust.suspect": "To be looked at",
        "trust.reasons": "Why",
        "trust.text_source": "Text comes from",
        "error.type": "Failure",
        "error.message": "Cause",
        "error.remedy": "Remedy",
        "archived_at": "Read",
    },
    "formats": {
        "view.thumbnail": _THUMBNAIL,
        "view.page": _PAGE_LINK,
        "document.bytes": _BYTES,
        "image.bytes": _BYTES,
        "status": _PAGE_STATUS,
        "page.kind": _PAGE_KIND,
        "trust.text_source": _TEXT_SOURCE,
    },
    "hidden": ("i18n.*", "fingerprint"),
}

PAGES = View("pages", "Pages", "pages", **_PAGE_FIELDS)  # type: ignore[arg-type]
PAGES_BY_DATE = View("pages-by-date", "Pages by date of their files", "pages", "document.modified", **_PAGE_FIELDS)  # type: ignore[arg-type]
OPERATIONS = View("operations", "Pages by time of reading", "pages", "archived_at", **_PAGE_FIELDS)  # type: ignore[arg-type]
DOCUMENTS = View(
    "documents",
    "Documents",
    "documents",
    labels={"document.name": "File", "document.title": "Title", "document.pages": "Pages", "status": "Status"},
    formats={"document.bytes": _BYTES, "status": _DOCUMENT_STATUS},
)
SOURCES = View(
    "sources",
    "Sources",
    "sources",
    labels={"path": "Path of the file", "error.type": "Failure", "error.message": "Cause"},
    formats={"bytes": _BYTES},
)
BATCHES = View(
    "batches",
    "Batches",
    "batches",
    "started_at",
    labels={
        "id": "Batch",
        "state": "State",
        "cause": "Cause",
        "lane": "Lane",
        "seconds": "Seconds",
        "tokens": "Tokens",
    },
)
RUNS = View(
    "runs",
    "Runs of schedules",
    "runs",
    "due_at",
    labels={"schedule": "Schedule", "due_at": "Due", "outcome": "Outcome", "seconds": "Seconds"},
)
VIEWS = (PAGES, PAGES_BY_DATE, OPERATIONS, DOCUMENTS, SOURCES, BATCHES, RUNS)

_PAGE_COLUMNS = {
    "view.thumbnail": 240,
    "view.page": 100,
    "document.title": 200,
    "document.name": 180,
    "page.number": 70,
    "description": None,
    "text": None,
}
SEARCH_PAGES = Search(
    "search-pages",
    "Search pages",
    "Every page, with its image: type words into the bar. Best matches come first.",
    PAGES,
    _PAGE_COLUMNS,
    ("_score", "desc"),
)
PAGES_FOUND = Search(
    "pages-found",
    "Pages of files with a date",
    "The pages of the dashboard “Search”, narrowed down by the date of their files.",
    PAGES_BY_DATE,
    _PAGE_COLUMNS,
    ("_score", "desc"),
)
TO_LOOK_AT = Search(
    "pages-to-look-at",
    "Pages to look at",
    "Pages whose answers were cut off, or that look wrong in another way.",
    PAGES,
    {
        "view.thumbnail": 240,
        "view.page": 100,
        "document.name": 180,
        "page.number": 70,
        "trust.reasons": 220,
        "description": None,
        "text": None,
    },
    ("archived_at", "desc"),
    where="trust.suspect: true",
)
FAILURES = Search(
    "failures",
    "Failures",
    "Pages that could not be read, with cause and remedy.",
    PAGES,
    {
        "view.page": 100,
        "collection": 120,
        "document.name": 200,
        "page.number": 70,
        "error.type": 140,
        "error.message": None,
        "error.remedy": None,
        "error.attempts": 90,
        "archived_at": 180,
    },
    ("archived_at", "desc"),
    where="status: failed",
)
FAILED_SOURCES = Search(
    "failed-sources",
    "Files that could not be read",
    "Files without a single page, with cause and remedy.",
    SOURCES,
    {"collection": 120, "path": None, "error.type": 140, "error.message": None, "error.remedy": None},
    ("indexed_at", "desc"),
    where="state: failed",
)
BATCH_LIST = Search(
    "batch-list",
    "Batches",
    "Every request to process sources, and how it went.",
    BATCHES,
    {
        "started_at": 180,
        "id": 200,
        "collection": 120,
        "lane": 90,
        "state": 100,
        "cause": 200,
        "documents.failed": 90,
        "pages.described": 90,
        "pages.text_only": 90,
        "pages.failed": 90,
        "model_calls": 90,
        "tokens": 90,
        "seconds": 90,
    },
    ("started_at", "desc"),
)
RUN_LIST = Search(
    "run-list",
    "Runs of schedules",
    "What ran by itself, when, and how it ended.",
    RUNS,
    {
        "due_at": 180,
        "schedule": 140,
        "action": 140,
        "outcome": 100,
        "seconds": 90,
        "counts.differences": 110,
        "error.message": None,
    },
    ("due_at", "desc"),
)
SEARCHES = (SEARCH_PAGES, PAGES_FOUND, TO_LOOK_AT, FAILURES, FAILED_SOURCES, BATCH_LIST, RUN_LIST)

_LANGUAGE = Terms("language.text", "Language", 20)
_COLLECTION = Terms("collection", "Collection", 50)
_PAGE_COUNT = Count("Pages")
_FAILED = Count("Failed", "status: failed")
_SUSPECT = Count("To be looked at", "trust.suspect: true")
_DOCUMENT_COUNT = Measure("unique_count", "document.id", "Documents")


def _controls(view: View) -> tuple[Control, ...]:
    return (
        Control(view, "collection", "Collection"),
        Control(view, "language.text", "Language"),
        Control(view, "page.kind", "Kind of page"),
        Control(view, "status", "Status"),
    )


SEARCH_DASHBOARD = Dashboard(
    "search",
    "Pagesight: search",
    "Words in the bar, collection, language, kind and status by the lists, the date of the files by the time picker.",
    controls=_controls(PAGES_BY_DATE),
    time=("1970-01-01T00:00:00.000Z", "now+1y"),
    rows=(
        Row(
            7,
            (
                (Metric("found-pages", "Pages", PAGES_BY_DATE, _PAGE_COUNT), 6),
                (Metric("found-documents", "Documents", PAGES_BY_DATE, _DOCUMENT_COUNT), 6),
                (
                    Bars(
                        "found-dates",
                        "Pages by date of the file",
                        PAGES_BY_DATE,
                        Dates("document.modified", "Date of the file"),
                        (_PAGE_COUNT,),
                    ),
                    20,
                ),
                (
                    Note(
                        "A bare word is looked for in descriptions, captions, text, translations and titles. "
                        '`"net income"` is a phrase, `text: tax*` a beginning in one field, '
                        "`language.text: de and not status: blank` narrows down.\n\n"
                        "Pages of files without a date are not here: "
                        "they are found in Discover, by the saved search *Search pages*."
                    ),
                    16,
                ),
            ),
        ),
        Row(
            8,
            (
                (Bars("found-languages", "Languages", PAGES_BY_DATE, _LANGUAGE, (_PAGE_COUNT,)), 16),
                (
                    Bars("found-kinds", "Kinds of page", PAGES_BY_DATE, Terms("page.kind", "Kind"), (_PAGE_COUNT,)),
                    16,
                ),
                (
                    Table(
                        "found-files",
                        "Files with most of them",
                        PAGES_BY_DATE,
                        (Terms("document.name.raw", "File", 20),),
                        (_PAGE_COUNT,),
                    ),
                    16,
                ),
            ),
        ),
        Row(34, ((PAGES_FOUND, 48),)),
    ),
)

COLLECTIONS_DASHBOARD = Dashboard(
    "collections",
    "Pagesight: collections",
    "What there is, by collection. Nothing here depends on the time picker.",
    controls=(Control(PAGES, "collection", "Collection"),),
    rows=(
        Row(
            6,
            (
                (Metric("all-pages", "Pages", PAGES, _PAGE_COUNT), 10),
                (Metric("all-documents", "Documents", PAGES, _DOCUMENT_COUNT), 10),
                (Metric("all-failed", "Failed pages", PAGES, _FAILED), 9),
                (Metric("all-suspect", "Pages to be looked at", PAGES, _SUSPECT), 10),
                (Metric("all-bytes", "Bytes of page images", PAGES, Measure("sum", "image.bytes", "Bytes")), 9),
            ),
        ),
        Row(
            12,
            (
                (
                    Table(
                        "by-collection",
                        "Collections",
                        PAGES,
                        (_COLLECTION,),
                        (
                            _PAGE_COUNT,
                            _DOCUMENT_COUNT,
                            Count("Described", "status: described"),
                            Count("Read without a model", "status: text_only"),
                            Count("Blank", "status: blank"),
                            _FAILED,
                            _SUSPECT,
                            Measure("sum", "model.tokens_in", "Tokens sent"),
                            Measure("sum", "model.tokens_out", "Tokens received"),
                        ),
                    ),
                    48,
                ),
            ),
        ),
        Row(
            11,
            (
                (
                    Bars(
                        "collection-languages",
                        "Languages of texts",
                        PAGES,
                        _LANGUAGE,
                        (_PAGE_COUNT,),
                        split=Terms("collection", "Collection"),
                    ),
                    24,
                ),
                (
                    Bars(
                        "collection-kinds",
                        "Kinds of page",
                        PAGES,
                        Terms("page.kind", "Kind"),
                        (_PAGE_COUNT,),
                        split=Terms("collection", "Collection"),
                    ),
                    24,
                ),
            ),
        ),
        Row(
            11,
            (
                (
                    Table(
                        "media-types",
                        "Formats",
                        DOCUMENTS,
                        (Terms("document.media_type", "Format", 30),),
                        (
                            Count("Documents"),
                            Measure("sum", "document.pages", "Pages"),
                            Measure("sum", "document.bytes", "Bytes"),
                        ),
                    ),
                    24,
                ),
                (
                    Table(
                        "text-sources",
                        "Where texts come from",
                        PAGES,
                        (Terms("trust.text_source", "Text comes from"), Terms("model.name", "Read by")),
                        (_PAGE_COUNT, _SUSPECT),
                    ),
                    24,
                ),
            ),
        ),
        Row(
            18,
            (
                (
                    Table(
                        "suspect-pages",
                        "Pages to be looked at, by reason",
                        PAGES,
                        (
                            Terms("trust.reasons", "Why", 20),
                            Terms("view.thumbnail", "Page image", 10),
                            Terms("view.page", "Link", 1),
                        ),
                        (_SUSPECT,),
                    ),
                    48,
                ),
            ),
        ),
    ),
)

_BY_READING = Dates("archived_at", "Read")
INGEST_DASHBOARD = Dashboard(
    "ingest",
    "Pagesight: ingest health",
    "How fast pages come in, what fails and why, what the model costs and how long it takes; batches and schedules.",
    controls=(
        Control(OPERATIONS, "collection", "Collection"),
        Control(OPERATIONS, "batch", "Batch"),
        Control(OPERATIONS, "error.type", "Failure"),
    ),
    time=("now-7d", "now"),
    rows=(
        Row(
            6,
            (
                (Metric("indexed-pages", "Pages indexed", OPERATIONS, _PAGE_COUNT), 8),
                (Metric("indexed-failed", "Failed", OPERATIONS, _FAILED), 8),
                (Metric("tokens-sent", "Tokens sent", OPERATIONS, Measure("sum", "model.tokens_in", "Tokens")), 8),
                (
                    Metric(
                        "tokens-received", "Tokens received", OPERATIONS, Measure("sum", "model.tokens_out", "Tokens")
                    ),
                    8,
                ),
                (
                    Metric(
                        "median-seconds",
                        "Seconds a page, median",
                        OPERATIONS,
                        Measure("median", "model.seconds", "Seconds"),
                    ),
                    8,
                ),
                (
                    Metric(
                        "most-attempts",
                        "Requests a page, at most",
                        OPERATIONS,
                        Measure("max", "model.attempts", "Most"),
                    ),
                    8,
                ),
            ),
        ),
        Row(
            11,
            (
                (
                    Bars(
                        "rate",
                        "Pages indexed, by status",
                        OPERATIONS,
                        _BY_READING,
                        (_PAGE_COUNT,),
                        split=Terms("status", "Status"),
                    ),
                    24,
                ),
                (
                    Bars(
                        "failures-by-class",
                        "Failures, by class",
                        OPERATIONS,
                        _BY_READING,
                        (_FAILED,),
                        split=Terms("error.type", "Failure", 20),
                    ),
                    24,
                ),
            ),
        ),
        Row(
            11,
            (
                (
                    Bars(
                        "tokens",
                        "Tokens",
                        OPERATIONS,
                        _BY_READING,
                        (
                            Measure("sum", "model.tokens_in", "Tokens sent"),
                            Measure("sum", "model.tokens_out", "Tokens received"),
                        ),
                    ),
                    24,
                ),
                (
                    Bars(
                        "waits",
                        "Seconds that the model takes a page, median",
                        OPERATIONS,
                        _BY_READING,
                        (Measure("median", "model.seconds", "Seconds"),),
                    ),
                    24,
                ),
            ),
        ),
        Row(
            11,
            (
                (
                    Table(
                        "revisions",
                        "Models and prompts",
                        OPERATIONS,
                        (
                            Terms("model.name", "Model"),
                            Terms("model.revision", "Revision"),
                            Terms("model.profile", "Profile"),
                            Terms("model.prompt_revision", "Prompts", 5),
                        ),
                        (_PAGE_COUNT, Measure("max", "model.described_at", "Last asked")),
                    ),
                    28,
                ),
                (
                    Table(
                        "failure-classes",
                        "Failures",
                        OPERATIONS,
                        (Terms("error.type", "Failure", 20), Terms("error.transient", "Tried again", 2)),
                        (_PAGE_COUNT, _DOCUMENT_COUNT),
                    ),
                    20,
                ),
            ),
        ),
        Row(
            11,
            (
                (
                    Bars(
                        "batches-by-state",
                        "Batches, by state",
                        BATCHES,
                        Dates("started_at", "Started"),
                        (Count("Batches"),),
                        split=Terms("state", "State"),
                    ),
                    16,
                ),
                (
                    Table(
                        "batch-times",
                        "Batches",
                        BATCHES,
                        (Terms("collection", "Collection", 20), Terms("state", "State")),
                        (
                            Count("Batches"),
                            Measure("median", "seconds", "Seconds, median"),
                            Measure("max", "seconds", "Seconds, at most"),
                        ),
                    ),
                    16,
                ),
                (
                    Table(
                        "run-outcomes",
                        "Schedules",
                        RUNS,
                        (Terms("schedule", "Schedule", 20), Terms("outcome", "Outcome", 3)),
                        (
                            Count("Runs"),
                            Measure("max", "ended_at", "Last ended"),
                            Measure("median", "seconds", "Seconds, median"),
                        ),
                    ),
                    16,
                ),
            ),
        ),
        Row(14, ((BATCH_LIST, 48),)),
        Row(14, ((RUN_LIST, 48),)),
        Row(18, ((FAILURES, 48),)),
        Row(14, ((FAILED_SOURCES, 48),)),
    ),
)
DASHBOARDS = (SEARCH_DASHBOARD, COLLECTIONS_DASHBOARD, INGEST_DASHBOARD)

RULES = (
    Rule(
        "many-failures",
        "Pagesight: many pages failed",
        "pages",
        "archived_at",
        {"term": {"status": "failed"}},
        ">",
        threshold=20,
        window_hours=1,
        interval="10m",
    ),
    Rule(
        "nothing-indexed",
        "Pagesight: nothing was indexed for a day",
        "pages",
        "archived_at",
        {"match_all": {}},
        "<",
        threshold=1,
        window_hours=24,
        interval="1h",
    ),
)

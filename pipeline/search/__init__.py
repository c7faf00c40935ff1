"""Elasticsearch: templates and aliases, the bulk writer, queries.

The package itself exports values only. Modules that use the client library are imported by name, such as
`pipeline.search.index`, so that a command without Elasticsearch does not import the library.
"""

from pipeline.search.names import SERVICE, Names, State
from pipeline.search.results import FailedPage, Fragment, Hit, HitDocument, SearchResult, Span, TermScore
from pipeline.search.roles import ROLES, ApiKey
from pipeline.search.templates import BATCHES, DOCUMENTS, PAGES, PAGES_WRITE, RUNS, SOURCES, Layout
from pipeline.search.writes import BULK_TIMEOUT_SECONDS, Write, Written

__all__ = [
    "BATCHES",
    "BULK_TIMEOUT_SECONDS",
    "DOCUMENTS",
    "PAGES",
    "PAGES_WRITE",
    "ROLES",
    "RUNS",
    "SERVICE",
    "SOURCES",
    "ApiKey",
    "FailedPage",
    "Fragment",
    "Hit",
    "HitDocument",
    "Layout",
    "Names",
    "SearchResult",
    "Span",
    "State",
    "TermScore",
    "Write",
    "Written",
]

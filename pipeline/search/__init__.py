"""Elasticsearch: templates and aliases, the bulk writer, queries."""

from pipeline.search.generations import Generation, Generations
from pipeline.search.index import Index, PagesIndex
from pipeline.search.names import State
from pipeline.search.queries import FailedPage, Fragment, Hit, HitDocument, Queries, SearchResult, Span
from pipeline.search.security import ROLES, ApiKey
from pipeline.search.templates import BATCHES, DOCUMENTS, PAGES, PAGES_WRITE, RUNS, SOURCES, Layout
from pipeline.search.write import Write, Written

__all__ = [
    "BATCHES",
    "DOCUMENTS",
    "PAGES",
    "PAGES_WRITE",
    "ROLES",
    "RUNS",
    "SOURCES",
    "ApiKey",
    "FailedPage",
    "Fragment",
    "Generation",
    "Generations",
    "Hit",
    "HitDocument",
    "Index",
    "Layout",
    "PagesIndex",
    "Queries",
    "SearchResult",
    "Span",
    "State",
    "Write",
    "Written",
]

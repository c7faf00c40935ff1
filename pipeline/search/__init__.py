"""Elasticsearch: templates and aliases, the bulk writer, queries, and the local node."""

from pipeline.search.index import Index
from pipeline.search.node import LocalNode, NodeStatus
from pipeline.search.queries import Failed, Fragment, Hit, HitDocument, Queries, SearchResult, Span
from pipeline.search.templates import BATCHES, DOCUMENTS, PAGES, PAGES_WRITE, RUNS, SOURCES
from pipeline.search.write import Write, Written

__all__ = [
    "BATCHES",
    "DOCUMENTS",
    "PAGES",
    "PAGES_WRITE",
    "RUNS",
    "SOURCES",
    "Failed",
    "Fragment",
    "Hit",
    "HitDocument",
    "Index",
    "LocalNode",
    "NodeStatus",
    "Queries",
    "SearchResult",
    "Span",
    "Write",
    "Written",
]

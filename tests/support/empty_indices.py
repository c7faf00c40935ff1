"""Empties the live indices between tests, and makes only those new that a test has touched.

A new set of indices takes a node most of a second of CPU time: it makes every analyzer of every language.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elasticsearch import Elasticsearch

from pipeline.search.index import Index
from pipeline.search.templates import FAMILIES, aliases

PATTERN = ",".join(f"{family}-v*" for family in FAMILIES)
#: Settings that differ between two indices which were made alike.
OWN_SETTINGS = frozenset({"uuid", "creation_date"})

Shapes = Mapping[str, Any]

#: Aliases, mappings and settings of each index as an installation makes it, by the URL of the server.
_installed: dict[str, Shapes] = {}


def empty(index: Index, client: Elasticsearch, url: str) -> None:
    """Leave the indices of one installation, without records.

    Raises:
        ServiceRefused: the indices cannot be installed.
    """
    if url not in _installed or not _mended(client, _installed[url]):
        index.drop()
        index.install()
        _installed[url] = _shapes(client)


def _mended(client: Elasticsearch, wanted: Shapes) -> bool:
    """Make each index new that differs from a new one; return whether all of them are then as they should be."""
    found, written = _shapes(client), _written(client)
    touched = [name for name, shape in found.items() if name in written or shape != wanted.get(name)]
    if touched:
        client.indices.delete(index=touched)
    for name in wanted.keys() - (found.keys() - set(touched)):
        client.indices.create(index=name, aliases=aliases(name.rpartition("-v")[0]))
    return not touched or _shapes(client) == wanted


def _shapes(client: Elasticsearch) -> Shapes:
    found = client.indices.get(index=PATTERN, expand_wildcards=["open", "closed"]).body
    return {name: _without_own(body) for name, body in found.items()}


def _without_own(body: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in body["settings"]["index"].items() if name not in OWN_SETTINGS}
    return {**body, "settings": settings}


def _written(client: Elasticsearch) -> set[str]:
    """Return the indices that records were written to or deleted from."""
    found = client.indices.stats(index=PATTERN, metric="indexing", forbid_closed_indices=False)["indices"]
    counts = {name: body["total"]["indexing"] for name, body in found.items()}
    return {name for name, count in counts.items() if count["index_total"] or count["delete_total"]}

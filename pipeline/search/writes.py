"""Values of the bulk writer: its writes, their outcome, its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Records held in memory, and sent in one request if they are small.
CHUNK_RECORDS = 500
#: Elastic advises 5 to 15 MB for one bulk request; the server's own limit is 100 MB.
CHUNK_BYTES = 8 << 20
#: A healthy node that merges segments may take minutes over one request.
BULK_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Write:
    """One record to put, or to delete, under an alias."""

    alias: str
    id: str
    version: int
    """At least 1. The server accepts it only if it is higher than the stored version."""
    source: Mapping[str, Any] | None
    """The whole record; None deletes it."""
    again: bool = False
    """Whether it also replaces a record of the same version."""


@dataclass(frozen=True, slots=True)
class Written:
    """Outcome of a series of writes. The counts add up to the number of writes."""

    written: int = 0
    deleted: int = 0
    """Accepted deletions, whether or not the record existed."""
    stale: int = 0
    """Writes that the server rejected because it has that version or a newer one."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """By record id, the server's reason for never accepting the record."""
    indices: frozenset[str] = frozenset()
    """Names of the indices that accepted or refused a write."""

"""Decides what follows from an error of Elasticsearch: wait, refuse one record, or stop with a remedy. No other module
does.

The bulk writer passes the error of an item, every other caller the error of a whole answer. Both have the same form.
The causes in the table were produced on a real node of 9.5.0, except the licence and the expired keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable
from pipeline.search.names import SERVICE

#: HTTP statuses that may pass: backpressure (429), a proxy without a server behind it (502, 504), shards that are not
#: ready (503), a failure of the server itself (500).
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})

NOT_INSTALLED_REMEDY = "Run `pagesight setup`; if an archive exists already, `pagesight reindex`."
SIGN_IN_REMEDY = (
    "Set PAGESIGHT_ELASTICSEARCH_API_KEY to a valid key, or put user and password into PAGESIGHT_ELASTICSEARCH_URL."
)
KEY_REMEDY = (
    "Set PAGESIGHT_ELASTICSEARCH_API_KEY to a key of a role that may do it: new questions and `pagesight reindex` need "
    "the reindexer's, `pagesight setup` an administrator's. docs/security.md lists all roles."
)
SERVER_REMEDY = "Pagesight needs Elasticsearch 9; look at what PAGESIGHT_ELASTICSEARCH_URL points to."
MAPPING_REMEDY = (
    "Run `pagesight setup --check`, which compares the indices with this version; `pagesight reindex` makes new ones."
)
TEMPLATE_REMEDY = (
    "Change the priority or the patterns of the other template; or set PAGESIGHT_ELASTICSEARCH_PREFIX to a prefix that "
    "no other template matches."
)


class Consequence(StrEnum):
    """What follows from an error."""

    WAIT = "wait"
    """It passes, or a person lifts it in the cluster. The same request is sent again."""
    RECORD = "record"
    """Only this record, or this request, is refused."""
    HALT = "halt"
    """Every request would be refused."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Cause, consequence and remedy of an error."""

    consequence: Consequence
    cause: str
    remedy: str

    def error(self, retry_after_seconds: float | None = None) -> PagesightError:
        """Return the error to raise. A wait shows its cause only, so the remedy of a block is added to it."""
        if self.consequence is Consequence.WAIT:
            words = f"{self.cause}. {self.remedy}" if self.remedy else self.cause
            return ServiceUnavailable(
                SERVICE, words, retry_after_seconds=retry_after_seconds, remedy=self.remedy or None
            )
        return ServiceRefused(SERVICE, self.cause, remedy=self.remedy)


@dataclass(frozen=True, slots=True)
class _Row:
    """One kind of error: it matches if its type or its message is found."""

    consequence: Consequence
    cause: str
    remedy: str
    types: frozenset[str] = frozenset()
    message: re.Pattern[str] | None = None

    def matches(self, types: set[str], words: str) -> bool:
        return (not self.types or bool(self.types & types)) and (
            self.message is None or bool(self.message.search(words))
        )


def _lift(scope: str, setting: str) -> str:
    path = "/_cluster/settings" if scope == "cluster" else "/INDEX/_settings"
    body = f'{{"persistent": {{"{setting}": null}}}}' if scope == "cluster" else f'{{"{setting}": null}}'
    return f"Lift it with `PUT {path} {body}`; work then goes on by itself."


def _block(number: int, cause: str, remedy: str) -> _Row:
    """Return the row of a block. The server writes its number into the message: `[FORBIDDEN/8/index write (api)]`."""
    return _Row(
        Consequence.WAIT, cause, remedy, frozenset({"cluster_block_exception"}), re.compile(rf"\[[A-Z_]+/{number}/")
    )


#: The first matching row counts. Blocks by number: `IndexMetadata` and `Metadata` of Elasticsearch's source.
_ROWS = (
    _block(
        12,
        "an index accepts no writes, because a disk is full or index.blocks.read_only_allow_delete is set",
        "Free disk space on the nodes: Elasticsearch lifts the block itself below the high watermark. A block that a "
        "person has set: " + _lift("index", "index.blocks.read_only_allow_delete"),
    ),
    _block(8, "writing to an index is blocked (index.blocks.write)", _lift("index", "index.blocks.write")),
    _block(5, "an index is read-only (index.blocks.read_only)", _lift("index", "index.blocks.read_only")),
    _block(7, "reading an index is blocked (index.blocks.read)", _lift("index", "index.blocks.read")),
    _block(9, "the metadata of an index is blocked (index.blocks.metadata)", _lift("index", "index.blocks.metadata")),
    _block(6, "the cluster is read-only (cluster.blocks.read_only)", _lift("cluster", "cluster.blocks.read_only")),
    _block(
        13,
        "the cluster is read-only (cluster.blocks.read_only_allow_delete)",
        _lift("cluster", "cluster.blocks.read_only_allow_delete"),
    ),
    _Row(
        Consequence.WAIT,
        "an index is closed",
        "Open it with `POST /INDEX/_open`; work then goes on by itself.",
        frozenset({"index_closed_exception"}),
    ),
    _Row(
        Consequence.WAIT,
        "Elasticsearch lacks memory for the request (circuit breaker)",
        "It passes when other requests end. If it does not, give the nodes a larger heap.",
        frozenset({"circuit_breaking_exception"}),
    ),
    _Row(
        Consequence.HALT,
        "the cluster has reached its limit of shards",
        "Delete indices that are not needed (`pagesight reindex --prune` deletes former ones), add a node, or raise "
        "cluster.max_shards_per_node. Then run the same command again.",
        frozenset({"validation_exception"}),
        re.compile(r"maximum (normal|frozen|\w+) shards open"),
    ),
    _Row(
        Consequence.HALT,
        "the licence of the cluster does not allow it or has expired",
        "Renew it, or return to the free one with `POST /_license/start_basic?acknowledge=true`.",
        frozenset({"security_exception"}),
        re.compile(r"license is (non-compliant|expired)|license.* expired"),
    ),
    _Row(
        Consequence.HALT,
        "the API key or token has expired",
        "Make a new one: `pagesight security key ROLE`, and set it as PAGESIGHT_ELASTICSEARCH_API_KEY.",
        frozenset({"security_exception"}),
        re.compile(r"(api key|token) (is |has )?(expired|been invalidated)", re.IGNORECASE),
    ),
    _Row(
        Consequence.HALT,
        "another index template matches our indices with the same priority",
        TEMPLATE_REMEDY,
        frozenset({"illegal_argument_exception"}),
        re.compile(r"multiple index templates may not match"),
    ),
    _Row(
        Consequence.HALT,
        "another application's template makes a data stream of our index",
        TEMPLATE_REMEDY,
        message=re.compile(r"matches with template .* creates data streams only"),
    ),
    _Row(
        Consequence.HALT,
        "an alias leads to several indices",
        "`GET _cat/aliases` lists them: remove the alias from all but the newest index, then run `pagesight setup`.",
        frozenset({"illegal_argument_exception"}),
        re.compile(r"no write index is defined for alias|has more than one ind(ex|ices) associated with it"),
    ),
    _Row(
        Consequence.HALT,
        "a field is missing in the indices or has another type",
        MAPPING_REMEDY,
        message=re.compile(
            r"^(search_phase_execution_exception|query_shard_exception): .*(No mapping found|Fielddata)"
        ),
    ),
    _Row(
        Consequence.RECORD,
        "the mapping of the index does not accept it",
        MAPPING_REMEDY,
        frozenset({"strict_dynamic_mapping_exception", "document_parsing_exception", "mapper_parsing_exception"}),
    ),
)


def diagnose(status: int, error: object) -> Diagnosis:
    """Return what follows from an error.

    Args:
        status: HTTP status of the answer or of the item in a bulk answer.
        error: the `error` member of the answer or of the item, or the message of an answer without one.
    """
    words = reason(error)
    types = set(_types(error))
    for row in _ROWS:
        if row.matches(types, words):
            return Diagnosis(row.consequence, f"{row.cause}: {words}", row.remedy)
    return _by_status(status, words)


def _by_status(status: int, words: str) -> Diagnosis:
    if status in PASSING_STATUSES:
        return Diagnosis(Consequence.WAIT, f"Elasticsearch answers {status}: {words}", "")
    if status == 401:
        return Diagnosis(
            Consequence.HALT, f"Elasticsearch refuses to sign in this user or key: {words}", SIGN_IN_REMEDY
        )
    if status == 403:
        return Diagnosis(Consequence.HALT, f"Elasticsearch does not allow it: {words}", KEY_REMEDY)
    if status == 404 and "index_not_found" in words:
        return not_installed(words)
    consequence = Consequence.RECORD if status in {400, 413} else Consequence.HALT
    return Diagnosis(consequence, f"Elasticsearch answers {status}: {words}", SERVER_REMEDY)


def not_installed(words: str) -> Diagnosis:
    """Return the diagnosis for an alias that does not exist."""
    return Diagnosis(Consequence.HALT, f"nothing is installed yet ({words})", NOT_INSTALLED_REMEDY)


def reason(error: object) -> str:
    """Return the server's message on one line, from the `error` member of an answer or of a bulk item."""
    if not isinstance(error, Mapping):
        return str(error)
    parts = [f"{error.get('type')}: {error.get('reason')}"]
    parts += [words for cause in _causes(error) if (words := str(cause.get("reason", ""))) not in parts[0]]
    return " ".join(": ".join(parts).split())


def _causes(error: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    causes = [error.get("caused_by"), *(error.get("root_cause") or ())[:1]]
    return [cause for cause in causes if isinstance(cause, Mapping)]


def _types(error: object) -> Iterator[str]:
    if isinstance(error, Mapping):
        yield str(error.get("type"))
        for cause in _causes(error):
            yield str(cause.get("type"))

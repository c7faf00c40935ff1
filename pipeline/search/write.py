"""The bulk writer: every item of every answer is looked at, and nothing is dropped because the cluster is away.

Writes carry external versions, so that sending a batch again is harmless: what arrived the first time answers 409.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any

from elasticsearch import ApiError, Elasticsearch, TransportError

from pipeline.core.errors import ServiceRefused, ServiceUnavailable
from pipeline.core.retry import ELASTICSEARCH_WAITS_SECONDS, CancelToken, retry_until_available
from pipeline.search.errors import PASSING_STATUSES, SERVICE, forbidden, not_installed, reason, translate

#: Records held in memory, and sent in one request where they are small.
CHUNK_RECORDS = 500
#: Elastic's advice for one bulk request is 5 to 15 MB; the server's own limit is 100 MB.
CHUNK_BYTES = 8 << 20
#: A node that merges may take long over one request and still be well.
BULK_TIMEOUT_SECONDS = 120.0
#: What is looked at in an answer.
ANSWERED = ("items.*.status", "items.*._index", "items.*.error")


@dataclass(frozen=True, slots=True)
class Write:
    """One record to be put, or deleted, under an alias."""

    alias: str
    id: str
    version: int
    """At least 1. The server takes it only if it is above the one that it has."""
    source: Mapping[str, Any] | None
    """The whole record; None deletes it."""
    again: bool = False
    """Whether it replaces a record of the same version."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a series of writes; together the counts are the number of writes."""

    written: int = 0
    deleted: int = 0
    """Deletions that were noted, of records that were there and of such that were not."""
    stale: int = 0
    """Writes whose version, or a newer one, the server had already."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """By id, why the server will never take the record, in its own words."""
    indices: frozenset[str] = frozenset()
    """Names of the indices behind the aliases that took or refused a write."""


def write(client: Elasticsearch, writes: Iterable[Write], called: Callable[[str], str], cancel: CancelToken) -> Written:
    """Send the writes, in order, waiting for as long as the cluster is away or under pressure.

    `called` tells what an alias of ours is called in the cluster. At most `CHUNK_RECORDS` of them are held in memory.

    Raises:
        ServiceRefused: an alias is missing, or the key may not write.
        Stopped: the run was asked to stop while it waited.
    """
    patient = client.options(request_timeout=BULK_TIMEOUT_SECONDS)
    counts: Counter[str] = Counter()
    refused: dict[str, str] = {}
    indices: set[str] = set()
    for chunk in _chunks(writes):
        sending = _Sending(patient, chunk, cache(called))
        retry_until_available(sending.send, cancel, ELASTICSEARCH_WAITS_SECONDS)
        counts += sending.counts
        refused |= sending.refused
        indices |= sending.indices
    return Written(counts["written"], counts["deleted"], counts["stale"], refused, frozenset(indices))


def _chunks(writes: Iterable[Write]) -> Iterator[list[Write]]:
    rest = iter(writes)
    while chunk := list(islice(rest, CHUNK_RECORDS)):
        yield chunk


class _Sending:
    """A chunk on its way: what is still to be sent, and what became of the rest."""

    def __init__(self, client: Elasticsearch, chunk: list[Write], called: Callable[[str], str]) -> None:
        self._client = client
        self._called = called
        self._pending = chunk
        self._records_per_request = CHUNK_RECORDS
        self.counts: Counter[str] = Counter()
        self.refused: dict[str, str] = {}
        self.indices: set[str] = set()

    def send(self) -> None:
        """Send what is pending.

        Raises:
            ServiceUnavailable: some of it must be sent again; only that is then pending.
            ServiceRefused: none of it can be written.
        """
        while self._pending:
            try:
                self._require_aliases_of_deletions()
                self._send_once()
            except ApiError as error:
                if error.status_code != 413:
                    raise translate(error) from error
                self._ask_for_less()
            except TransportError as error:
                raise translate(error) from error

    def _require_aliases_of_deletions(self) -> None:
        """A deletion with an external version makes an index where there is none, whatever `require_alias` says (tried
        on 9.5.0), and an index of the alias's name would bar every later installation."""
        for alias in {self._called(write.alias) for write in self._pending if write.source is None}:
            if not self._client.indices.exists_alias(name=alias):
                raise not_installed(f"no such alias [{alias}]")

    def _knows_no_alias_yet(self, write: Write, item: Mapping[str, Any]) -> bool:
        """Whether the answer denies an alias that there is: a node that has just begun knows none for a moment."""
        denied = item["status"] == 404 and "error" in item
        return denied and bool(self._client.indices.exists_alias(name=self._called(write.alias)))

    def _send_once(self) -> None:
        from elasticsearch.helpers import streaming_bulk  # here, since searches never use it

        pending, again = self._pending, list[Write]()
        why = ""
        answers = streaming_bulk(
            self._client,
            map(self._action, pending),
            chunk_size=self._records_per_request,
            max_chunk_bytes=CHUNK_BYTES,
            raise_on_error=False,
            require_alias=True,
            filter_path=ANSWERED,
        )
        answered = 0
        try:
            for write, (_, answer) in zip(pending, answers, strict=True):
                (item,) = answer.values()
                if item["status"] in PASSING_STATUSES or self._knows_no_alias_yet(write, item):
                    again.append(write)
                    why = reason(item.get("error"))
                else:
                    self._settle(write, item)
                answered += 1
        finally:
            self._pending = again + pending[answered:]
        if again:
            raise ServiceUnavailable(SERVICE, f"Elasticsearch does not take all of it now: {why}")

    def _action(self, write: Write) -> dict[str, Any]:
        kind = {"_op_type": "delete"} if write.source is None else {"_op_type": "index", "_source": write.source}
        rule = "external_gte" if write.again else "external"
        index = self._called(write.alias)
        return {**kind, "_index": index, "_id": write.id, "version": write.version, "version_type": rule}

    def _settle(self, write: Write, item: Mapping[str, Any]) -> None:
        """Note the answer to one write.

        Raises:
            ServiceRefused: the answer will be the same for every other one.
        """
        status, error = item["status"], item.get("error")
        if status == 409:
            self.counts["stale"] += 1
            return
        self.indices.add(item["_index"])
        if error is None:
            self.counts["deleted" if write.source is None else "written"] += 1
        elif status == 404:
            raise not_installed(reason(error))
        elif status in {401, 403}:
            raise forbidden(reason(error))
        elif status in {400, 413}:
            self.refused[write.id] = reason(error)
        else:
            raise ServiceRefused(
                SERVICE, f"Elasticsearch answers {status} to {write.id}: {reason(error)}", remedy="Look at its log."
            )

    def _ask_for_less(self) -> None:
        """Halve the request that was too large; a record that is too large alone is refused."""
        if self._records_per_request == 1 or len(self._pending) == 1:
            large = self._pending.pop(0)
            self.refused[large.id] = "larger than the server, or a proxy before it, takes in one request (413)"
        else:
            self._records_per_request = min(self._records_per_request, len(self._pending)) // 2

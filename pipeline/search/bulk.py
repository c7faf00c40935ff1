"""The bulk writer. It checks each item of each answer, and drops nothing while the cluster is away.

Writes carry external versions, so a batch can be sent twice: a write that arrived the first time answers 409.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

from pipeline.core.errors import PagesightError, ServiceUnavailable
from pipeline.core.retry import ELASTICSEARCH_WAITS_SECONDS, CancelToken, retry_until_available
from pipeline.search.client import ApiError, Elasticsearch, TransportError
from pipeline.search.diagnosis import Consequence, diagnose, not_installed, reason
from pipeline.search.errors import translate
from pipeline.search.names import SERVICE
from pipeline.search.writes import BULK_TIMEOUT_SECONDS, CHUNK_BYTES, CHUNK_RECORDS, Write, Written

#: Parts of an answer that are needed; the server leaves out the rest.
ANSWERED = ("items.*.status", "items.*._index", "items.*.error")


def write(
    client: Elasticsearch, writes: Iterable[Write], name_of: Callable[[str], str], cancel: CancelToken
) -> Written:
    """Send writes in order, and wait while the cluster is away or overloaded.

    At most `CHUNK_RECORDS` writes are held in memory.

    Args:
        name_of: returns the name in the cluster of one of our aliases.

    Raises:
        ServiceRefused: an alias is missing, or the key may not write.
        Stopped: the run was cancelled while it waited.
    """
    slow_client = client.options(request_timeout=BULK_TIMEOUT_SECONDS)
    counts: Counter[str] = Counter()
    refused: dict[str, str] = {}
    indices: set[str] = set()
    for chunk in _chunks(writes):
        sender = _ChunkSender(slow_client, chunk, cache(name_of))
        retry_until_available(sender.send, cancel, ELASTICSEARCH_WAITS_SECONDS)
        counts += sender.counts
        refused |= sender.refused
        indices |= sender.indices
    return Written(counts["written"], counts["deleted"], counts["stale"], refused, frozenset(indices))


def _chunks(writes: Iterable[Write]) -> Iterator[list[Write]]:
    rest = iter(writes)
    while chunk := list(islice(rest, CHUNK_RECORDS)):
        yield chunk


class _ChunkSender:
    """Sends one chunk: keeps the writes that are still pending, and the outcome of the others."""

    def __init__(self, client: Elasticsearch, chunk: list[Write], name_of: Callable[[str], str]) -> None:
        self._client = client
        self._name_of = name_of
        self._pending = chunk
        self._records_per_request = CHUNK_RECORDS
        self.counts: Counter[str] = Counter()
        self.refused: dict[str, str] = {}
        self.indices: set[str] = set()

    def send(self) -> None:
        """Send the pending writes.

        Raises:
            ServiceUnavailable: some must be sent again; only those are then pending.
            ServiceRefused: none of them can be written.
        """
        while self._pending:
            try:
                self._require_aliases_of_deletions()
                self._send_once()
            except ApiError as error:
                if error.status_code != 413:
                    raise translate(error) from error
                self._reduce_request()
            except TransportError as error:
                raise translate(error) from error

    def _require_aliases_of_deletions(self) -> None:
        """Raise if an alias is missing.

        A deletion with an external version creates a missing index, despite `require_alias` (tried on 9.5.0). An index
        with the name of an alias would block every later installation.
        """
        for alias in {self._name_of(write.alias) for write in self._pending if write.source is None}:
            if not self._client.indices.exists_alias(name=alias):
                raise not_installed(f"no such alias [{alias}]").error()

    def _alias_not_loaded(self, write: Write, item: Mapping[str, Any]) -> bool:
        """Whether the answer denies an alias that exists: a node that has just started does so for a moment."""
        denied = item["status"] == 404 and "error" in item
        return denied and bool(self._client.indices.exists_alias(name=self._name_of(write.alias)))

    def _send_once(self) -> None:
        from elasticsearch.helpers import streaming_bulk  # here: searches never use it, and its import takes 10 ms

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
                if self._alias_not_loaded(write, item):
                    again.append(write)
                    why = reason(item["error"])
                elif (found := _waits(item)) is not None:
                    again.append(write)
                    why = str(found)
                else:
                    self._record_outcome(write, item)
                answered += 1
        finally:
            self._pending = again + pending[answered:]
        if again:
            raise ServiceUnavailable(SERVICE, f"Elasticsearch does not accept all records now: {why}")

    def _action(self, write: Write) -> dict[str, Any]:
        kind = {"_op_type": "delete"} if write.source is None else {"_op_type": "index", "_source": write.source}
        rule = "external_gte" if write.again else "external"
        index = self._name_of(write.alias)
        return {**kind, "_index": index, "_id": write.id, "version": write.version, "version_type": rule}

    def _record_outcome(self, write: Write, item: Mapping[str, Any]) -> None:
        """Count the answer to one write.

        Raises:
            ServiceRefused: every other write would get the same answer.
        """
        status, error = item["status"], item.get("error")
        if status == 409:
            self.counts["stale"] += 1
            return
        self.indices.add(item["_index"])
        if error is None:
            self.counts["deleted" if write.source is None else "written"] += 1
        else:
            found = diagnose(status, error)
            if found.consequence is not Consequence.RECORD:
                raise found.error()
            self.refused[write.id] = reason(error)

    def _reduce_request(self) -> None:
        """Halve a request that was too large. Refuse a record that is too large on its own."""
        if self._records_per_request == 1 or len(self._pending) == 1:
            large = self._pending.pop(0)
            self.refused[large.id] = "larger than the server, or a proxy before it, takes in one request (413)"
        else:
            self._records_per_request = min(self._records_per_request, len(self._pending)) // 2


def _waits(item: Mapping[str, Any]) -> PagesightError | None:
    """Return the error to wait for that kept a write from being carried out, or None."""
    if item["status"] < 400 or item["status"] == 409 or "error" not in item:
        return None
    found = diagnose(item["status"], item["error"])
    return found.error() if found.consequence is Consequence.WAIT else None

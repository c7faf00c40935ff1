"""An index in memory, for tests of what is written when: like the server it takes only records of a higher version."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from pipeline.archive import Archive
from pipeline.core.models import AnswerKind
from pipeline.core.retry import CancelToken
from pipeline.core.url_signing import Signer
from pipeline.projection.projector import Projector
from pipeline.search import PAGES, PAGES_WRITE, SOURCES, Write, Written
from pipeline.search.generations import Generation
from pipeline.search.index import Index, PagesIndex
from pipeline.sources import is_below


class NothingFound:
    """Searches that have not seen anything yet: nothing was refreshed."""

    def source_urls_below(self, url: str, *, collection: str) -> list[str]:
        return []


class Refreshed:
    """Searches that have seen everything that was written."""

    def __init__(self, index: MemoryIndex) -> None:
        self._index = index

    def source_urls_below(self, url: str, *, collection: str) -> list[str]:
        sources = self._index.records(SOURCES).values()
        return [one["url"] for one in sources if one["collection"] == collection and is_below(one["url"], url)]


class OneGeneration:
    """No other indices than the live ones."""

    def all(self) -> list[Generation]:
        return []


class MemoryIndex:
    """What `pipeline.search.Index` is to a `Projector`."""

    pages_index = PagesIndex("pages-v1", frozenset())
    queries: NothingFound | Refreshed = NothingFound()
    generations = OneGeneration()

    def __init__(self) -> None:
        self._records: dict[str, dict[str, tuple[int, Mapping[str, Any] | None]]] = {}
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.answers: dict[str, AnswerKind] = {}

    def write(self, writes: Iterable[Write], cancel: CancelToken) -> Written:
        counts: Counter[str] = Counter()
        with self._lock:
            self.requests["write"] += 1
            for write in writes:
                records = self._records.setdefault(_index(write.alias), {})
                if write.id in records and write.version <= records[write.id][0]:
                    counts["stale"] += 1
                else:
                    records[write.id] = write.version, write.source
                    counts["deleted" if write.source is None else "written"] += 1
        return Written(counts["written"], counts["deleted"], counts["stale"])

    def require_answers(self, kinds: Mapping[str, AnswerKind]) -> None:
        self.answers |= kinds

    def versions(self, alias: str, ids: Sequence[str]) -> dict[str, int]:
        with self._lock:
            self.requests["versions"] += bool(ids)
            found = {key: self._records.get(_index(alias), {}).get(key) for key in ids}
        return {key: record[0] for key, record in found.items() if record is not None and record[1] is not None}

    def records(self, alias: str) -> dict[str, Mapping[str, Any]]:
        """The records that are there, by id, with their versions among their fields."""
        with self._lock:
            return {
                key: {**source, "_version": version}
                for key, (version, source) in self._records.get(alias, {}).items()
                if source is not None
            }

    def lose(self, alias: str) -> None:
        """Forget everything under an alias, as if it had been written by nobody."""
        with self._lock:
            self._records.pop(alias, None)

    def projector(self, archive: Archive) -> Projector:
        return Projector(archive, cast(Index, self), CancelToken(), Signer())


def _index(alias: str) -> str:
    """The two aliases of pages lead to one index."""
    return PAGES if alias == PAGES_WRITE else alias

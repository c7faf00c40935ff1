"""The runs of schedules: all runs of one schedule are one chain, and each run has several revisions in it.

runs/<schedule>/<revision>.json
heard/<schedule>                    time of the last heartbeat of the process that executes its last run
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

from pipeline.archive.chain import Chains
from pipeline.archive.store import Store
from pipeline.core.models import Run


class Runs(Chains[Run]):
    """The runs of each schedule, by its name. Threads and processes share it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, "runs", Run.model_validate_json)

    def latest(self) -> Iterator[Run]:
        """Yield the newest revision of each run of every schedule, newest first within a schedule."""
        for schedule in self.names():
            yield from self.latest_of(schedule)

    def latest_of(self, schedule: str) -> Iterator[Run]:
        """Yield the newest revision of each run of a schedule, newest first; each is read when it is wanted."""
        for _, revisions in groupby(self[schedule].newest_first(), key=lambda run: run.due_at):
            yield next(revisions)

    def heartbeat(self, schedule: str) -> datetime | None:
        """Return the last heartbeat of a schedule's run, None without one."""
        data = self._store.get(f"heard/{schedule}")
        return None if data is None else datetime.fromisoformat(data.decode())

    def beat(self, schedule: str, now: datetime) -> None:
        """Record a heartbeat of a schedule's run."""
        self._store.put(f"heard/{schedule}", now.isoformat().encode())

"""The runs of schedules: all runs of one schedule are one chain, and each run has several revisions in it.

runs/<schedule>/<revision>.json
heard/<schedule>                    time of the last heartbeat of the process that executes its last run
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby

from pipeline.archive.chain import Chains, decoder, predecessor
from pipeline.archive.store import Store
from pipeline.core.models import Run


class Runs(Chains[Run]):
    """The runs of each schedule, by its name. Threads and processes share it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, "runs", decoder(Run), _run_for_damaged)

    def latest(self) -> Iterator[Run]:
        """Yield the newest revision of each run of every schedule, newest first within a schedule."""
        for schedule in self.names():
            yield from self.latest_of(schedule)

    def latest_of(self, schedule: str) -> Iterator[Run]:
        """Yield the newest revision of each run of a schedule, newest first; each is read when it is wanted."""
        for _, revisions in groupby(self[schedule].newest_first(), key=lambda run: run.due_at):
            yield next(revisions)

    def heartbeat(self, schedule: str) -> datetime | None:
        """Return the last heartbeat of a schedule's run, None without a readable one."""
        data = self._store.get(f"heard/{schedule}")
        try:
            heard = datetime.fromisoformat(data.decode()) if data else None
        except ValueError:
            return None
        return heard if heard is None or heard.tzinfo else None

    def beat(self, schedule: str, now: datetime) -> None:
        """Record a heartbeat of a schedule's run."""
        self._store.put(f"heard/{schedule}", now.isoformat().encode())


def _run_for_damaged(schedule: str, number: int, before: Run | None) -> Run:
    """Return what is read for a damaged revision of a run: the run before, or a failed one in the past."""
    long_ago = datetime.fromtimestamp(0, UTC)
    return predecessor(number, before) or Run(
        schedule=schedule,
        action="",
        due_at=long_ago,
        revision=number,
        worker="",
        started_at=long_ago,
        ended_at=long_ago,
        outcome="failed",
        error="its revisions in the archive are damaged",
    )

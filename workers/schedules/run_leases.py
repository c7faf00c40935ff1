"""The lease of a scheduled run: exclusive ownership by one process, kept by heartbeats in the archive."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.archive import Archive
from pipeline.core.errors import RevisionTaken, Stopped
from pipeline.core.models import Run
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings
from pipeline.projection.projector import Projector
from pipeline.sources import SourceFiles

#: Time limit of a run. A comparison of ten million pages takes hours.
RUN_SECONDS = 6 * 3600.0
#: A process without a successful heartbeat for this time stops its run: before others take it for dead, even if their
#: clocks are a minute ahead.
GIVE_UP_SECONDS = 100.0
#: Time limit for writing the record of a run, or of a batch that it began. The archive has the data in any case.
REPORT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class RunContext:
    """Services and limits of runs."""

    settings: Settings
    archive: Archive
    projector: Projector
    files: SourceFiles
    cancel: CancelToken
    """Interrupts runs when it ends."""
    worker: str
    """Id of the process that executes the runs."""


class RunLease:
    """A run that this process owns. `counts` of the action are archived with the end, whatever the outcome."""

    def __init__(self, run: Run, archive: Archive, cancel: CancelToken) -> None:
        self.run = run
        self.counts = Counter(run.counts)
        self.cancel = cancel.within(RUN_SECONDS, cancelled=self._is_silent)
        self._archive = archive
        self._last_beat = time.monotonic()

    def note(self) -> None:
        """Archive the counts so far, before an action whose cost must not be forgotten.

        Raises:
            Stopped: another process has taken the run.
        """
        self._append({"counts": dict(self.counts)})

    def end(self, end: Mapping[str, Any]) -> bool:
        """Archive the end; return False where another process has taken the run."""
        try:
            self._append({"counts": dict(self.counts), "ended_at": datetime.now(UTC), **end})
        except Stopped:
            return False
        return True

    def beat(self) -> None:
        """Archive a heartbeat of the run. Where another process owns it by now, stop it here instead."""
        newest = self._archive.runs[self.run.schedule].newest()
        if newest is None or (newest.worker, newest.started_at) != (self.run.worker, self.run.started_at):
            self.cancel.stop()
            return
        self._archive.runs.beat(self.run.schedule, datetime.now(UTC))
        self._last_beat = time.monotonic()

    def _append(self, changes: Mapping[str, Any]) -> None:
        changed = self.run.model_copy(update={**changes, "revision": self.run.revision + 1})
        try:
            self._archive.runs[changed.schedule].create(changed)
        except RevisionTaken:
            raise Stopped("another process has taken this run for dead, and has begun it again") from None
        self.run = changed

    def _is_silent(self) -> bool:
        return time.monotonic() - self._last_beat > GIVE_UP_SECONDS

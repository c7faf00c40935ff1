"""A run that a process has claimed: who it is carried out by and with, and what the archive is told of it meanwhile."""

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

#: How long a run may take. Comparing ten million pages takes hours.
RUN_SECONDS = 6 * 3600.0
#: A process that could not tell for so long that its run goes on stops it: before others take it for dead, even where
#: their clocks are a minute ahead.
GIVE_UP_SECONDS = 100.0
#: How long the record of a run, or of a batch that it began, is waited for: it is a report, and the archive has it.
REPORT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class RunContext:
    """What runs are carried out with."""

    settings: Settings
    archive: Archive
    projector: Projector
    files: SourceFiles
    cancel: CancelToken
    """Its end interrupts a run."""
    worker: str
    """Who carries them out."""


class RunLease:
    """A run that this process has. What the action counts is part of its end, however it ends."""

    def __init__(self, run: Run, archive: Archive, cancel: CancelToken) -> None:
        self.run = run
        self.counts = Counter(run.counts)
        self.cancel = cancel.within(RUN_SECONDS, cancelled=self._is_silent)
        self._archive = archive
        self._heard = time.monotonic()

    def note(self) -> None:
        """Archive what was counted so far, before something is done that must not be forgotten.

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

    def tell(self) -> None:
        """Tell that the run goes on, unless it is another's by now: then it is stopped here."""
        newest = self._archive.runs[self.run.schedule].newest()
        if newest is None or (newest.worker, newest.started_at) != (self.run.worker, self.run.started_at):
            self.cancel.stop()
            return
        self._archive.runs.beat(self.run.schedule, datetime.now(UTC))
        self._heard = time.monotonic()

    def _append(self, changes: Mapping[str, Any]) -> None:
        changed = self.run.model_copy(update={**changes, "revision": self.run.revision + 1})
        try:
            self._archive.runs[changed.schedule].create(changed)
        except RevisionTaken:
            raise Stopped("another process has taken this run for dead, and has begun it again") from None
        self.run = changed

    def _is_silent(self) -> bool:
        return time.monotonic() - self._heard > GIVE_UP_SECONDS

"""The state of the fleet (running, paused or halted) as known to one worker process."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import structlog

from pipeline.archive import Archive
from pipeline.batches.fleet_state import halt, halted
from pipeline.core.errors import ServiceRefused, ServiceUnavailable
from pipeline.core.models import FleetState
from pipeline.core.retry import CancelToken, Waiting

#: Time for which a message that arrives while the fleet is paused or halted is held, before it is returned.
HOLD_SECONDS = 5.0
_HOLD_POLL_SECONDS = 0.5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Halt:
    """A halt that the archive could not store yet."""

    error: ServiceRefused
    seen: int
    """Newest revision of the fleet's state at that time."""


class FleetMonitor:
    """The fleet's state in the archive, and a halt of this process that the archive could not store."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._newest: FleetState | None = None
        self._unarchived: _Halt | None = None
        self._lock = threading.Lock()

    @property
    def state(self) -> str:
        """`running`, `paused` or `halted`."""
        return self._newest.state if self._newest else "running"

    @property
    def cause(self) -> str | None:
        """Why the fleet does not run; None while it runs, or if a person paused it."""
        return self._newest.cause if self._newest else None

    @property
    def is_running(self) -> bool:
        """Whether messages of batches may be handled."""
        return self.state == "running"

    @property
    def waiting(self) -> Waiting | None:
        """The halt that is not archived yet, in the form of a wait; None without one."""
        newest = self._newest
        if self._unarchived is None or newest is None:
            return None
        return Waiting(newest.service or "fleet", f"halted: {newest.cause}", newest.since.timestamp())

    def refresh(self) -> None:
        """Read the fleet's state.

        A halt that could not be archived, for example because the disk is full, applies to this process. It ends when
        it can be archived, or when a person resumes the fleet.

        Raises:
            ServiceRefused, ServiceUnavailable: the archive cannot be read.
        """
        pending = self._unarchived
        try:
            newest = self._archive.fleet.newest()
            if pending is not None and (newest is None or newest.revision <= pending.seen):
                newest = halt(self._archive, pending.error)
        except (ServiceRefused, ServiceUnavailable):
            if pending is None:
                raise
            return
        self._newest = newest
        with self._lock:
            self._unarchived = None

    def halt(self, error: ServiceRefused) -> None:
        """Halt the fleet, or only this process while the archive cannot store the halt. The first cause is kept."""
        log.error("halted", service=error.service, cause=str(error), remedy=error.remedy)
        seen = self._newest.revision if self._newest else 0
        self._newest = halted(error)
        with self._lock:
            self._unarchived = self._unarchived or _Halt(error, seen)
        self.refresh()
        if self._unarchived is not None:
            log.error("the halt cannot be archived: it applies to this worker only", cause=str(error))

    def hold(self, cancel: CancelToken) -> None:
        """Hold a message that arrived although the fleet is paused or halted.

        Few such messages arrive: the worker stops consuming within a second or two.

        Args:
            cancel: the token of the process. The token of the message has already ended, since the fleet does not run.

        Raises:
            Stopped: the process must end.
        """
        for _ in range(int(HOLD_SECONDS / _HOLD_POLL_SECONDS)):
            newest = self._newest
            if newest is None or newest.state == "running":
                return
            cause = newest.cause or f"the fleet is {newest.state}"
            cancel.wait(_HOLD_POLL_SECONDS, Waiting("fleet", cause, newest.since.timestamp()))

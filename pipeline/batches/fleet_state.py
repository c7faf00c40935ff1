"""The state of the fleet: whether workers may process messages. Numbered in the archive, it outlives every process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pipeline.archive import Archive
from pipeline.core.errors import ServiceRefused
from pipeline.core.models import FleetState


def halt(archive: Archive, error: ServiceRefused) -> FleetState:
    """Archive that the fleet is halted until a person resumes it. The first cause stays."""
    return _change(archive, "halted", error)


def halted(error: ServiceRefused) -> FleetState:
    """Return the halted state for one process, where the archive cannot store it because its disk is full."""
    return _state(0, "halted", error)


def pause(archive: Archive) -> FleetState:
    """Archive that the fleet is paused."""
    return _change(archive, "paused", None)


def resume(archive: Archive) -> FleetState:
    """Archive that the fleet runs, also where it runs already: a worker may have halted without archiving it."""
    return _change(archive, "running", None)


def _change(
    archive: Archive, state: Literal["running", "paused", "halted"], error: ServiceRefused | None
) -> FleetState:
    def successor(newest: FleetState | None) -> FleetState | None:
        if newest is not None and newest.state == state != "running":
            return None
        return _state(newest.revision + 1 if newest else 1, state, error)

    return archive.fleet.append(successor)


def _state(
    revision: int, state: Literal["running", "paused", "halted"], error: ServiceRefused | None = None
) -> FleetState:
    return FleetState(
        revision=revision,
        state=state,
        service=error.service if error else None,
        cause=str(error) if error else None,
        remedy=error.remedy if error else None,
        since=datetime.now(UTC),
    )

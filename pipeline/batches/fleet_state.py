"""Whether the workers may work: a numbered state in the archive, so that it outlives every queue and process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pipeline.archive import Archive
from pipeline.core.errors import ServiceRefused
from pipeline.core.models import FleetState


def halt(archive: Archive, error: ServiceRefused) -> FleetState:
    """Archive that no worker is to go on before a person says so. The first cause stays."""
    return _change(archive, "halted", error)


def halted(error: ServiceRefused) -> FleetState:
    """Return the same for a single process, where the archive cannot take it: its disk is full."""
    return _state(0, "halted", error)


def pause(archive: Archive) -> FleetState:
    """Archive that the workers are to rest."""
    return _change(archive, "paused", None)


def resume(archive: Archive) -> FleetState:
    """Archive that the workers may work, also where they may already: one may have halted that could not archive it."""
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

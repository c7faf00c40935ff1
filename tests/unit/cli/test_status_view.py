"""What `status` shows of the fleet's state and of the last tick."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console, Group

from pipeline.cli.output import fleet_json
from pipeline.cli.status_data import Queues, Unreachable
from pipeline.cli.status_view import StatusSnapshot
from pipeline.core.models import FleetState
from workers.redis.ticks import LastTick


def halted() -> FleetState:
    """A fleet that was halted 26 hours and 5 minutes before now."""
    return FleetState(
        revision=3,
        state="halted",
        service="jina-vlm",
        cause="no balance",
        remedy="Top it up.",
        since=datetime.now(UTC) - timedelta(hours=26, minutes=5),
    )


NEVER = FleetState(revision=0, state="running", since=datetime.fromtimestamp(0, UTC))


def snapshot(fleet: FleetState = NEVER, tick: LastTick | None = None) -> StatusSnapshot:
    queues = Queues({"normal": 0}, 0, [], 0, tick)
    return StatusSnapshot(None, [], [], fleet, queues, None, Unreachable(), "archive")


def shown(snapshot: StatusSnapshot) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(Group(*snapshot.shown()))
    return capture.get()


def test_a_halt_is_shown_with_its_age() -> None:
    assert re.search(r"HALTED since .* UTC, for 1 day, 2:05:\d\d: no balance", shown(snapshot(halted())))
    assert "the fleet is halted for 1 day, 2:05:" in snapshot(halted()).line()
    assert fleet_json(halted())["age_seconds"] == pytest.approx(93_900, abs=60)


def test_a_fleet_that_nobody_ever_stopped_has_no_age() -> None:
    assert fleet_json(NEVER)["age_seconds"] is None


@pytest.mark.parametrize(
    ("tick", "words"),
    [
        (None, "none: start a beat with `pagesight beat`"),
        (LastTick(12.4, "w", 0.1), "0:00:12 ago"),
        (LastTick(12.4, "w", None), "0:00:12 ago"),
        (LastTick(12.4, "w", -95.0), "0:00:12 ago; the clock of the beat is -95 s off: set it (NTP)"),
        (LastTick(600.0, "w", 0.0), "0:10:00 ago: check that a beat and a worker run"),
    ],
)
def test_the_last_tick_is_shown_with_a_remedy_where_one_is_needed(tick: LastTick | None, words: str) -> None:
    assert words in shown(snapshot(tick=tick))

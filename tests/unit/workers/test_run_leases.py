"""A claimed run: what its process tells of it, and when it has to let go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.errors import Stopped
from pipeline.core.models import Run
from pipeline.core.retry import CancelToken
from pipeline.core.schedules import ended_by_death
from workers.schedules import run_leases
from workers.schedules.actions import tokens_today
from workers.schedules.run_leases import RunLease

NOW = datetime(2026, 11, 24, 9, 41, tzinfo=UTC)
RUN = Run(schedule="mend", action="repair", due_at=NOW, worker="first", revision=1, started_at=NOW)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = Archive(Store(str(tmp_path)))
    archive.runs[RUN.schedule].create(RUN)
    return archive


def test_it_is_heard_of_and_its_end_has_what_was_counted(archive: Archive) -> None:
    lease = RunLease(RUN, archive, CancelToken())
    lease.beat()
    heard_at = archive.runs.heartbeat("mend")
    assert heard_at is not None
    assert datetime.now(UTC) - heard_at < timedelta(minutes=1)

    lease.counts["tokens"] += 5
    lease.note()
    lease.counts["tokens"] += 2
    noted = archive.runs["mend"].newest()
    assert noted is not None
    assert (noted.revision, noted.outcome, noted.counts) == (2, None, {"tokens": 5})
    lease.beat()
    assert not lease.cancel.stopped, "its own notes are no other's run"
    assert lease.end({"outcome": "done"})
    ended = archive.runs["mend"].newest()
    assert ended is not None
    assert (ended.revision, ended.outcome, ended.counts) == (3, "done", {"tokens": 7})


def test_one_that_was_taken_for_dead_lets_go_and_changes_nothing(archive: Archive) -> None:
    lease = RunLease(RUN, archive, CancelToken())
    ended = ended_by_death(RUN, None)
    archive.runs[ended.schedule].create(ended)
    again = RUN.model_copy(update={"worker": "second", "revision": 3, "started_at": NOW + timedelta(minutes=4)})
    archive.runs[again.schedule].create(again)

    with pytest.raises(Stopped):
        lease.note()
    assert not lease.end({"outcome": "done"})
    lease.beat()
    assert lease.cancel.stopped
    assert archive.runs.heartbeat("mend") is None, "it does not speak for the other"
    assert archive.runs["mend"].newest() == again


def test_one_that_cannot_tell_stops_before_others_take_it_for_dead(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = RunLease(RUN, archive, CancelToken())
    assert not lease.cancel.stopped
    monkeypatch.setattr(run_leases, "GIVE_UP_SECONDS", -1.0)

    assert lease.cancel.stopped


def test_the_tokens_of_a_day_are_those_of_the_runs_since_midnight_in_a_zone(archive: Archive) -> None:
    def spent(revision: int, started_at: datetime, tokens: int, outcome: str | None) -> None:
        changes = {"revision": revision, "due_at": started_at, "started_at": started_at, "outcome": outcome}
        run = RUN.model_copy(update={**changes, "schedule": "refresh", "counts": {"tokens": tokens}})
        archive.runs[run.schedule].create(run)

    spent(1, datetime(2026, 11, 23, 14, tzinfo=UTC), 1, "done")
    spent(2, datetime(2026, 11, 23, 16, tzinfo=UTC), 10, "done")
    spent(3, datetime(2026, 11, 24, 2, tzinfo=UTC), 100, "failed")
    spent(4, datetime(2026, 11, 24, 9, tzinfo=UTC), 1000, None)

    assert tokens_today(archive, "refresh", ZoneInfo("UTC"), NOW) == 1100
    assert tokens_today(archive, "refresh", ZoneInfo("Asia/Tokyo"), NOW) == 1110  # midnight was at 15:00 UTC
    assert tokens_today(archive, "other", ZoneInfo("UTC"), NOW) == 0

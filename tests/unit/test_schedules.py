"""What is due: once for the newest time, never beside itself, again where it was interrupted."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive import Archive, Store
from pipeline.errors import RevisionTaken
from pipeline.models import Run
from pipeline.schedules import DEAD_AFTER, REVISIONS, Schedule, built_in, check_cron, due, newest_time

NIGHTLY = Schedule("repair", "repair", "17 2 * * *", seconds=600)
NOW = datetime(2026, 11, 24, 9, 41, 33, tzinfo=UTC)
TONIGHT = datetime(2026, 11, 24, 2, 17, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC))
CRONS = st.sampled_from(["* * * * *", "*/7 * * * *", "17 2 * * *", "0 0 29 2 *", "30 4 1,15 * 5", "47 * * * *"])


def ran(due_at: datetime = TONIGHT, outcome: str | None = "done", revision: int = 2, ago: timedelta = SECOND) -> Run:
    return Run(
        schedule="repair",
        action="repair",
        due_at=due_at,
        worker="w",
        revision=revision,
        started_at=NOW - ago,
        outcome=outcome,
    )


def due_now(last: Run | None, schedule: Schedule = NIGHTLY) -> list[tuple[datetime, int]]:
    runs = due([schedule], {} if last is None else {"repair": last}, NOW, "w")
    return [(run.due_at, run.revision) for run in runs]


def test_what_never_ran_is_due_once() -> None:
    assert due_now(None) == [(TONIGHT, 1)]


def test_what_ran_is_not_due_before_its_next_time() -> None:
    assert due_now(ran()) == []


def test_of_many_missed_times_only_the_newest_is_due() -> None:
    assert due_now(ran(TONIGHT - timedelta(days=40))) == [(TONIGHT, 1)]


def test_a_failed_run_waits_for_its_next_time() -> None:
    assert due_now(ran(outcome="failed")) == []


@pytest.mark.parametrize("due_at", [TONIGHT, TONIGHT - timedelta(days=1)])
def test_a_run_that_goes_on_keeps_the_next_one_from_beginning(due_at: datetime) -> None:
    assert due_now(ran(due_at, None, 1, timedelta(seconds=DEAD_AFTER * 600) - SECOND)) == []


def test_a_run_that_is_not_over_in_time_has_died_and_is_claimed_again() -> None:
    assert due_now(ran(TONIGHT, None, 1, timedelta(seconds=DEAD_AFTER * 600))) == [(TONIGHT, 2)]


def test_a_dead_run_of_an_earlier_time_is_left_for_the_newest_one() -> None:
    yesterday = TONIGHT - timedelta(days=1)

    assert due_now(ran(yesterday, None, 1, timedelta(hours=20))) == [(TONIGHT, 1)]


def test_an_interrupted_run_is_claimed_again_but_not_for_ever() -> None:
    claims = []
    last = ran(TONIGHT, "interrupted", 2)
    while runs := due([NIGHTLY], {"repair": last}, NOW, "w"):
        claims.append(runs[0].revision)
        last = runs[0].model_copy(update={"outcome": "interrupted", "revision": runs[0].revision + 1})

    assert claims == [3, 5]
    assert last.revision == REVISIONS


def test_a_new_cron_expression_makes_nothing_due_that_was_before_the_last_run() -> None:
    earlier = Schedule("repair", "repair", "0 1 * * *", seconds=600)

    assert due_now(ran(), earlier) == []


def test_schedules_do_not_get_in_each_others_way() -> None:
    both = built_in("17 2 * * *", "47 * * * *")
    runs = due(both, {"repair": ran(outcome=None, revision=1)}, NOW, "w")

    assert [(run.schedule, run.due_at) for run in runs] == [("retry", datetime(2026, 11, 24, 8, 47, tzinfo=UTC))]


def test_a_schedule_that_is_off_is_none() -> None:
    assert [schedule.name for schedule in built_in("off", "47 * * * *")] == ["retry"]


@given(cron=CRONS, now=MOMENTS)
def test_the_newest_time_is_never_ahead_and_stays_until_the_next(cron: str, now: datetime) -> None:
    newest = newest_time(cron, now)

    assert newest <= now
    assert newest_time(cron, newest) == newest
    assert newest_time(cron, newest - SECOND) < newest


@given(cron=CRONS, start=MOMENTS, steps=st.lists(st.integers(1, 5 * 24 * 3600), max_size=30))
def test_however_ticks_come_each_run_is_newer_than_the_one_before(cron: str, start: datetime, steps: list[int]) -> None:
    schedule = Schedule("repair", "repair", cron, seconds=600)
    last: dict[str, Run] = {}
    times = []
    now = start
    for step in steps:
        now += timedelta(seconds=step)
        for run in due([schedule], last, now, "w"):
            times.append(run.due_at)
            last["repair"] = run.model_copy(update={"outcome": "done", "revision": 2})
        assert last["repair"].due_at == newest_time(cron, now)  # nothing is missed for longer than to the next tick

    assert times == sorted(set(times))


def test_of_many_beats_one_has_the_run(tmp_path: Path) -> None:
    archive = Archive(Store(str(tmp_path)))

    def claim(worker: int) -> bool:
        (run,) = due([NIGHTLY], {}, NOW, str(worker))
        try:
            archive.append_run(run)
        except RevisionTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(claim, range(32)))

    assert won.count(True) == 1
    newest = archive.newest_run("repair")
    assert newest is not None
    assert newest.worker == str(won.index(True))


def test_the_archive_knows_the_last_run_of_each_schedule(tmp_path: Path) -> None:
    archive = Archive(Store(str(tmp_path)))
    old, new = ran(TONIGHT - timedelta(days=1), revision=1), ran(revision=1)
    for run in (new, old, old.model_copy(update={"revision": 2, "outcome": "failed"})):
        archive.append_run(run)

    assert archive.newest_run("repair") == new
    assert archive.newest_run("retry") is None
    assert [(run.due_at, run.revision) for run in archive.runs()] == [(old.due_at, 2), (new.due_at, 1)]


@pytest.mark.parametrize(
    "words", ["", "daily", "@daily", "* * * *", "* * * * * *", "61 * * * *", "0 0 31 2 *", "0 0 * * 9"]
)
def test_what_is_no_cron_expression_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="no cron expression"):
        check_cron(words)


@pytest.mark.parametrize("words", ["off", "* * * * *", "*/5 8-18 * * MON", "0 3 1 * *"])
def test_what_is_one_passes(words: str) -> None:
    assert check_cron(words) == words

"""What is due: once for the newest time, never beside itself, again where it was interrupted, not in quiet hours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive import Archive, Store
from pipeline.core.errors import RevisionTaken, SettingsError
from pipeline.core.models import Run
from pipeline.core.schedules import (
    ATTEMPTS,
    SILENT_SECONDS,
    Schedule,
    claim_now,
    due,
    ended_by_death,
    has_died,
    newest_cron,
    next_cron,
    next_start,
    parse_schedules,
)
from pipeline.projection.records import run_record_id

NOW = datetime(2026, 11, 24, 9, 41, 33, tzinfo=UTC)
TONIGHT = datetime(2026, 11, 24, 2, 17, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
BERLIN = ZoneInfo("Europe/Berlin")
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC))
CRONS = st.sampled_from(["* * * * *", "*/7 * * * *", "17 2 * * *", "0 0 29 2 *", "30 4 1,15 * 5", "47 * * * *"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"])
INTERVALS = st.sampled_from(["1m", "15m", "7h", "1d", "2w"])


def schedule(name: str = "repair", **table: Any) -> Schedule:
    """One that does what `repair` does."""
    return parse_schedules({name: {"action": "repair", **table}})[name]


NIGHTLY = schedule(cron="17 2 * * *")


def ran(due_at: datetime = TONIGHT, outcome: str | None = "done", revision: int = 2, **changes: Any) -> Run:
    given: dict[str, Any] = {
        "schedule": "repair",
        "action": "repair",
        "due_at": due_at,
        "worker": "w",
        "revision": revision,
        "started_at": NOW - SECOND,
        "outcome": outcome,
    }
    return Run(**given | changes)


def due_now(last: Run | None, what: Schedule = NIGHTLY, now: datetime = NOW) -> list[tuple[datetime, int, int]]:
    runs = due([what], {} if last is None else {what.name: last}, now, "w")
    return [(run.due_at, run.revision, run.attempt) for run in runs]


def test_what_never_ran_is_due_once() -> None:
    assert due_now(None) == [(TONIGHT, 1, 1)]


def test_what_ran_is_not_due_before_its_next_time() -> None:
    assert due_now(ran()) == []
    assert due_now(ran(), now=TONIGHT + timedelta(days=1) - SECOND) == []
    assert due_now(ran(), now=TONIGHT + timedelta(days=1)) == [(TONIGHT + timedelta(days=1), 3, 1)]


def test_of_many_missed_times_only_the_newest_is_due() -> None:
    assert due_now(ran(TONIGHT - timedelta(days=40))) == [(TONIGHT, 3, 1)]


def test_a_failed_run_waits_for_its_next_time() -> None:
    assert due_now(ran(outcome="failed")) == []


def test_runs_that_are_begun_by_hand_in_one_second_are_runs_of_their_own(tmp_path: Path) -> None:
    archive = Archive(Store(str(tmp_path)))
    last = ran(NOW, revision=1, counts={"vanished": 1})
    moments = [NOW.replace(microsecond=1), NOW.replace(microsecond=2)]
    archive.runs["repair"].create(last)
    for moment in moments:
        claimed = claim_now(NIGHTLY, last, moment, "w")
        assert (claimed.attempt, claimed.counts) == (1, {})
        archive.runs["repair"].create(claimed)
        last = ran(moment, revision=claimed.revision + 1, counts={"vanished": 1})
        archive.runs["repair"].create(last)

    found = list(archive.runs.latest_of("repair"))
    assert [run.due_at for run in found] == [*reversed(moments), NOW]
    assert len({run_record_id(run) for run in found}) == 3


@pytest.mark.parametrize("due_at", [TONIGHT, TONIGHT - timedelta(days=1)])
def test_a_run_that_goes_on_keeps_the_next_one_from_beginning(due_at: datetime) -> None:
    assert due_now(ran(due_at, None, 1)) == []


def test_a_run_that_nobody_hears_of_has_died_and_one_that_is_heard_of_has_not() -> None:
    silent = timedelta(seconds=SILENT_SECONDS)
    run = ran(outcome=None, revision=1, started_at=NOW - 2 * silent)

    assert has_died(run, None, NOW)
    assert has_died(run, NOW - silent, NOW)
    assert not has_died(run, NOW - silent + SECOND, NOW)
    assert not has_died(run.model_copy(update={"started_at": NOW - SECOND}), NOW - silent, NOW)
    assert not has_died(run.model_copy(update={"outcome": "done"}), None, NOW)


def test_a_dead_run_is_ended_as_interrupted_and_begun_again() -> None:
    heard = NOW - timedelta(hours=1)
    ended = ended_by_death(ran(outcome=None, revision=1, started_at=heard - MINUTE, counts={"tokens": 7}), heard)

    assert (ended.outcome, ended.revision, ended.ended_at, ended.seconds) == ("interrupted", 2, heard, 60)
    assert ended.error
    assert ended.remedy
    (again,) = due([NIGHTLY], {"repair": ended}, NOW, "other")
    assert (again.due_at, again.revision, again.attempt, again.outcome) == (TONIGHT, 3, 2, None)
    assert again.counts == {"tokens": 7}, "what it had spent is not forgotten"
    assert (again.worker, again.error) == ("other", None)


def test_an_interrupted_run_of_an_earlier_time_is_left_for_the_newest_one() -> None:
    assert due_now(ran(TONIGHT - timedelta(days=1), "interrupted")) == [(TONIGHT, 3, 1)]


def test_an_interrupted_run_is_claimed_again_but_not_for_ever() -> None:
    attempts = [1]
    last = ran(outcome="interrupted")
    while runs := due([NIGHTLY], {"repair": last}, NOW, "w"):
        attempts.append(runs[0].attempt)
        last = runs[0].model_copy(update={"outcome": "interrupted", "revision": runs[0].revision + 1})

    assert attempts == list(range(1, ATTEMPTS + 1))


def test_other_times_make_nothing_due_that_was_before_the_last_run() -> None:
    assert due_now(ran(), schedule(cron="0 1 * * *")) == []
    assert due_now(ran(), schedule(every="1d")) == []


def test_a_run_that_a_person_began_makes_up_for_the_times_before_it() -> None:
    assert due_now(ran(NOW)) == []
    assert due_now(ran(NOW, "interrupted", attempt=1)) == [(NOW, 3, 2)]


def test_schedules_do_not_get_in_each_others_way() -> None:
    both = parse_schedules({}).values()
    runs = due(both, {"repair": ran(outcome=None, revision=1)}, NOW, "w")

    assert [(run.schedule, run.due_at) for run in runs] == [("retry", datetime(2026, 11, 24, 8, 47, tzinfo=UTC))]


def test_a_schedule_that_is_off_is_never_due() -> None:
    off = schedule(cron="* * * * *", enabled=False)

    assert due_now(None, off) == []
    assert next_start(off, None, NOW) is None


def test_an_interval_is_due_at_its_multiples() -> None:
    quarter = schedule(every="15m")

    assert due_now(None, quarter) == [(NOW.replace(minute=30, second=0), 1, 1)]
    assert due_now(ran(NOW.replace(minute=30, second=0)), quarter) == []
    assert due_now(ran(NOW.replace(minute=15, second=0)), quarter) == [(NOW.replace(minute=30, second=0), 3, 1)]
    assert schedule(every="1w").newest_time(NOW).strftime("%a %H:%M") == "Mon 00:00"


# -- quiet hours


def test_in_quiet_hours_nothing_begins_and_then_what_was_due_runs_once() -> None:
    hourly = schedule(cron="0 * * * *", timezone="Europe/Berlin", quiet="08:00-18:00")  # 07:00 to 17:00 UTC
    last, runs = ran(datetime(2026, 11, 24, 6, tzinfo=UTC)), []
    for minute in range(13 * 60):
        now = datetime(2026, 11, 24, 6, tzinfo=UTC) + minute * MINUTE
        for run in due([hourly], {"repair": last}, now, "w"):
            runs.append(f"{now:%H:%M}")
            last = run.model_copy(update={"outcome": "done"})

    assert runs == ["17:00", "18:00"]


def test_quiet_hours_may_be_several_and_go_over_midnight() -> None:
    quiet = schedule(every="1m", quiet=["22:30-06:00", "12:00-13:00"])
    hours = {hour for hour in range(24) if quiet.is_quiet(NOW.replace(hour=hour, minute=15))}

    assert hours == {23, 0, 1, 2, 3, 4, 5, 12}
    assert quiet.is_quiet(NOW.replace(hour=22, minute=30))
    assert not quiet.is_quiet(NOW.replace(hour=6, minute=0))


def test_quiet_hours_hold_back_what_was_interrupted() -> None:
    assert due_now(ran(outcome="interrupted"), schedule(cron="17 2 * * *", quiet="09:00-10:00")) == []


@pytest.mark.parametrize(
    ("quiet", "last", "expected"),
    [
        ("03:00-04:00", ran(), datetime(2026, 11, 25, 2, 17, tzinfo=UTC)),
        ("02:00-04:00", ran(), datetime(2026, 11, 25, 4, 0, tzinfo=UTC)),
        ("09:00-10:30", None, datetime(2026, 11, 24, 10, 30, tzinfo=UTC)),
        ("03:00-04:00", None, TONIGHT),
        ("03:00-04:00", ran(outcome=None, revision=1), datetime(2026, 11, 25, 2, 17, tzinfo=UTC)),
    ],
)
def test_the_next_start_heeds_quiet_hours(quiet: str, last: Run | None, expected: datetime) -> None:
    assert next_start(schedule(cron="17 2 * * *", quiet=quiet), last, NOW) == expected


# -- changes of clocks


def times(cron: str, first: datetime, hours: int) -> list[str]:
    """What a schedule in Berlin does within so many hours, minute by minute as ticks come."""
    what = schedule(cron=cron, timezone="Europe/Berlin")
    last, found = ran(first - MINUTE), []
    for minute in range(hours * 60):
        now = first + minute * MINUTE
        for run in due([what], {"repair": last}, now, "w"):
            found.append(f"{now.astimezone(BERLIN):%H:%M %Z}")
            last = run.model_copy(update={"outcome": "done"})
    return found


#: At 01:00 UTC clocks go from 02:00 to 03:00, or from 03:00 back to 02:00.
SPRING = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)


def test_a_time_that_the_clocks_skip_is_run_once_after_the_gap() -> None:
    assert times("30 2 * * *", SPRING, 6) == ["03:00 CEST"]


def test_a_time_that_comes_twice_is_run_the_first_time_only() -> None:
    assert times("30 2 * * *", AUTUMN, 6) == ["02:30 CEST"]


def test_each_hour_goes_by_the_time_that_passes() -> None:
    assert times("0 * * * *", SPRING, 3) == ["01:00 CET", "03:00 CEST", "04:00 CEST"]
    assert times("0 * * * *", AUTUMN, 4) == ["01:00 CEST", "02:00 CEST", "02:00 CET", "03:00 CET"]


def test_between_the_two_the_newest_time_is_the_first_one() -> None:
    within = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10, for the second time

    assert newest_cron("30 2 * * *", BERLIN, within) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert next_cron("30 2 * * *", BERLIN, within) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@given(cron=CRONS, zone=ZONES, now=MOMENTS)
def test_the_newest_time_is_never_ahead_and_stays_until_the_next(cron: str, zone: str, now: datetime) -> None:
    what = schedule(cron=cron, timezone=zone)
    newest, coming = what.newest_time(now), what.next_time(now)

    assert newest <= now < coming
    assert what.newest_time(newest) == newest
    assert what.newest_time(newest - SECOND) < newest
    assert what.newest_time(coming - SECOND) == newest
    assert what.newest_time(coming) == coming


@given(every=INTERVALS, now=MOMENTS)
def test_intervals_follow_one_another(every: str, now: datetime) -> None:
    what = schedule(every=every)

    assert what.newest_time(now) <= now < what.next_time(now)
    assert what.every is not None
    assert what.next_time(now) - what.newest_time(now) == what.every


@given(cron=CRONS, zone=ZONES, start=MOMENTS, steps=st.lists(st.integers(1, 5 * 24 * 3600), max_size=15))
def test_however_ticks_come_each_run_is_newer_than_the_one_before(
    cron: str, zone: str, start: datetime, steps: list[int]
) -> None:
    what = schedule(cron=cron, timezone=zone)
    runs: list[Run] = []
    now = start
    for step in steps:
        now += timedelta(seconds=step)
        last = {"repair": runs[-1].model_copy(update={"outcome": "done"})} if runs else {}
        runs += due([what], last, now, "w")
        assert runs[-1].due_at == what.newest_time(now)  # nothing is missed for longer than to the next tick

    assert all(before.due_at < after.due_at for before, after in pairwise(runs))


# -- the chain of runs in the archive


def test_of_many_who_claim_one_has_the_run(tmp_path: Path) -> None:
    archive = Archive(Store(str(tmp_path)))

    def claim(worker: int) -> bool:
        now = NOW + worker * timedelta(hours=1)  # for them it is due at different times
        (run,) = due([schedule(every="1h")], {}, now, str(worker))
        try:
            archive.runs[run.schedule].create(run)
        except RevisionTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(claim, range(32)))

    assert won.count(True) == 1
    newest = archive.runs["repair"].newest()
    assert newest is not None
    assert newest.worker == str(won.index(True))


def test_the_archive_tells_how_each_run_stands_the_newest_first(tmp_path: Path) -> None:
    archive = Archive(Store(str(tmp_path)))
    states = [
        ran(TONIGHT - timedelta(days=1), None, 1),
        ran(TONIGHT - timedelta(days=1), "failed", 2),
        ran(TONIGHT, None, 3),
        ran(TONIGHT, "interrupted", 4),
        ran(TONIGHT, None, 5, attempt=2),
    ]
    for state in states:
        archive.runs[state.schedule].create(state)

    assert archive.runs["repair"].newest() == states[4]
    assert archive.runs["retry"].newest() is None
    assert [(run.revision, run.outcome) for run in archive.runs.latest()] == [(5, None), (2, "failed")]
    assert archive.runs.names() == ["repair"]


# -- what people write


def refused(name: str, **table: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        parse_schedules({name: table})
    return f"{caught.value} {caught.value.remedy}"


def test_what_people_write_becomes_schedules() -> None:
    found = parse_schedules(
        {
            "scans": {"action": "sync", "folders": "/mnt/scans", "every": "15m", "delete": True, "exclude": "*.tmp"},
            "refresh": {"action": "redescribe", "where": "reason=profile", "budget_tokens": 9, "cron": "0 1 * * *"},
            "index": {"action": "reindex", "cron": "0 3 * * SUN", "timezone": "Asia/Tokyo", "quiet": ["8:00-9:30"]},
            "repair": {"enabled": False},
            "retry": {"every": "6h", "error": "unreadable"},
        }
    )

    assert {name: (what.action, what.when) for name, what in found.items() if what.enabled} == {
        "scans": ("sync", "every 15m"),
        "refresh": ("redescribe", "At 01:00 every day (UTC)"),
        "index": ("reindex", "At 03:00 on Sunday, not 08:00-09:30 (Asia/Tokyo)"),
        "retry": ("retry", "every 6h"),
    }


@pytest.mark.parametrize(
    "words", ["", "daily", "@daily", "* * * *", "* * * * * *", "61 * * * *", "0 0 31 2 *", "0 0 * * 9"]
)
def test_what_is_no_cron_expression_is_refused(words: str) -> None:
    assert "not a cron expression" in refused("repair", cron=words)


@pytest.mark.parametrize("words", ["", "15", "15 minutes", "0m", "-1h", "1y", "1.5h", "m"])
def test_what_is_no_interval_is_refused(words: str) -> None:
    assert "is not an interval" in refused("repair", every=words)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"action": "snyc"}, "Did you mean sync?"),
        ({"cron": "* * * * *"}, "an action is missing"),
        ({"action": "sync", "folder": "/mnt"}, "Did you mean folders?"),
        ({"action": "sync", "every": "1h"}, "folders: Field required"),
        ({"action": "sync", "every": "1h", "folders": []}, "folders"),
        ({"action": "sync", "every": "1h", "folders": "scans"}, "neither an absolute path nor a URL"),
        ({"action": "sync", "every": "1h", "folders": "/mnt", "collection": "No Slug"}, "collection"),
        ({"action": "sync", "every": "1h", "folders": "/mnt", "exclude": ["*.tmp", "# all"]}, "exclude: '# all'"),
        ({"action": "prune", "every": "1h", "cron": "* * * * *"}, "either `cron` or `every`"),
        ({"action": "prune"}, "either `cron` or `every`"),
        ({"action": "prune", "every": "1h", "keep": -1}, "keep"),
        ({"action": "prune", "every": "1h", "timezone": "Europe/Berln"}, "did you mean 'Europe/Berlin'"),
        ({"action": "prune", "every": "1h", "timezone": "../etc/passwd"}, "unknown time zone"),
        ({"action": "prune", "every": "1h", "quiet": "8-18"}, "are not quiet hours"),
        ({"action": "prune", "every": "1h", "quiet": "08:00-25:00"}, "quiet"),
        ({"action": "prune", "every": "1h", "quiet": "08:00-08:00"}, "has no length"),
        ({"action": "prune", "every": "1h", "quiet": ["00:00-12:00", "11:00-24:00"]}, "no time to run"),
        ({"action": "retry", "every": "1h", "error": "encrypted"}, "is not a transient error"),
        ({"action": "redescribe", "every": "1d"}, "budget_tokens: Field required"),
        ({"action": "redescribe", "every": "1d", "budget_tokens": 1, "where": "reason=lazy"}, "unknown reason 'lazy'"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_write(table: dict[str, Any], words: str) -> None:
    said = refused("nightly", **table)

    assert "schedules.nightly" in said
    assert words in said


@pytest.mark.parametrize("name", ["Nightly", "", "a/b", "..", "sweep"])
def test_names_are_fit_for_folders_and_not_those_of_sweeps(name: str) -> None:
    assert "name" in refused(name, action="prune", every="1d")

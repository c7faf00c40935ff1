"""Ticks on a real Redis, a real Elasticsearch and a real archive: what is due is done once, whoever is told of it."""

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.core.models import Collection
from pipeline.core.models import Run as ScheduledRun
from pipeline.search import RUNS
from pipeline.search.index import Index
from support.pagesight_runs import MakePagesight, Pagesight
from support.redis_server import RedisServer

#: A worker process without a worker around it, which ticks so often.
TICKS = """
import sys
from workers.process import WorkerProcess
from workers.schedules import beat
process = WorkerProcess.begin()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[1])):
    beat.tick(process)
process.close()
"""
#: Receives two ticks of a beat whose clock is 400 s behind.
RECEIVES = TICKS.replace("beat.tick(process)", "beat.receive(process, -400.0)")


@pytest.fixture
def home(make_pagesight: MakePagesight, index: Index, elasticsearch_url: str, redis_server: RedisServer) -> Pagesight:
    """A home with indices, and nothing in them."""
    return make_pagesight(elasticsearch_url, redis_url=redis_server.url)


class Ticking:
    """A process that ticks once it is told to."""

    def __init__(self, home: Pagesight, ticks: int = 1, script: str = TICKS) -> None:
        command = [sys.executable, "-W", "error", "-c", script, str(ticks)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, env=home.environment, cwd=home.home, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            pytest.fail(self._process.communicate(timeout=60)[1])

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def ended(self) -> str:
        logged, said = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, said
        return str(logged)


def have(home: Pagesight, **tables: dict[str, Any]) -> None:
    """Declare schedules; of those that every fleet has only those that are named."""
    off = {name: {"enabled": False} for name in ("repair", "retry")}
    home.set(schedules=json.dumps(off | tables))


def tick(home: Pagesight, processes: int = 1, ticks: int = 1) -> None:
    ticking = [Ticking(home, ticks) for _ in range(processes)]
    for process in ticking:
        process.go()
    for process in ticking:
        process.ended()


def archived(home: Pagesight) -> list[tuple[str, int, str | None]]:
    return [(run.schedule, run.revision, run.outcome) for run in home.archive.runs.latest()]


def indexed(home: Pagesight) -> dict[str, tuple[int, str | None]]:
    with home.client() as client:
        client.indices.refresh(index=RUNS)
        hits = client.search(index=RUNS, size=100, version=True)["hits"]["hits"]
    return {hit["_id"]: (hit["_version"], hit["_source"].get("outcome")) for hit in hits}


def test_ticks_at_once_do_what_is_due_once(home: Pagesight) -> None:
    tick(home, processes=3)

    assert archived(home) == [("repair", 2, "done"), ("retry", 2, "done")]
    assert sorted(indexed(home).values()) == [(2, "done"), (2, "done")]
    assert len(list(home.archive_folder.glob("runs/*/*.json"))) == 4


def test_status_tells_the_last_tick_and_that_the_clock_of_its_beat_is_behind(home: Pagesight) -> None:
    assert "start a beat" in home.run("status").stdout
    ticking = Ticking(home, ticks=2, script=RECEIVES)
    ticking.go()
    logged = ticking.ended()

    assert logged.count("the clock of a beat is wrong") == 2
    assert "Set the clock of the beat" in logged
    last = home.run("status", "--json").json["last_tick"]
    assert last["clock_offset_seconds"] == -400
    assert 0 <= last["ago_seconds"] < 60
    assert "-400 s off" in home.run("status").stdout
    assert archived(home) == [("repair", 2, "done"), ("retry", 2, "done")]  # of the first tick


def test_a_tick_that_finds_nothing_leaves_nothing(home: Pagesight) -> None:
    have(home, mend={"action": "repair", "every": "1w"})  # the schedules of every fleet may be due again meanwhile
    tick(home)
    before = sorted(home.archive_folder.rglob("runs/**/*.json"))
    assert before
    tick(home, ticks=3)

    assert sorted(home.archive_folder.rglob("runs/**/*.json")) == before


def test_what_is_off_is_not_done(home: Pagesight) -> None:
    have(home, retry={})
    tick(home)

    assert [schedule for schedule, _, _ in archived(home)] == ["retry"]


def test_while_the_fleet_stands_still_nothing_is_begun(home: Pagesight) -> None:
    assert home.run("pause").code == 0
    tick(home)

    assert archived(home) == []


def test_a_run_whose_process_died_is_done_again(home: Pagesight) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=2)
    newest = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    dead = ScheduledRun(schedule="mend", action="repair", due_at=newest, worker="dead", revision=1, started_at=long_ago)
    home.archive.runs[dead.schedule].create(dead)
    have(home, mend={"action": "repair", "every": "1d"})
    tick(home)

    states = list(home.archive_folder.glob("runs/mend/*.json"))
    assert len(states) == 4  # claimed, found dead, claimed again, ended
    (run,) = home.archive.runs.latest()
    assert (run.outcome, run.attempt, run.due_at) == ("done", 2, newest)


def test_a_run_that_fails_says_why(home: Pagesight, index: Index) -> None:
    have(home, retry={})
    home.archive.collections["works"].append(lambda _: Collection(name="works", language="en", profile="p", revision=1))
    ticking = Ticking(home)
    with home.client() as client:
        client.indices.delete(index=["pages-v1", "sources-v1"])
    ticking.go()
    ticking.ended()

    (run,) = home.archive.runs.latest()
    assert run.outcome == "failed"
    assert run.error
    assert run.remedy


def test_reindexing_brings_the_runs_back(home: Pagesight, index: Index) -> None:
    tick(home)
    before = indexed(home)
    index.drop()
    assert home.run("reindex").code == 0

    assert indexed(home) == before
    assert len(before) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_beat_ends_when_told_and_leaves_no_file(home: Pagesight, number: signal.Signals) -> None:
    before = sorted(home.home.iterdir())
    home.set(log_level="debug")
    run = home.start("beat")
    run.until(lambda: "Ticking" in run.stderr, seconds=60)
    run.interrupt(number)
    ended = run.ended(60)

    assert ended.code == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    outputs = {path for path in home.home.iterdir() if path.name.startswith("run-")}
    assert set(home.home.iterdir()) - outputs == set(before)


@pytest.mark.parametrize(("command", "sign"), [("worker", "ready"), ("beat", "Ticking")])
def test_a_folder_with_packages_of_our_names_does_no_harm(home: Pagesight, command: str, sign: str) -> None:
    for name in ("workers", "pipeline"):
        (home.home / name).mkdir()
        for module in ("__init__", "app", "tasks"):
            (home.home / name / f"{module}.py").write_text("raise SystemExit('this is another package')\n")
    home.set(log_level="debug")
    run = home.start(command)
    run.until(lambda: sign in run.stderr, seconds=60)
    run.interrupt(signal.SIGTERM)
    ended = run.ended(60)

    assert ended.code == 0, ended.stderr
    assert "another package" not in ended.stderr


def test_a_beat_without_redis_says_so(home: Pagesight, redis_server: RedisServer) -> None:
    redis_server.stop()
    ended = home.run("beat")

    assert ended.code == 3
    assert "Redis is away" in ended.stderr
    home.set(redis_url=None)
    assert "pagesight redis start" in home.run("beat").stderr


def test_a_cron_expression_that_is_none_is_told_before_anything_begins(home: Pagesight) -> None:
    have(home, retry={"cron": "every hour"})
    ended = home.run("beat")

    assert ended.code == 2
    assert "schedules.retry" in ended.stderr
    assert "not a cron expression" in ended.stderr

"""Schedules as operators have them: declared, run by beats and workers or at once, and a history that is true."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.models import Run as ScheduledRun
from pipeline.search import RUNS
from support.fleet_runs import SHORT_MINUTES, Fleet
from support.pagesight_runs import Pagesight, make_pdf, make_picture
from support.standin import Standin

#: A tick of a worker for which whoever was silent for a second has died.
IMPATIENT_TICK = """
from pipeline.core.schedules import runs
runs.SILENT_SECONDS = 1.0
from workers.process import WorkerProcess
from workers.schedules import beat
process = WorkerProcess.begin()
beat.tick(process)
process.close()
"""


def have(pagesight: Pagesight, **tables: dict[str, Any]) -> None:
    """Declare these schedules and no others, in the file that people write them in."""
    lines = []
    for name, table in ({"repair": {"enabled": False}, "retry": {"enabled": False}} | tables).items():
        lines += [f"[schedules.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    (pagesight.home / "pagesight.toml").write_text("\n".join(lines), encoding="utf-8")


def run(pagesight: Pagesight, name: str, code: int = 0) -> dict[str, Any]:
    """`pagesight schedule run`, and what it tells of the run."""
    ended = pagesight.run("schedule", "run", name, "--json")
    assert ended.code == code, ended.stderr
    return dict(ended.json)


def history(pagesight: Pagesight, *words: str) -> list[dict[str, Any]]:
    ended = pagesight.run("schedule", "history", "--json", *words)
    assert ended.code == 0, ended.stderr
    return list(ended.json["runs"])


def listed(pagesight: Pagesight) -> dict[str, dict[str, Any]]:
    ended = pagesight.run("schedule", "list", "--json")
    assert ended.code == 0, ended.stderr
    return {schedule["name"]: schedule for schedule in ended.json["schedules"]}


def indexed_runs(pagesight: Pagesight) -> dict[str, str | None]:
    with pagesight.client() as client:
        client.indices.refresh(index=RUNS)
        hits = client.search(index=RUNS, size=100)["hits"]["hits"]
    return {hit["_source"]["schedule"]: hit["_source"].get("outcome") for hit in hits}


@pytest.mark.slow
def test_of_two_beats_one_is_killed_and_a_new_file_is_found_all_the_same(fleet: Fleet, standin: Standin) -> None:
    pagesight = fleet.pagesight
    have(pagesight, scans={"action": "sync", "every": "1m", "folders": str(pagesight.files)})
    make_pdf(pagesight.files / "first.pdf", 2, seed=1)
    fleet.customise_workers(SHORT_MINUTES)
    beats = [pagesight.start_with(fleet.environment, "beat") for _ in range(2)]
    fleet.start_worker()
    fleet.until(lambda: len(pagesight.newest()) == 2)
    beats[0].kill()
    make_pdf(pagesight.files / "second.pdf", 3, seed=2)
    fleet.until(lambda: len(pagesight.newest()) == 5)
    beats[1].interrupt()
    assert beats[1].ended(60).code == 0

    runs = list(pagesight.archive.runs.latest_of("scans"))
    assert {run.outcome for run in runs} <= {"done", None}
    assert len({run.due_at for run in runs}) == len(runs)
    assert [run.counts["new"] for run in reversed(runs) if run.counts.get("new")] == [1, 1]
    _until_all_ended(fleet)
    assert standin.counters()["answered"] == 10, "each page was asked about once"
    pagesight.assert_archive_and_index_agree()
    fleet.assert_nothing_left(killed=True)


def test_a_run_at_once_enqueues_what_is_new_and_is_told(fleet: Fleet) -> None:
    pagesight = fleet.pagesight
    make_picture(pagesight.files / "plate.png", 1)
    have(
        pagesight,
        scans={
            "action": "sync",
            "cron": "0 3 * * SUN",
            "timezone": "Asia/Tokyo",
            "folders": [str(pagesight.home / "not-mounted"), str(pagesight.files)],
        },
    )
    assert listed(pagesight)["scans"]["last"] is None
    first = run(pagesight, "scans", code=1)
    assert "not-mounted" in first["error"]
    assert first["remedy"]
    assert (first["outcome"], first["counts"]["new"], first["counts"]["sources"]) == ("failed", 1, 1)

    (pagesight.home / "not-mounted").mkdir()
    second = run(pagesight, "scans")
    # No worker has come to it, so that the archive does not know it: it is new, and queued already.
    assert (second["counts"]["new"], second["counts"].get("sources", 0)) == (1, 0)
    assert len(pagesight.archive.batches.names()) == 1

    assert [one["outcome"] for one in history(pagesight)] == ["done", "failed"]
    assert [one["outcome"] for one in history(pagesight, "scans", "--failed")] == ["failed"]
    assert len(history(pagesight, "--limit", "1")) == 1
    shown = listed(pagesight)["scans"]
    assert shown["last"]["outcome"] == "done"
    assert datetime.fromisoformat(shown["next"]) > datetime.now(UTC)
    table = pagesight.run("schedule", "list")
    assert "At 03:00 on Sunday (Asia/Tokyo)" in table.stdout
    assert "JST" in table.stdout
    told = pagesight.run("schedule", "history", "scans")
    assert "not-mounted" in told.stdout


def test_what_vanished_is_deleted_by_schedule_but_not_in_masses(fleet: Fleet) -> None:
    pagesight = fleet.pagesight
    for number in range(20):
        make_picture(pagesight.files / f"plate-{number}.png", number)
    assert pagesight.index().code == 0
    have(
        pagesight,
        scans={"action": "sync", "every": "1h", "folders": str(pagesight.files), "delete": True},
    )
    (pagesight.files / "plate-3.png").unlink()
    assert run(pagesight, "scans")["counts"]["deleted"] == 1
    aside = pagesight.home / "aside"
    shutil.move(pagesight.files, aside)
    pagesight.files.mkdir()
    (aside / "plate-4.png").rename(pagesight.files / "plate-4.png")
    refused = run(pagesight, "scans", code=1)
    assert "18 of 19 known files vanished" in refused["error"]
    assert refused["counts"]["vanished"] == 18
    assert len(pagesight.records()) == 19


def test_an_index_is_made_anew_and_old_ones_go_by_schedule(fleet: Fleet) -> None:
    pagesight = fleet.pagesight
    make_picture(pagesight.files / "plate.png", 1)
    assert pagesight.index().code == 0
    have(
        pagesight,
        anew={"action": "reindex", "cron": "0 3 * * SUN", "keep": 1},
        old={"action": "prune", "every": "1d", "keep": 0},
    )
    assert run(pagesight, "anew")["counts"]["pages"] == 1
    assert run(pagesight, "old")["counts"]["pruned"] > 0
    assert run(pagesight, "old")["counts"]["pruned"] == 0
    pagesight.assert_archive_and_index_agree()


def test_a_schedule_that_is_under_way_or_unknown_is_refused(fleet: Fleet) -> None:
    pagesight = fleet.pagesight
    have(pagesight, mend={"action": "repair", "every": "1h"})
    now = datetime.now(UTC)
    begun = ScheduledRun(schedule="mend", action="repair", due_at=now, worker="another", revision=1, started_at=now)
    pagesight.archive.runs[begun.schedule].create(begun)

    refused = pagesight.run("schedule", "run", "mend")
    assert refused.code == 2
    assert "has been running since" in refused.stderr
    assert "another" in refused.stderr
    assert pagesight.archive.runs["mend"].newest() == begun
    assert listed(pagesight)["mend"]["last"]["outcome"] is None
    for command in ("run", "history"):
        unknown = pagesight.run("schedule", command, "mand")
        assert unknown.code == 2
        assert "Did you mean mend?" in unknown.stderr


def test_a_run_that_is_interrupted_or_killed_is_told_and_taken_up_again(fleet: Fleet, closed_port: int) -> None:
    pagesight = fleet.pagesight
    have(pagesight, mend={"action": "repair", "every": "1w"})
    make_picture(pagesight.files / "plate.png", 1)
    assert pagesight.index().code == 0  # there is something to be compared, and indices
    url = pagesight.url
    pagesight.set(elasticsearch_url=f"http://127.0.0.1:{closed_port}")  # it is waited for, so the run goes on

    going = pagesight.start("schedule", "run", "mend")
    going.until(lambda: pagesight.archive.runs["mend"].newest() is not None)
    going.interrupt(signal.SIGINT)
    assert going.ended(60).code == 130
    assert [(one["outcome"], one["attempt"]) for one in history(pagesight)] == [("interrupted", 1)]

    going = pagesight.start("schedule", "run", "mend")
    going.until(lambda: len(list(pagesight.archive.runs.latest_of("mend"))) == 2)
    going.kill()
    assert history(pagesight)[0]["outcome"] is None, "nobody can know yet"
    pagesight.set(elasticsearch_url=url)
    assert _tick(pagesight).returncode == 0

    newest, first = history(pagesight)
    assert (newest["outcome"], newest["attempt"]) == ("done", 2)
    assert (first["outcome"], first["attempt"]) == ("interrupted", 1)
    assert indexed_runs(pagesight) == {"mend": "done"}


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _tick(pagesight: Pagesight) -> subprocess.CompletedProcess[str]:
    import time

    time.sleep(1.1)  # the killed process is to have been silent for so long
    return subprocess.run(
        [sys.executable, "-c", IMPATIENT_TICK],
        env=pagesight.environment,
        cwd=pagesight.home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_stale_pages_are_enqueued_for_what_a_day_may_cost_and_no_more(fleet: Fleet, standin: Standin) -> None:
    pagesight = fleet.pagesight
    make_pdf(pagesight.files / "book.pdf", 9, seed=1)
    for number in range(3):
        make_picture(pagesight.files / f"plate-{number}.png", number)
    indexed = pagesight.index()
    assert indexed.code == 0
    page = indexed.json["tokens"] / 12
    pagesight.set(vlm_model_revision="2")
    table = {"action": "redescribe", "cron": "0 1 * * *", "where": "reason=revision"}
    have(pagesight, refresh={**table, "budget_tokens": int(4.5 * page)})

    first = run(pagesight, "refresh")["counts"]
    assert first["stale"] == 12
    assert 1 <= first["pages"] <= 4
    assert first["tokens"] <= 4.5 * page
    assert _queued_pages(pagesight) == first["pages"]

    again = run(pagesight, "refresh")["counts"]
    assert again["tokens"] == 0, "the day's tokens are spent"
    fleet.start_worker()
    _until_all_ended(fleet)
    assert standin.counters()["answered"] == 24 + 2 * first["pages"]

    have(pagesight, refresh={**table, "budget_tokens": int(100 * page)})
    assert run(pagesight, "refresh")["counts"]["pages"] == 12 - first["pages"]
    _until_all_ended(fleet)
    assert standin.counters()["answered"] == 48
    fleet.stop_all()


def _until_all_ended(fleet: Fleet) -> None:
    for batch in fleet.pagesight.archive.open_batches():
        fleet.until_ended(batch)


def _queued_pages(pagesight: Pagesight) -> int:
    archive = pagesight.archive
    chunks = [
        archive.journal(batch).chunk(path.stem)
        for batch in archive.open_batches()
        for path in Path(pagesight.archive_folder / "walks" / batch / "chunks").glob("*.json")
    ]
    return sum(len(entry.pages or ()) for chunk in chunks if chunk for entry in chunk.entries)

"""A tick over damaged files of runs: each schedule is due, and its next run gets a free number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.models import Run
from pipeline.core.retry import CancelToken
from pipeline.core.schedules import Prune
from support.memory_index import MemoryIndex
from workers.schedules import runs
from workers.schedules.run_leases import RunContext
from workers.schedules.runs import carry_out, due_runs, last_run

#: What a power cut, a full disk and strangers leave behind.
DAMAGE = [b"", b"{", b"\x00" * 64, b"[]", b'{"revision": "two"}']
BEFORE = datetime.now(UTC) - timedelta(hours=3)
SCHEDULES = {name: Prune(name=name, every=timedelta(hours=1)) for name in ("damaged", "sound")}


def run_of(schedule: str, revision: int, **more: Any) -> Run:
    times = {"due_at": BEFORE, "started_at": BEFORE}
    return Run(schedule=schedule, action="prune", worker="w", revision=revision, **(times | more))


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    archive = Archive(Store(str(tmp_path)))
    settings = cast("Any", SimpleNamespace(schedules=SCHEDULES))
    projector = MemoryIndex().projector(archive)
    return RunContext(settings, archive, projector, cast("Any", None), CancelToken(), "worker")


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("revisions", [(1,), (2,), (1, 2)], ids=["the only one", "the newest", "all"])
def test_a_damaged_run_stops_no_schedule(
    context: RunContext, tmp_path: Path, damage: bytes, revisions: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    acted: list[str] = []
    monkeypatch.setattr(runs, "act", lambda schedule, _context, _lease: acted.append(schedule.name))
    for schedule in SCHEDULES:
        for revision in range(1, max(revisions) + 1):
            done = {"outcome": "done", "ended_at": BEFORE} if revision > 1 else {}
            context.archive.runs[schedule].create(run_of(schedule, revision, **done))
    for revision in revisions:
        (tmp_path / f"runs/damaged/{revision}.json").write_bytes(damage)
    (tmp_path / "heard").mkdir(exist_ok=True)
    (tmp_path / "heard/damaged").write_bytes(b"\xff")
    for run in due_runs(context):
        carry_out(run, SCHEDULES[run.schedule], context)
    assert sorted(acted) == ["damaged", "sound"]
    newest = last_run(context, "damaged")
    assert newest is not None
    assert newest.revision > max(revisions)

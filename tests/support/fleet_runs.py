"""A fleet of real worker processes on a real Redis and a real Elasticsearch, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from pipeline.batches.progress import UNENDED
from pipeline.core.models import Batch
from pipeline.core.settings import Settings
from pipeline.search.index import Index
from support.pagesight_runs import MakePagesight, Pagesight, Run, write_sixty_pages
from support.redis_server import RedisServer
from support.standin import Standin
from workers.app import visibility_timeout_seconds

TESTS = Path(__file__).parents[1]
#: A fleet that is well ends 60 pages within seconds; one that has to find out that a worker died needs half a minute.
BATCH_SECONDS = 300.0
#: Half of what it is by default, so that the tests need not wait so long for a death to be noticed.
SILENCE_SECONDS = 10
RANGE_SECONDS = 8
READ_SECONDS = 10
POLL_SECONDS = 0.1
CALLS = 120
LANES = ("control", "urgent", "normal", "backfill")
#: Executed by beats and workers when they start: a minute of their schedules and ticks has a few seconds.
SHORT_MINUTES = """
from datetime import timedelta
from pipeline.core.schedules import times
times._UNITS["m"] = timedelta(seconds=6)
from workers.redis import ticks
ticks.SHORTEST_SECONDS = 1.0
from workers.app import app
app.conf.beat_schedule["tick"]["schedule"] = 2.0
"""


class Fleet:
    """One home of `pagesight`, its workers and its queues."""

    def __init__(self, pagesight: Pagesight, server: RedisServer) -> None:
        self.pagesight = pagesight
        self.server = server
        self.workers: list[Run] = []
        self.environment: dict[str, str] = {}
        """Further variables of workers, for what no setting can do."""
        pagesight.set(redis_url=server.url)

    @property
    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.server.url, decode_responses=True)

    def start_worker(self, *words: str, **settings: object) -> Run:
        """A worker that consumes once this returns."""
        before = dict(self.pagesight._settings)
        self.pagesight.set(**settings)
        try:
            run = self.pagesight.start_with(self.environment, "worker", *words)
        finally:
            self.pagesight._settings = before
        self.workers.append(run)
        run.until(lambda: "ready" in run.stderr, seconds=60)
        return run

    def customise_workers(self, source: str) -> None:
        """Have each worker execute this source when its interpreter starts; it may import `support`."""
        folder = self.pagesight.home / "customised"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(source, encoding="utf-8")
        self.environment["PYTHONPATH"] = f"{folder}:{TESTS}"

    def start_workers(self, count: int, *words: str) -> list[Run]:
        return [self.start_worker(*words) for _ in range(count)]

    def enqueue(self, *words: str | Path) -> str:
        """`pagesight enqueue` of this home's files; returns the batch id."""
        ended = self.pagesight.run("enqueue", "--json", *(words or (self.pagesight.files,)))
        assert ended.code == 0, ended.stderr
        return str(ended.json["batch"])

    def batch(self, batch_id: str) -> Batch:
        batch = self.pagesight.archive.batches[batch_id].newest()
        assert batch is not None
        return batch

    def until_ended(self, batch_id: str, seconds: float = BATCH_SECONDS) -> Batch:
        """Wait for the end of a batch; the workers are to live meanwhile."""
        self.until(lambda: self.batch(batch_id).state not in UNENDED, seconds)
        return self.batch(batch_id)

    def until(self, condition: Callable[[], bool], seconds: float = BATCH_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            for worker in self.workers:
                worker.going_on and worker.family()
            assert time.monotonic() < deadline, self.said()
            time.sleep(POLL_SECONDS)

    def said(self) -> str:
        """What the workers said, for a test that fails."""
        return "\n\n".join(f"worker {place}: {worker.stderr[-6000:]}" for place, worker in enumerate(self.workers))

    def kill_group(self, worker: Run) -> None:
        """`kill -9` of a worker and everything that it started."""
        worker.family()
        os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait(60)

    def stop(self, worker: Run) -> None:
        """SIGTERM, and wait for the end."""
        worker.family()
        worker.process.send_signal(signal.SIGTERM)
        assert worker.ended(60).code == 0, worker.stderr

    def stop_all(self) -> None:
        for worker in self.workers:
            if worker.going_on:
                self.stop(worker)

    def queued(self) -> dict[str, int]:
        """Messages in each lane, and those that are in a worker's hands."""
        client = self.redis
        depths = {lane: int(client.llen(f"pagesight:{lane}")) for lane in LANES}  # type: ignore[arg-type]
        return depths | {"unacked": int(client.hlen("pagesight:unacked"))}  # type: ignore[arg-type]

    def assert_quiet(self) -> None:
        """Nothing is queued, nothing in anybody's hands, and nothing noted as being worked.

        A message whose worker was killed between taking it and noting so, or between its end and acknowledging it,
        comes back with the visibility timeout only.
        """
        settings = Settings(range_seconds=RANGE_SECONDS, vlm_read_seconds=READ_SECONDS)
        self.until(lambda: not any(self.queued().values()), seconds=visibility_timeout_seconds(settings) + 30)
        assert self.redis.hgetall("pagesight:working") == {}

    def assert_nothing_left(self, *, killed: bool = False) -> None:
        self.stop_all()
        self.pagesight.assert_nothing_left(killed=killed)


def repair(fleet: Fleet, *words: str) -> Any:
    """`pagesight repair --json`: what it found, after its exit code told the same."""
    ended = fleet.pagesight.run("repair", "--json", *words)
    assert "Traceback" not in ended.stderr
    assert ended.code == bool(ended.json["differences"]), ended.stderr
    return ended.json


def assert_sixty(fleet: Fleet, batch_id: str, standin: Standin, *, repeated: int = 0, killed: bool = False) -> None:
    """Every page has one record, archive and index agree, and no archived answer was asked for again.

    Args:
        repeated: calls that may have been in flight when their asker was killed, and so may be asked again.
        killed: whether a writer was killed, which may leave its temporary file.
    """
    fleet.until_ended(batch_id)
    assert_all_there(fleet, batch_id, standin, documents=11, pages=60, repeated=repeated, killed=killed)


def assert_all_there(
    fleet: Fleet, batch_id: str, standin: Standin, *, documents: int, pages: int, repeated: int, killed: bool
) -> None:
    """The same of a batch that has ended, of so many documents and pages of two questions each."""
    batch = fleet.batch(batch_id)
    assert batch.state == "done", fleet.said()
    assert batch.pages == {"described": pages}
    assert batch.documents == {"complete": documents}
    counters = standin.counters()
    assert counters["answered"] - 2 * pages == counters["asked_again"] <= repeated
    assert counters["violations"] == {}
    assert len(fleet.pagesight.records()) == pages
    fleet.pagesight.assert_archive_and_index_agree()
    fleet.assert_quiet()
    fleet.assert_nothing_left(killed=killed)


@pytest.fixture
def fleet(
    make_pagesight: MakePagesight,
    index: Index,
    elasticsearch_url: str,
    standin: Standin,
    redis_server: RedisServer,
) -> Iterator[Fleet]:
    """A fleet without workers yet. Its ranges hand back after seconds rather than minutes."""
    pagesight = make_pagesight(
        elasticsearch_url,
        standin,
        range_seconds=RANGE_SECONDS,
        worker_silence_seconds=SILENCE_SECONDS,
        vlm_read_seconds=READ_SECONDS,
        vlm_requests_per_minute=0,
        vlm_tokens_per_minute=0,
    )
    return Fleet(pagesight, redis_server)


@pytest.fixture
def sixty_queued(fleet: Fleet, standin: Standin) -> Fleet:
    """Sixty pages to be queued, and a stand-in slow enough for something to happen meanwhile."""
    write_sixty_pages(fleet.pagesight)
    standin.tell(latency_seconds=0.2)
    return fleet

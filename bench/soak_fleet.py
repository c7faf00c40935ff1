"""Very many documents of one page: how fast they go through, and whether anything grows on the way.

DOCUMENTS=… sets how many; the default is what `make soak` is for, and takes an hour or more.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from common import Peak, Row, fleet, make_pictures, node, standin, watched

from pipeline.batches.progress import UNENDED
from support.fleet_runs import Fleet
from support.pagesight_runs import PROGRAM
from support.standin import Standin
from workers.redis.heartbeats import living_workers

DOCUMENTS = int(os.environ.get("DOCUMENTS", "100000"))
IN_FLIGHT = 64
POLL_SECONDS = 2.0


def rows() -> Iterator[Row]:
    with node() as url, standin(0) as model, fleet(url, model, vlm_concurrency=IN_FLIGHT) as running:
        make_pictures(running.pagesight.files, DOCUMENTS)
        _, few = enqueue(running, running.pagesight.files / "0" / "0.png", "--collection", "other")
        batch, many = enqueue(running, running.pagesight.files)
        soaked = soak(running, model, batch)
    done = soaked.documents[-1]
    yield Row(
        f"2 workers, {done:,} documents of one page, the model takes 0 s",
        f"{done / soaked.seconds:.1f} documents/s",
        f"{soaked.rate(0.75, 1.0) / soaked.rate(0.25, 0.5):.2f} last quarter to second",
        "flat",
    )
    for place, peak in enumerate(soaked.workers, 1):
        yield Row(
            f"memory of worker {place} and its sandboxes meanwhile",
            f"{peak.tree:.0f} MB (worker {peak.parent:.0f} MB)",
            f"{quarter(peak.samples, 3) / quarter(peak.samples, 1):.2f} last quarter to second",
            "flat",
        )
    yield Row("memory of Redis at its peak", f"{soaked.redis_mb:.0f} MB", "", "")
    yield Row(f"calls in flight at the peak, {IN_FLIGHT} allowed", str(soaked.calls_at_peak), "", f"<= {IN_FLIGHT}")
    what = f"memory of `pagesight enqueue`, {done:,} documents against one"
    yield Row(what, f"{many:.0f} MB", f"{many / few:.2f}", "flat")


@dataclass(frozen=True, slots=True)
class Soaked:
    """What was seen until the batch had ended."""

    times: list[float]
    documents: list[int]
    """How many had ended at each time."""
    workers: list[Peak]
    redis_mb: float
    calls_at_peak: int

    @property
    def seconds(self) -> float:
        return self.times[-1] - self.times[0]

    def rate(self, begin: float, end: float) -> float:
        """Documents a second between two shares of them."""
        first, last = (self._when(share) for share in (begin, end))
        return (end - begin) * self.documents[-1] / (last - first)

    def _when(self, share: float) -> float:
        wanted = share * self.documents[-1]
        return next(at for at, done in zip(self.times, self.documents, strict=True) if done >= wanted)


def soak(running: Fleet, model: Standin, batch: str) -> Soaked:
    """Look on until the batch has ended."""
    times, documents = [time.monotonic()], [0]
    with ExitStack() as stack:
        workers = [stack.enter_context(watched(worker.process.pid)) for worker in running.workers]
        while running.batch(batch).state in UNENDED:
            time.sleep(POLL_SECONDS)
            assert all(worker.going_on for worker in running.workers), running.said()
            times.append(time.monotonic())
            documents.append(sum(sum(worker.pages.values()) for worker in living_workers(running.redis)))
    ended = running.batch(batch)
    assert ended.documents == {"complete": DOCUMENTS}, ended.documents
    assert ended.pages == {"described": DOCUMENTS}, ended.pages
    return Soaked(
        times=[*times, time.monotonic()],
        documents=[*documents, DOCUMENTS],
        workers=workers,
        redis_mb=int(running.redis.info("memory")["used_memory_peak"]) / 1e6,
        calls_at_peak=int(model.counters()["peak_in_flight"]),
    )


def enqueue(running: Fleet, *words: str | Path) -> tuple[str, float]:
    """`pagesight enqueue`; return the batch's id and how many MB it took at its peak."""
    pagesight = running.pagesight
    command = [PROGRAM, "enqueue", *words]
    with subprocess.Popen(
        command, env=pagesight.environment, cwd=pagesight.home, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        batch = process.stdout.read().decode().strip()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return batch, usage.ru_maxrss / 1e3


def quarter(samples: list[float], place: int) -> float:
    """Return the mean of a quarter of the samples, the first being number 0."""
    return statistics.mean(samples[place * len(samples) // 4 : (place + 1) * len(samples) // 4])

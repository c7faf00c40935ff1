"""A fleet of two worker processes: how near it comes to the model's rate, what the queue costs, how soon urgent work
is begun.

A worker asks the questions of the standard profile, so a page is two calls here; what is counted are calls.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from common import Row, fleet, make_pdf, make_pictures, node, standin, workplace

from support.fleet_runs import Fleet
from support.pagesight_runs import Pagesight, make_picture
from support.standin import Standin

LATENCY_SECONDS = 2.0
IN_FLIGHT = 64
CALLS_A_PAGE = 2
#: About a minute of calls.
PAGES = 1000
#: Calls at the start and at the end that are not counted: sandboxes start, and the last ranges run out.
RAMP_CALLS = 4 * IN_FLIGHT
COST_PAGES = 1000
COST_ROUNDS = 3
COST_IN_FLIGHT = 16
#: Enough for every worker to start its sandboxes.
WARMING_DOCUMENTS = 128
BACKFILL_PAGES = 100_000
URGENT_ROUNDS = 3
BATCH_SECONDS = 600.0


def rows() -> Iterator[Row]:
    with node() as url:
        yield throughput(url)
        yield cost(url, "one document", COST_PAGES, 1, "< 1.05")
        yield cost(url, "documents of one page", 1, COST_PAGES, "< 1.10")
        yield urgent(url)


# -- the model's rate


def throughput(url: str) -> Row:
    """Calls a second in the steady part. A number of calls that is a multiple of those in flight hides their waves."""
    with standin(LATENCY_SECONDS) as model, fleet(url, model, vlm_concurrency=IN_FLIGHT) as running:
        make_pdf(running.pagesight.files / "pages.pdf", PAGES, seed=1)
        running.until_ended(running.enqueue(), BATCH_SECONDS)
        peak = model.counters()["peak_in_flight"]
        begun = sorted(request["at"] for request in model.requests())
    assert len(begun) == PAGES * CALLS_A_PAGE
    assert peak <= IN_FLIGHT
    calls = (len(begun) - 2 * RAMP_CALLS) // IN_FLIGHT * IN_FLIGHT
    rate = calls / (begun[RAMP_CALLS + calls] - begun[RAMP_CALLS])
    ideal = IN_FLIGHT / LATENCY_SECONDS
    return Row(
        f"2 workers, {PAGES} pages of two calls, the model takes 2 s, {IN_FLIGHT} in the fleet (peak {peak})",
        f"{rate:.1f} calls/s of {ideal:.0f}",
        f"{rate / ideal:.3f}",
        ">= 0.95",
    )


# -- what the queue costs


def cost(url: str, what: str, pages: int, documents: int, aim: str) -> Row:
    """CPU seconds of two workers and their sandboxes, against those of `pagesight index` over the same files."""
    rounds = [cost_of_round(url, pages, documents, seed=place) for place in range(COST_ROUNDS)]
    in_process, queued = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    per_page = 1000 / (pages * documents)
    return Row(
        f"CPU time of 2 workers, {COST_PAGES} pages in {what}, the model takes 0 s, against `pagesight index`",
        f"{queued * per_page:.0f} ms a page against {in_process * per_page:.0f} ms",
        f"{statistics.median(after / before for before, after in rounds):.2f}",
        aim,
    )


def cost_of_round(url: str, pages: int, documents: int, seed: int) -> tuple[float, float]:
    """Return the CPU seconds in process and through the queue. What it takes to start is in neither."""
    with workplace() as folder:
        first = write(folder / "first", 1, 1, seed=3 * seed)
        warming = write(folder / "warming", 1, WARMING_DOCUMENTS, seed=3 * seed + 1)
        measured = write(folder / "measured", pages, documents, seed=3 * seed + 2)
        with standin(0) as model:
            alone = Pagesight(folder / "alone", url, model, vlm_concurrency=COST_IN_FLIGHT)
            start = seconds_in_process(alone, first)
            in_process = seconds_in_process(alone, measured) - start
            alone.close()
        with standin(0) as model, fleet(url, model, vlm_concurrency=COST_IN_FLIGHT) as running:
            running.until_ended(running.enqueue(warming))
            return in_process, seconds_queued(running, measured)


def write(folder: Path, pages: int, documents: int, seed: int) -> Path:
    folder.mkdir()
    for number in range(documents):
        make_pdf(folder / f"{number}.pdf", pages, seed=10_000 * seed + number)
    return folder


def seconds_in_process(pagesight: Pagesight, folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = pagesight.index(folder)
    assert ended.code == 0, ended.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def seconds_queued(running: Fleet, folder: Path) -> float:
    before = seconds_of_workers(running)
    running.until_ended(running.enqueue(folder), BATCH_SECONDS)
    return seconds_of_workers(running) - before


def seconds_of_workers(running: Fleet) -> float:
    """CPU seconds so far, those of the sandboxes included: they live as long as their worker."""
    seconds = 0.0
    for worker in running.workers:
        root = psutil.Process(worker.process.pid)
        for process in (root, *root.children(recursive=True)):
            seconds += sum(process.cpu_times()[:4])  # user and system, its own and of children that have ended
    return seconds


# -- urgent work


def urgent(url: str) -> Row:
    """From the command to the first call, behind a backfill that has every call in flight."""
    with standin(LATENCY_SECONDS) as model, fleet(url, model, vlm_concurrency=IN_FLIGHT) as running:
        make_pictures(running.pagesight.files, BACKFILL_PAGES)
        running.enqueue(running.pagesight.files, "--lane", "backfill")
        running.until(lambda: model.counters()["answered"] >= RAMP_CALLS)
        seconds = [seconds_until_called(running, model, number) for number in range(URGENT_ROUNDS)]
        depth = running.queued()["backfill"]
    assert depth, "the backfill has ended too early"
    return Row(
        f"first call of an urgent document behind a backfill of {BACKFILL_PAGES:,} pages, {depth:,} messages queued,"
        f" the model takes 2 s, {IN_FLIGHT} in flight, from `pagesight enqueue`",
        f"{statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})",
        "",
        "<= 5 s",
    )


def seconds_until_called(running: Fleet, model: Standin, number: int) -> float:
    """Queue a picture and wait for its call. It is broader than high, which no page of the backfill is."""
    picture = make_picture(running.pagesight.home / f"urgent-{number}.png", seed=number)
    known = set(broad_images(model))
    began = time.time()
    running.enqueue(picture, "--lane", "urgent")
    running.until(lambda: len(broad_images(model)) > len(known))
    (called_at,) = (at for image, at in broad_images(model).items() if image not in known)
    return called_at - began


def broad_images(model: Standin) -> dict[str, float]:
    """Return images that are broader than high, and when they were first asked about."""
    first: dict[str, float] = {}
    for request in model.requests():
        if request["width"] > request["height"]:
            first.setdefault(request["image_sha256"], request["at"])
    return first

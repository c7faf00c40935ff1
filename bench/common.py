"""What the benchmarks share: a node, a stand-in for the model, made-up documents, measuring from outside.

Every figure is a ratio of two things measured in one run: these machines are shared, so absolute times mean little.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from pipeline.batches.lifecycle import begin_batch
from pipeline.batches.local_runner import RunTally, run_batch
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load
from pipeline.local.elasticsearch import LocalNode
from pipeline.local.redis import find_redis_server
from pipeline.pages.recipe import request_of
from pipeline.search.index import Index
from pipeline.services import open_page_services
from pipeline.sources import source_url
from pipeline.vision.profile import Profile, load_profile
from support.fleet_runs import Fleet
from support.pagesight_runs import Pagesight
from support.redis_server import RedisServer
from support.standin import KEY, Standin

#: Files in a folder, as people keep them.
FOLDER_FILES = 1000
WORDS = "harbour ledger quay barge tariff winter lighthouse cargo timber granite signal pilot".split()


@dataclass(frozen=True)
class Row:
    """A line of docs/benchmarks.md."""

    what: str
    measured: str
    ratio: str
    aim: str


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder for one benchmark. It is readable by the user that the node runs as."""
    with tempfile.TemporaryDirectory(prefix="pagesight-bench-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def node() -> Iterator[str]:
    """A local Elasticsearch of the benchmark's own."""
    cache = ROOT / ".pagesight" / "cache" / "bench"
    cache.mkdir(parents=True, exist_ok=True)
    with workplace() as home:
        running = LocalNode(home, distribution=cache)
        try:
            yield running.start()
        finally:
            running.stop()


@contextlib.contextmanager
def fleet(elasticsearch_url: str, model: Standin, workers: int = 2, **more: object) -> Iterator[Fleet]:
    """A Redis and so many workers that consume, in a home of their own, over an empty index."""
    with Index(elasticsearch_url) as index:
        index.drop()
    with workplace() as home:
        broker = home / "redis"
        broker.mkdir()
        server = RedisServer(find_redis_server(), broker)
        server.start()
        pagesight = Pagesight(home / "pagesight", elasticsearch_url, model, **more)
        running = Fleet(pagesight, server)
        try:
            running.start_workers(workers)
            yield running
        finally:
            pagesight.close()
            server.stop()


@contextlib.contextmanager
def standin(latency_seconds: float) -> Iterator[Standin]:
    """A stand-in for jina-vlm that takes so long for each answer."""
    with Standin() as model:
        model.tell(latency_seconds=latency_seconds)
        yield model


def settings(home: Path, elasticsearch_url: str, model: Standin | None, **more: object) -> Settings:
    """Settings of a run, through the environment as a person would set them."""
    for name in [name for name in os.environ if name.startswith("PAGESIGHT_") or name == "JINA_API_KEY"]:
        del os.environ[name]
    unlimited = {"vlm_requests_per_minute": 0, "vlm_tokens_per_minute": 0}
    values = {"home": home, "elasticsearch_url": elasticsearch_url, **unlimited, **more}
    if model is not None:
        values |= {"vlm_url": model.url, "vlm_api_key": KEY}
    os.environ.update({f"PAGESIGHT_{name.upper()}": str(value) for name, value in values.items()})
    return load()


def one_question() -> Profile:
    """The standard profile's first question alone: one call a page."""
    profile = load_profile()
    return profile.model_copy(update={"questions": profile.questions[:1]})


def index(chosen: Settings, roots: list[Path], profile: Profile | None = None) -> tuple[RunTally, float, int]:
    """Index in this process; return the tally, seconds and model calls."""
    cancel, tally = CancelToken(), RunTally()
    with open_page_services(chosen, cancel, profile) as (tools, units_at_once):
        tools.projector.index.install()
        batch = begin_batch(tools.archive, "bench", None, "en", [])
        request = request_of(batch, tools.recipe(batch.language))
        began = time.monotonic()
        urls = [source_url(root.absolute()) for root in roots]
        run_batch(urls, [], request, tools, units_at_once, tally, lambda: None)
        return tally, time.monotonic() - began, tools.reader.usage.calls


def make_pdf(path: Path, pages: int, seed: int) -> Path:
    """A born-digital PDF of full pages, each different."""
    chance = random.Random(seed)
    canvas = Canvas(str(path))
    for page in range(pages):
        canvas.setFont("Helvetica", 11)
        for line in range(45):
            words = " ".join(chance.choice(WORDS) for _ in range(12))
            canvas.drawString(60, 780 - 16 * line, f"{words} {seed}.{page}.{line}")
        canvas.showPage()
    canvas.save()
    return path


def make_pictures(folder: Path, count: int) -> None:
    """Small square pictures of a few hundred bytes, each of pixels of its own, in folders of a thousand."""
    for number in range(count):
        place = folder / str(number // FOLDER_FILES)
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.Random(number).randbytes(8 * 8 * 3)
        picture = Image.frombytes("RGB", (8, 8), pixels).resize((64, 64), Image.Resampling.NEAREST)
        picture.save(place / f"{number % FOLDER_FILES}.png")


@dataclass
class Peak:
    """Memory of a process tree, in MB."""

    tree: float = 0
    parent: float = 0
    samples: list[float] = field(default_factory=list)


@contextlib.contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Watch a process tree's resident memory, ten times a second, to the end of the block."""
    peak = Peak()
    done = threading.Event()

    def watch() -> None:
        root = psutil.Process(pid)
        while not done.wait(0.1):
            with contextlib.suppress(psutil.Error):
                parent = root.memory_info().rss / 1e6
                tree = parent + sum(child.memory_info().rss / 1e6 for child in root.children(recursive=True))
                peak.parent, peak.tree = max(peak.parent, parent), max(peak.tree, tree)
                peak.samples.append(tree)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def machine() -> str:
    """The machine in one line."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {sys.version.split()[0]}, {datetime.now(UTC):%Y-%m-%d}"

"""The two runners, `pagesight index` and `pagesight enqueue`, each with a home, an archive and files of its own.

The first one runs in this process. The second is a real worker on a real Redis. Both write to one Elasticsearch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from pipeline.archive import Archive
from pipeline.batches.local_batch import IndexRequest, index_batch
from pipeline.batches.local_runner import RunTally
from pipeline.batches.progress import UNENDED, cancel
from pipeline.core.models import Batch, FilePatterns
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load
from pipeline.search import DOCUMENTS, PAGES, SOURCES
from pipeline.services import open_archive, open_leases, open_page_services, own_folders
from pipeline.sources import argument_url, display_path
from pipeline.vision.profile import Profile
from support.fleet_runs import Fleet
from support.pagesight_runs import Pagesight, make_pdf
from workers import client
from workers.app import configuration

#: Fields that differ between two runs of the same work: when, in which batch, after how many revisions.
OWN_FIELDS = {
    "_version",
    "revision",
    "batch",
    "indexed_at",
    "archived_at",
    "observed_at",
    "described_at",
    "seconds",
}
BATCH_SECONDS = 240.0
POLL_SECONDS = 0.1
#: Modification times are counted up from here, so that both folders have the same ones.
FIRST_TIME = 1_700_000_000


@dataclass(slots=True)
class Folder:
    """The files of one scenario for one runner. The same writes give the same modification times."""

    path: Path
    written: int = 0

    def write(self, name: str | bytes, data: bytes) -> Path:
        """Write a file in its place, with the next modification time."""
        path = self.path / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.written += 1
        os.utime(path, (FIRST_TIME + self.written,) * 2)
        return path

    def pdf(self, name: str | bytes, pages: int, seed: int) -> Path:
        """Write a PDF; the same arguments give the same bytes."""
        return self.write(name, pdf_bytes(self.path.parent, pages, seed))


def pdf_bytes(folder: Path, pages: int, seed: int) -> bytes:
    made = make_pdf(folder / "made.tmp", pages, seed)
    data = made.read_bytes()
    made.unlink()
    return data


@dataclass(frozen=True, slots=True)
class Order:
    """One run over a folder."""

    folder: Path
    collection: str
    language: str | None = None
    profile: Profile | None = None
    patterns: FilePatterns | None = None
    once_read: Callable[[], None] | None = None
    """Called once when the first page of the collection is read."""
    stopped: bool = False
    """Whether the run is interrupted, or its batch cancelled, then."""
    twice: bool = False
    """Whether two runs do the same at once."""


@dataclass(slots=True)
class Runner:
    """What both have: a home below its folder of files."""

    name: str
    pagesight: Pagesight
    batches: dict[str, list[Batch]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """All that this runner's scenarios have in common."""
        return self.pagesight.home / "house"

    @property
    def settings(self) -> Settings:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.pagesight.environment.items():
                if name.startswith("PAGESIGHT_"):
                    patch.setenv(name, value)
            return load()

    @property
    def archive(self) -> Archive:
        return open_archive(self.settings)

    def note(self, collection: str, batch: Batch) -> None:
        self.batches.setdefault(collection, []).append(batch)

    def is_read(self, collection: str) -> bool:
        return bool(self.archive.documents(collection))

    def records(self, collection: str, *, with_path: bool) -> dict[str, list[str]]:
        """The records of a collection without the fields that are a run's own, and without the name of the home.

        Args:
            with_path: leave out pages and documents without a path.
        """
        found = {}
        for alias in (PAGES, DOCUMENTS, SOURCES):
            records = self.pagesight.records(alias, collection).values()
            kept = [record for record in records if alias == SOURCES or not with_path or record["document"].get("path")]
            found[alias] = sorted(self._normal(record).replace(collection, "<collection>") for record in kept)
        return found

    def _normal(self, record: dict[str, Any]) -> str:
        words = json.dumps(_without_own(record), sort_keys=True, indent=1)
        url = argument_url(str(self.root))
        return words.replace(url, "<root>").replace(display_path(url), "<root>")


def _without_own(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_own(inner) for key, inner in value.items() if key not in OWN_FIELDS}
    if isinstance(value, list):
        return [_without_own(inner) for inner in value]
    return value


class LocalRuns(Runner):
    """`pagesight index`, in this process."""

    def run(self, orders: list[Order]) -> None:
        """Run one after the other."""
        with open_page_services(self.settings, CancelToken()) as (services, units):
            for order in orders:
                if order.profile is not None:
                    services.projector.index.require_answers(order.profile.own_kinds)
                for _ in range(1 + order.twice):
                    token = CancelToken()
                    self._run(order, services.with_cancel(token), units, token)

    def _run(self, order: Order, services: Any, units: int, token: CancelToken) -> None:
        tally, called = RunTally(), []

        def tick() -> None:
            if not called and tally.pages_done:
                called.append(True)
                if order.once_read:
                    order.once_read()
                if order.stopped:
                    token.stop()

        request = IndexRequest(
            roots=(argument_url(str(order.folder)),),
            excluded=own_folders(self.settings),
            collection=order.collection,
            language=order.language,
            default_language="en",
            profile=order.profile,
            patterns=order.patterns,
        )
        batch, error = index_batch(request, services, open_leases(self.settings), units, tally, tick)
        assert error is None, error
        self.note(order.collection, batch)


class QueuedRuns(Runner):
    """`pagesight enqueue`, and one worker."""

    def run(self, orders: list[Order]) -> None:
        """Enqueue all of them, then wait for their ends."""
        queue = client.Fleet(self.settings, self.archive, CancelToken().within(60))
        batches = []
        for order in orders:
            request = client.EnqueueRequest(
                order.collection, order.language, "en", profile=order.profile, patterns=order.patterns
            )
            for _ in range(1 + order.twice):
                batch = queue.enqueue(request, [argument_url(str(order.folder))], [str(order.folder)])
                batches.append((order, batch))
            if order.once_read or order.stopped:
                self._until(lambda collection=order.collection: self.is_read(collection))  # type: ignore[misc]
                if order.once_read:
                    order.once_read()
                if order.stopped:
                    cancel(self.archive, batch.id)
        for order, batch in batches:
            self._until(lambda batch=batch: self._newest(batch).state not in UNENDED)  # type: ignore[misc]
            self.note(order.collection, self._newest(batch))

    def _newest(self, batch: Batch) -> Batch:
        newest = self.archive.batches[batch.id].newest()
        assert newest is not None
        return newest

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + BATCH_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "\n".join(run.stderr[-4000:] for run in self.pagesight._runs)
            time.sleep(POLL_SECONDS)


@contextmanager
def own_broker(settings: Settings) -> Iterator[None]:
    """Publish into the Redis of these settings: `workers.app` knows only those of the environment."""
    app = Celery("both-runners")
    app.conf.update(configuration(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.app.app", app)
        yield


@contextmanager
def worker(runs: QueuedRuns, fleet: Fleet, **settings: object) -> Iterator[None]:
    """Have one worker while the block runs."""
    run = fleet.start_worker(**settings)
    try:
        yield
    finally:
        fleet.stop(run)

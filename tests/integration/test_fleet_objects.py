"""Workers on two machines that share nothing but Redis, Elasticsearch and a bucket, with sources and archive in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.models import Reading
from pipeline.search.index import Index
from support.fleet_runs import CALLS, Fleet
from support.object_store import KEYS, Bucket
from support.pagesight_runs import MakePagesight, Pagesight, Run, answered, make_pdf, make_picture
from support.redis_server import RedisServer
from support.standin import Standin

#: Calls that a worker may have in flight when it is killed.
IN_FLIGHT = 8


class Machine(Pagesight):
    """`pagesight` with a home of its own, and with its archive in a bucket."""

    def __init__(self, bucket: Bucket, home: Path, elasticsearch_url: str, standin: Standin, **more: object) -> None:
        super().__init__(home, elasticsearch_url, standin, archive=f"{bucket.url}/pagesight", **more)
        self._store_url = bucket.store.url

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | KEYS | {"AWS_ENDPOINT_URL": self._store_url, "AWS_CONFIG_FILE": os.devnull}

    @property
    def archive(self) -> Archive:
        return Archive(Store(str(self._settings["archive"])))


@pytest.fixture
def machines(
    bucket: Bucket,
    tmp_path: Path,
    index: Index,
    elasticsearch_url: str,
    standin: Standin,
    redis_server: RedisServer,
) -> Iterator[list[Fleet]]:
    """Two of them. The first one's `files` are what lies in the bucket below `scans`."""
    made = [
        Machine(bucket, tmp_path / name, elasticsearch_url, standin, range_seconds=8, vlm_read_seconds=10)
        for name in ("here", "there")
    ]
    yield [Fleet(machine, redis_server) for machine in made]
    for machine in made:
        machine.close()


def write_tree(folder: Path) -> None:
    """Sixty pages in a folder and in those below."""
    for name in ("letters", "plates", "plates/proofs 50%"):
        (folder / name).mkdir()
    make_pdf(folder / "book.pdf", 30, seed=1)
    for number in range(5):
        make_pdf(folder / "letters" / f"letter-{number}.pdf", 5, seed=10 + number)
        make_picture(folder / ("plates" if number % 2 else "plates/proofs 50%") / f"plate-{number}.png", 20 + number)


def upload(folder: Path, bucket: Bucket) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.put(f"scans/{path.relative_to(folder)}", path.read_bytes())


def readings(pagesight: Pagesight, top: str) -> dict[tuple[str, int], object]:
    """What was read of every page, with its places below `top`."""
    found = {}
    for reading in pagesight.newest():
        assert isinstance(reading, Reading)
        paths = [path.removeprefix(top) for path in reading.document.path]
        plain = reading.model_dump(include={"status", "fingerprint", "description", "text", "answers", "page_label"})
        found[reading.document.id, reading.page_number] = plain | {"paths": paths}
    return found


def messages_ended(worker: Run) -> int:
    return worker.stderr.count("succeeded in")


@pytest.mark.slow
def test_two_machines_come_to_the_same_as_one_process_on_a_disk(
    machines: list[Fleet], bucket: Bucket, make_pagesight: MakePagesight, index: Index, standin: Standin
) -> None:
    here, there = machines
    write_tree(here.pagesight.files)
    on_disk = make_pagesight(here.pagesight.url, standin)
    run = on_disk.index(here.pagesight.files)
    assert run.code == 0, run.stderr
    expected = readings(on_disk, f"{here.pagesight.files}/")
    index.drop()
    standin.reset_counters()
    standin.tell(latency_seconds=0.2)
    upload(here.pagesight.files, bucket)

    first, second = here.start_worker(), there.start_worker()
    batch = here.enqueue(f"{bucket.url}/scans")
    first.until(lambda: answered(standin) >= 40 and messages_ended(first) > 1)
    first.kill()
    ended = there.until_ended(batch)

    assert ended.state == "done", there.said()
    assert (ended.documents, ended.pages) == (run.json["documents"], run.json["pages"])
    assert readings(there.pagesight, f"{bucket.url}/scans/") == expected
    counters = standin.counters()
    assert counters["answered"] - CALLS == counters["asked_again"] <= IN_FLIGHT
    assert messages_ended(first) > 1
    assert messages_ended(second) > 1
    there.pagesight.assert_archive_and_index_agree()
    there.assert_quiet()
    there.assert_nothing_left()
    # Nothing of the archive lies on either machine.
    assert not here.pagesight.archive_folder.exists()
    assert not there.pagesight.archive_folder.exists()

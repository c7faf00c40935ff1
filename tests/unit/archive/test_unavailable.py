"""Errors of the disk below an archive are waited for, whatever they are. Only missing rights are refused."""

from __future__ import annotations

import errno
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.archive import Archive, KnownArchives, Store
from pipeline.core.errors import ArchiveUnavailable, RevisionTaken, ServiceRefused, ServiceUnavailable, Stopped
from pipeline.core.models import Collection
from pipeline.core.retry import CancelToken, Waiting
from support.failing_disk import CALLS, FailingDisk

PASSING = (errno.ENOSPC, errno.EROFS, errno.EIO, errno.ESTALE, errno.EINTR, errno.EDQUOT, errno.ETIMEDOUT)
RIGHTS = (errno.EACCES, errno.EPERM)


class QuickToken(CancelToken):
    """A token whose waits take no time, and note what was waited for."""

    def __init__(self, at_wait: list[Waiting], disk: FailingDisk | None = None) -> None:
        super().__init__()
        self._at_wait = at_wait
        self._disk = disk

    def wait(self, seconds: float, waiting: Waiting) -> None:
        self._at_wait.append(waiting)
        if self._disk is not None:
            self._disk.errors = ()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.mark.parametrize("number", PASSING)
def test_a_disk_that_fails_is_waited_for_and_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    waits: list[Waiting] = []
    disk = FailingDisk(folder, monkeypatch, one_in=1)
    store = Store(str(folder), QuickToken(waits, disk), KnownArchives(tmp_path / "home"))
    disk.errors = (number,)

    with caplog.at_level(logging.WARNING):
        store.create("a/1.json", b"x")

    assert store.get("a/1.json") == b"x"
    (wait,) = waits
    assert wait.service == "archive"
    assert os.strerror(number) in wait.cause
    assert str(folder) in wait.cause
    assert wait.cause in caplog.text
    assert "Free space" in caplog.text


@pytest.mark.parametrize("number", PASSING)
def test_without_a_token_a_disk_that_fails_ends_the_call_and_nothing_is_half_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    disk = FailingDisk(folder, monkeypatch, one_in=1)
    store = Store(str(folder))
    disk.errors = (number,)

    for call in (lambda: store.put("a/1.json", b"x"), lambda: store.get("a/1.json"), lambda: store.names("a")):
        with pytest.raises(ArchiveUnavailable):
            call()

    disk.errors = ()
    assert store.get("a/1.json") is None


@pytest.mark.parametrize("number", RIGHTS)
def test_missing_rights_are_refused_with_the_path(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    waits: list[Waiting] = []
    disk = FailingDisk(folder, monkeypatch, one_in=1)
    store = Store(str(folder), QuickToken(waits))
    disk.errors = (number,)

    with pytest.raises(ServiceRefused) as caught:
        store.get("a/1.json")

    assert f"{folder}/a/1.json" in str(caught.value)
    assert "rights" in caught.value.remedy
    assert waits == []


def test_a_wait_for_the_disk_ends_with_its_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = CancelToken()
    disk = FailingDisk(folder, monkeypatch, one_in=1)
    store = Store(str(folder), token)
    disk.errors = (errno.ENOSPC,)
    token.stop()

    with pytest.raises(Stopped, match="archive"):
        store.put("a/1.json", b"x")


@pytest.mark.parametrize("call", ["link", "fsync", "unlink"])
def test_a_writer_knows_its_own_file_when_the_disk_fails_after_the_link(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """It must not take itself for another writer, who was faster."""
    waits: list[Waiting] = []
    for seed in range(40):
        with monkeypatch.context() as patch:
            disk = FailingDisk(folder, patch, seed, one_in=3)
            store = Store(str(folder), QuickToken(waits))
            disk.errors = (errno.EIO,)
            store.create(f"{call}/{seed}.json", b"x")
            with pytest.raises(RevisionTaken):
                store.create(f"{call}/{seed}.json", b"x")
            disk.errors = ()
    assert len(list((folder / call).iterdir())) == 40
    assert list((folder / "tmp").iterdir()) == []
    assert waits


def test_a_home_that_fails_remembers_nothing_and_raises_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownArchives(folder)
    known.remember("file:///first", "a")
    disk = FailingDisk(folder, monkeypatch, one_in=2)
    disk.errors = (errno.EIO,)
    for number in range(40):
        known.remember(f"file:///{number}", "b")
    disk.errors = ()
    assert known.get("file:///first") == "a"
    assert disk.raised["unlink"] > 0


def test_a_writer_that_tries_again_leaves_no_temporary_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FailingDisk(folder, monkeypatch, one_in=3)
    store = Store(str(folder), QuickToken([]))
    disk.errors = PASSING
    for number in range(40):
        store.put(f"{number}.jpg", b"x")
    disk.errors = ()
    assert sorted(store.names("")) == sorted(["tmp", *(f"{number}.jpg" for number in range(40))])
    assert disk.raised["replace"] > 0
    assert store.names("tmp") == []


def test_of_many_names_each_is_read_again_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together, 300 calls of which one in six fails would hardly ever succeed."""
    names = [f"{number}.json" for number in range(300)]
    disk = FailingDisk(folder, monkeypatch)
    waits: list[Waiting] = []
    store = Store(str(folder), QuickToken(waits))
    for name in names:
        store.put(name, name.encode())
    disk.errors = PASSING
    assert store.get_many(names) == [name.encode() for name in names]
    assert len(waits) < 100


@pytest.mark.parametrize("seed", range(3))
def test_no_revision_is_lost_or_doubled_where_one_call_in_six_fails(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    waits: list[Waiting] = []
    disk = FailingDisk(folder, monkeypatch, seed)
    archive = Archive(Store(str(folder), QuickToken(waits), KnownArchives(tmp_path / "home")))
    disk.errors = PASSING
    chain = archive.collections["works"]

    def next_one(newest: Collection | None) -> Collection:
        return Collection(name="works", language="en", profile="p", revision=newest.revision + 1 if newest else 1)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: chain.append(next_one), range(24)))
    assert chain.revisions() == list(range(1, 25))
    assert [one.revision for one in chain.after(0)] == list(range(1, 25))
    disk.errors = ()
    assert archive.damaged == ()
    assert list((folder / "tmp").iterdir()) == []
    assert len(waits) > 20
    assert set(disk.raised) == {*CALLS, "read"} - {"replace"}


def test_a_bucket_that_is_busy_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Exception | bytes] = [ServiceUnavailable("archive", "503 SlowDown"), b"x"]

    class Busy:
        def read_many(self, keys: list[str]) -> list[bytes]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return [answer]

    monkeypatch.setattr("pipeline.archive.store.open_objects", lambda *_: Busy())
    waits: list[Waiting] = []

    assert Store("s3://bucket/archive", QuickToken(waits)).get("a/1.json") == b"x"
    assert [wait.cause for wait in waits] == ["503 SlowDown"]


def test_a_bucket_that_denies_access_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Denied:
        def read_many(self, keys: list[str]) -> list[bytes]:
            raise PermissionError("the bucket says 403 AccessDenied")

    monkeypatch.setattr("pipeline.archive.store.open_objects", lambda *_: Denied())
    waits: list[Waiting] = []

    with pytest.raises(ServiceRefused, match="AccessDenied"):
        Store("s3://bucket/archive", QuickToken(waits)).get("a/1.json")
    assert waits == []

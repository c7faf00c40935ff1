"""An archive that was known at a location and is not there now is never taken for a new one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.archive import KnownArchives, Store
from pipeline.core.errors import ArchiveMissing, ServiceRefused, Stopped
from pipeline.core.retry import CancelToken


@pytest.fixture
def known(tmp_path: Path) -> KnownArchives:
    return KnownArchives(tmp_path / "home" / "archives")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def unmount(folder: Path, empty_mount_point: bool) -> Path:
    away = folder.with_name("away")
    folder.rename(away)
    if empty_mount_point:
        folder.mkdir()
    return away


def mount(folder: Path, away: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    away.rename(folder)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_an_empty_archive_gets_its_identity_with_the_first_thing_that_is_written(folder: Path, known: KnownArchives):
    store = Store(str(folder), known=known)
    assert store.require() is None
    assert files(folder) == []

    store.put("a/1", b"x")

    identifier = json.loads((folder / "archive.json").read_text())["id"]
    assert store.require() == identifier == known.get(str(folder))


def test_two_processes_that_begin_an_archive_give_it_one_identity(folder: Path, tmp_path: Path):
    first, second = (Store(str(folder), known=KnownArchives(tmp_path / home)) for home in ("a", "b"))
    first.put("a/1", b"x")
    second.put("a/2", b"x")

    assert first.require() == second.require() is not None


def test_an_archive_of_an_earlier_version_gets_an_identity_at_the_next_write(folder: Path, known: KnownArchives):
    Store(str(folder)).put("a/1", b"x")
    store = Store(str(folder), known=known)
    assert store.get("a/1") == b"x"
    assert store.require() is None

    store.put("a/2", b"x")

    assert store.require() is not None


@pytest.mark.parametrize("empty_mount_point", [True, False])
def test_a_missing_archive_is_refused_and_nothing_is_made_in_its_place(
    folder: Path, known: KnownArchives, empty_mount_point: bool
):
    Store(str(folder), known=known).put("a/1", b"x")
    away = unmount(folder, empty_mount_point)

    store = Store(str(folder), known=known)
    for use in (
        store.require,
        store.establish,
        store.check,
        lambda: store.get("a/1"),
        lambda: store.names("a"),
        lambda: store.put("a/2", b"x"),
        lambda: store.create("a/2", b"x"),
    ):
        with pytest.raises(ArchiveMissing) as caught:
            use()
        assert "archive adopt" in caught.value.remedy
    assert files(folder) == []
    assert folder.exists() == empty_mount_point

    mount(folder, away)
    assert store.get("a/1") == b"x"


@pytest.mark.parametrize("empty_mount_point", [True, False])
def test_an_archive_that_goes_away_while_it_is_open_is_waited_for(
    folder: Path, known: KnownArchives, empty_mount_point: bool
):
    cancel = CancelToken()
    store = Store(str(folder), cancel, known)
    store.put("a/1", b"x")
    away = unmount(folder, empty_mount_point)

    with pytest.raises(Stopped, match="archive"):
        Store(str(folder), cancel.within(0.1), known).put("a/2", b"x")
    with pytest.raises(Stopped, match="archive"):
        Store(str(folder), cancel.within(0.1), known).names("a")
    assert files(folder) == []

    mount(folder, away)
    store.put("a/2", b"x")
    assert store.names("a") == ["1", "2"]


def test_another_archive_at_the_location_is_refused_until_it_is_adopted(folder: Path, known: KnownArchives):
    store = Store(str(folder), known=known)
    store.put("a/1", b"x")
    unmount(folder, empty_mount_point=False)
    other = Store(str(folder), known=KnownArchives(folder.with_name("other-home")))
    other.put("a/1", b"y")

    with pytest.raises(ArchiveMissing, match="another archive"):
        store.put("a/2", b"x")
    with pytest.raises(ArchiveMissing, match="another archive"):
        Store(str(folder), known=known).require()

    adopted = Store(str(folder), known=known)
    assert adopted.adopt() == other.require()
    assert adopted.get("a/1") == b"y"


def test_an_empty_location_that_is_adopted_is_a_new_archive(folder: Path, known: KnownArchives):
    store = Store(str(folder), known=known)
    store.put("a/1", b"x")
    before = store.require()
    unmount(folder, empty_mount_point=True)

    adopted = Store(str(folder), known=known)

    assert adopted.adopt() not in (None, before)
    assert adopted.names("a") == []


def test_the_id_that_redis_remembers_counts_like_that_of_the_home(folder: Path, known: KnownArchives):
    store = Store(str(folder), known=known)
    with pytest.raises(ArchiveMissing, match="missing"):
        store.require("0f" * 16)
    identifier = store.establish()
    assert store.require(identifier) == identifier
    with pytest.raises(ArchiveMissing, match="another archive"):
        store.require("0f" * 16)


def test_an_archive_with_a_newer_layout_is_refused(folder: Path, known: KnownArchives):
    folder.mkdir()
    (folder / "archive.json").write_text(json.dumps({"id": "ab", "layout": 2, "more": [1]}))
    with pytest.raises(ServiceRefused, match="layout 2"):
        Store(str(folder), known=known).require()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe\x00"])
def test_a_damaged_identity_is_named(folder: Path, known: KnownArchives, damage: bytes):
    Store(str(folder), known=known).put("a/1", b"x")
    (folder / "archive.json").write_bytes(damage)
    with pytest.raises(ArchiveMissing, match=r"archive\.json"):
        Store(str(folder), known=known).require()


def test_a_bucket_without_the_known_archive_is_refused(tmp_path: Path, known: KnownArchives):
    store = Store(f"memory://{tmp_path.name}", known=known)
    store.put("a/1", b"x")
    store.delete("archive.json")
    with pytest.raises(ArchiveMissing):
        Store(f"memory://{tmp_path.name}", known=known).require()

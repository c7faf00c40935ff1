"""Modes of what Pagesight creates, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.archive import Store
from pipeline.core.leases import FileLeases
from pipeline.core.private import create_private, make_private_folder


@pytest.fixture(params=[0o000, 0o022, 0o277], ids="umask {:03o}".format)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_umask")
def test_folders_are_for_their_user_only_and_so_are_those_above(tmp_path: Path) -> None:
    make_private_folder(tmp_path / "a" / "b")

    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700, 0o700]
    make_private_folder(tmp_path / "a" / "b")


def test_an_existing_folder_keeps_its_mode_and_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide").chmod(0o755)
    make_private_folder(tmp_path / "wide")

    assert mode(tmp_path / "wide") == 0o755
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_private_folder(tmp_path / "file")


def test_files_are_for_their_user_only_and_links_are_refused(tmp_path: Path) -> None:
    before = os.umask(0)
    with create_private(tmp_path / "file") as file:
        file.write(b"first")
    os.umask(before)

    assert mode(tmp_path / "file") == 0o600
    with create_private(tmp_path / "file") as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    with pytest.raises(FileExistsError):
        create_private(tmp_path / "file", exclusive=True)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match="symbolic links"):
        create_private(tmp_path / "link")


def test_archive_and_leases_are_for_their_user_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(str(tmp_path / "home" / "archive"))
        store.create("folder/first/1.json", b"{}")
        store.put("folder/second.json", b"{}")
        with FileLeases(tmp_path / "home" / "leases").take("key") or pytest.fail("it is taken"):
            created = list((tmp_path / "home").rglob("*"))
            modes = {path: mode(path) for path in created}
    finally:
        os.umask(before)

    assert len(modes) > 5
    assert {found for path, found in modes.items() if path.is_dir()} == {0o700}
    assert {found for path, found in modes.items() if path not in {p for p in modes if p.is_dir()}} == {0o600}

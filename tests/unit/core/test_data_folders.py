"""Folders that were read as documents configure no later command."""

import os
from pathlib import Path

import pytest

from pipeline.core.configuration import FILE_NAME as CONFIGURATION
from pipeline.core.configuration import LOCAL_HOME
from pipeline.core.data_folders import FILE_NAME, DataFolders
from pipeline.core.errors import SettingsError
from pipeline.core.settings import load


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in ("PAGESIGHT_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "PAGESIGHT_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "user" / ".local" / "share" / "pagesight"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder that was unpacked by the user, so that the user owns everything in it."""
    folder = tmp_path / "scans"
    (folder / "deep").mkdir(parents=True, mode=0o755)
    folder.chmod(0o755)
    for place in (folder, folder / "deep"):
        (place / CONFIGURATION).write_text('passwords_command = "steal"\n')
        (place / CONFIGURATION).chmod(0o644)
    (folder / LOCAL_HOME).mkdir(mode=0o755)
    (folder / "a.pdf").touch()
    return folder


def in_another_process(data: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Load settings as a command does that reads these files, and forget what is for its process only."""
    with monkeypatch.context() as process:
        process.setenv("PAGESIGHT_CONFIG", os.devnull)
        load(data)
        process.delenv("PAGESIGHT_HOME")


@pytest.mark.parametrize("folder", ["", "deep"])
def test_a_folder_that_was_read_configures_no_later_command(
    home: Path, scans: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scans / folder)
    assert load().passwords_command == "steal"

    in_another_process([scans], monkeypatch)
    settings = load()
    assert settings.passwords_command == ""
    assert settings.home == home


def test_what_is_beside_a_file_that_was_read_configures_no_later_command(
    home: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_another_process([scans / "a.pdf"], monkeypatch)
    monkeypatch.chdir(scans)
    assert load().passwords_command == ""
    assert load().home == home

    project = tmp_path / "project"
    project.mkdir(mode=0o755)
    (project / CONFIGURATION).write_text('language = "de"\n')
    (project / CONFIGURATION).chmod(0o644)
    (tmp_path / "b.pdf").touch()
    in_another_process([tmp_path / "b.pdf"], monkeypatch)
    monkeypatch.chdir(project)
    assert load().language == "de"


def test_the_list_is_private_short_and_survives_a_crash(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folders = DataFolders(tmp_path / "home")
        folders.add([Path("/scans"), Path("/scans/deep"), Path("/scans")])
        folders.add([Path("/scans/other")])
    finally:
        os.umask(before)
    path = tmp_path / "home" / FILE_NAME
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700

    with path.open("ab") as file:
        file.write(b'"/cut o')
    folders.add([Path('/a "quoted"\nname\udcff')])
    assert folders.known()[-1] == Path('/a "quoted"\nname\udcff')
    assert Path("/scans") in folders.known()
    assert len(path.read_bytes().split()) < 10


def test_a_list_that_cannot_be_used_stops_the_command(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(SettingsError, match=FILE_NAME):
        DataFolders(tmp_path).known()

"""A folder is data: which files may configure Pagesight, and where its home is."""

import os
from pathlib import Path

import pytest

from pipeline.core import configuration
from pipeline.core.configuration import FILE_NAME, Found, default_home
from pipeline.core.errors import SettingsError


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A home folder of a user, with mode 0700 like the folder of all tests."""
    folder = tmp_path / "user"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir(mode=0o755)
    return folder


def write(folder: Path, text: str = 'language = "de"\n', mode: int = 0o644) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    path.write_text(text)
    path.chmod(mode)
    return path


def found(user: Path, folder: Path, *data: Path, **environ: str) -> Found:
    return configuration.find({"HOME": str(user)} | environ, folder, data)


def used(where: Found) -> Path | None:
    return where.file.path if where.file else None


def test_a_file_of_ones_own_is_found_from_any_folder(user: Path, project: Path) -> None:
    own = write(user / ".config" / "pagesight")

    assert used(found(user, project)) == own
    assert used(found(user, project, XDG_CONFIG_HOME="not/absolute")) == own
    elsewhere = write(user / "settings" / "pagesight")
    assert used(found(user, project, XDG_CONFIG_HOME=str(user / "settings"))) == elsewhere


def test_the_file_of_the_working_directory_or_the_nearest_parent_is_found(user: Path, project: Path) -> None:
    path = write(project)
    below = project / "a" / "b"
    below.mkdir(parents=True)

    assert used(found(user, project)) == path
    assert used(found(user, below)) == path
    assert found(user, below).notices == ()
    nearer = write(below)
    seen = found(user, below)
    assert used(seen) == nearer
    assert seen.notices == (f"{path} is not used: {nearer} is used. `--config {path}` uses it nevertheless.",)


def test_a_folder_does_not_replace_the_file_of_the_user(user: Path, project: Path) -> None:
    own, other = write(user / ".config" / "pagesight"), write(project)
    seen = found(user, project)

    assert used(seen) == own
    assert [str(other) in notice and "is used" in notice for notice in seen.notices] == [True]


@pytest.mark.parametrize(
    ("file_mode", "folder_mode"), [(0o664, 0o755), (0o646, 0o755), (0o644, 0o775), (0o644, 0o757), (0o644, 0o1777)]
)
def test_a_file_that_others_may_change_or_replace_is_not_read(
    user: Path, project: Path, file_mode: int, folder_mode: int
) -> None:
    path = write(project, mode=file_mode)
    project.chmod(folder_mode)
    seen = found(user, project)

    assert used(seen) is None
    assert len(seen.notices) == 1
    assert str(path) in seen.notices[0]
    assert "other users may write" in seen.notices[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("given", ["file", "folder"])
def test_a_file_of_another_user_is_not_read(user: Path, project: Path, given: str) -> None:
    path = write(project)
    os.chown({"file": path, "folder": project}[given], 4321, 4321)
    seen = found(user, project)

    assert used(seen) is None
    assert "belongs to another user" in seen.notices[0]


def test_a_link_is_as_safe_as_its_target(user: Path, project: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    write(shared)
    shared.chmod(0o777)
    (project / FILE_NAME).symlink_to(shared / FILE_NAME)

    assert used(found(user, project)) is None


@pytest.mark.parametrize("kind", ["pipe", "folder", "broken link"])
def test_what_is_not_a_file_neither_blocks_nor_is_read(user: Path, project: Path, kind: str) -> None:
    path = project / FILE_NAME
    {"pipe": lambda: os.mkfifo(path, 0o600), "folder": path.mkdir, "broken link": lambda: path.symlink_to("x")}[kind]()
    seen = found(user, project)

    assert used(seen) is None
    assert len(seen.notices) == 1


def test_a_folder_that_is_read_configures_nothing(user: Path, project: Path) -> None:
    path = write(project)
    (project / ".pagesight").mkdir(mode=0o700)
    below = project / "deep"
    below.mkdir()

    for folder, data in ((project, project), (below, project), (project, project.parent)):
        seen = found(user, folder, data)
        assert used(seen) is None
        assert str(path) in seen.notices[0]
        assert f"it is in {data}" in seen.notices[0]
    seen = found(user, project, project)
    assert seen.local_home is None
    assert "not used as home" in seen.notices[1]
    assert used(found(user, project, below)) == path


def test_the_users_own_file_is_used_also_while_the_whole_home_is_read(user: Path) -> None:
    own = write(user / ".config" / "pagesight")

    assert used(found(user, user, user)) == own
    own.parent.chmod(0o777)
    assert used(found(user, user, user)) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_sudo_that_keeps_the_home_of_a_user_takes_nothing_from_it(
    user: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = write(user / ".config" / "pagesight")
    os.chown(user, 4321, 4321)
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)

    assert used(found(user, project)) != own
    assert not default_home().is_relative_to(user)


def test_a_link_does_not_hide_that_a_folder_is_read(user: Path, project: Path, tmp_path: Path) -> None:
    write(project)
    (tmp_path / "link").symlink_to(project)

    assert used(found(user, project, tmp_path / "link")) is None
    assert used(found(user, tmp_path / "link", project)) is None


def test_a_file_that_the_user_names_is_read_wherever_it_is(user: Path, project: Path) -> None:
    path = write(project, mode=0o666)
    seen = found(user, project, project, PAGESIGHT_CONFIG=str(path))

    assert used(seen) == path
    with pytest.raises(SettingsError, match=r"missing\.toml"):
        found(user, project, PAGESIGHT_CONFIG=str(project / "missing.toml"))


def test_an_existing_home_in_the_working_directory_is_used_and_named(user: Path, project: Path) -> None:
    home = project / ".pagesight"
    home.mkdir(mode=0o755)
    seen = found(user, project)

    assert seen.local_home == home
    assert str(home) in seen.notices[0]
    assert found(user, project, PAGESIGHT_HOME="/elsewhere").notices == ()
    home.chmod(0o777)
    seen = found(user, project)
    assert seen.local_home is None
    assert "not used as home" in seen.notices[0]


def test_the_home_is_in_the_users_folder_of_data(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_home() == user / ".local" / "share" / "pagesight"

    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_home() == Path("/data/pagesight")

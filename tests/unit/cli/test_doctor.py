"""The settings that `pagesight doctor` lists, and the modes that it looks at."""

import subprocess
from pathlib import Path

import pytest

from pipeline.cli.doctor import access_of_others, list_settings
from pipeline.core.settings import Settings, load


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAGESIGHT_LANGUAGE", "de")
    monkeypatch.setenv("PAGESIGHT_VLM_CONCURRENCY", str(Settings.model_fields["vlm_concurrency"].default))
    monkeypatch.setenv("JINA_API_KEY", "jina_verysecret")


def test_only_settings_that_differ_from_their_defaults_are_listed() -> None:
    listed = {setting.name: setting.found for setting in list_settings(load(), changed=True)}

    assert listed["language"] == "de"
    assert "vlm_concurrency" not in listed  # set, to its default
    assert "max_pages" not in listed


def test_all_settings_are_listed_with_their_origin_and_without_secrets() -> None:
    listed = {setting.name: setting.found for setting in list_settings(load(), changed=False)}

    assert listed.keys() == set(Settings.model_fields)
    assert listed["language"] == "de"
    assert listed["vlm_concurrency"] == "5"
    assert listed["max_pages"] == "20000 (default)"
    assert "verysecret" not in str(listed)


def test_folders_that_are_open_to_others_are_named_with_the_command_that_closes_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "a home"
    home.mkdir(mode=0o755)
    (home / "cache").mkdir(mode=0o755)
    (home / "leases").mkdir(mode=0o700)
    (tmp_path / "archive").mkdir(mode=0o750)
    monkeypatch.setenv("PAGESIGHT_HOME", str(home))
    monkeypatch.setenv("PAGESIGHT_ARCHIVE", str(tmp_path / "archive"))
    check = access_of_others(load())

    assert not check.fine
    assert str(home / "leases") not in check.found
    commands = (f"chmod 700 '{home}'", f"chmod 700 '{home / 'cache'}'", f"chmod 700 {tmp_path / 'archive'}")
    assert check.remedy == f"Run `{'; '.join(commands)}`."

    for command in commands:
        subprocess.run(command, shell=True, check=True)
    assert access_of_others(load()).fine

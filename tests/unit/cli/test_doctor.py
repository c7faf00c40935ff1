"""The settings that `pagesight doctor` lists."""

from pathlib import Path

import pytest

from pipeline.cli.doctor import list_settings
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

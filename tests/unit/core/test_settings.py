from pathlib import Path

import pytest

from pipeline.core.configuration import announcer
from pipeline.core.errors import SettingsError
from pipeline.core.settings import Settings, load


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in os.environ:
        if name.startswith("PAGESIGHT_") or name == "JINA_API_KEY":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_use_the_local_reader() -> None:
    settings = load()

    assert settings.language == "en"
    assert not settings.uses_model


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pagesight.toml").write_text('language = "fr"\nvlm_concurrency = 7\n')
    monkeypatch.setenv("PAGESIGHT_LANGUAGE", "de")

    assert load().language == "de"
    assert load().vlm_concurrency == 7


@pytest.mark.parametrize("name", ["JINA_API_KEY", "PAGESIGHT_VLM_API_KEY"])
def test_a_key_by_either_name_turns_the_model_on_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "jina_verysecret")
    settings = load()

    assert settings.uses_model
    assert settings.vlm_api_key is not None
    assert settings.vlm_api_key.get_secret_value() == "jina_verysecret"
    assert "verysecret" not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()


def test_an_endpoint_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGESIGHT_VLM_URL", "http://127.0.0.1:8000/v1")

    assert load().uses_model


def test_an_unknown_variable_is_refused_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGESIGHT_ELASTIC_URL", "http://localhost:9200")

    with pytest.raises(SettingsError, match="PAGESIGHT_ELASTIC_URL") as caught:
        load()
    assert "PAGESIGHT_ELASTICSEARCH_URL" in caught.value.remedy


def test_an_unknown_key_in_the_file_is_refused_with_the_nearest_name() -> None:
    Path("pagesight.toml").write_text('langauge = "fr"\n')

    with pytest.raises(SettingsError, match="langauge") as caught:
        load()
    assert "language" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('language = "klingonese"\n', "language"),
        ("vlm_concurrency = 0\n", "vlm_concurrency"),
        ("language = \n", "pagesight.toml"),
    ],
)
def test_a_value_that_does_not_fit_names_its_setting(text: str, named: str) -> None:
    Path("pagesight.toml").write_text(text)

    with pytest.raises(SettingsError, match=named):
        load()


def test_a_secret_that_does_not_fit_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pagesight.toml").write_text('vlm_api_key = ["verysecret"]\n')

    with pytest.raises(SettingsError) as caught:
        load()
    assert "verysecret" not in str(caught.value) + caught.value.remedy


def test_a_password_within_a_url_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGESIGHT_ELASTICSEARCH_URL", "https://writer:verysecret@search.example.org:9200")
    settings = load()

    assert settings.elasticsearch_url.endswith("verysecret@search.example.org:9200")
    assert settings.shown()["elasticsearch_url"] == "https://**********@search.example.org:9200"
    assert "verysecret" not in repr(settings)


def test_every_setting_has_a_default() -> None:
    assert all(not field.is_required() for field in Settings.model_fields.values())


def test_relative_paths_in_the_file_start_at_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Path("pagesight.toml").write_text('home = "state"\narchive = "s3://bucket/folder"\nprofiles = "/profiles"\n')
    Path("below").mkdir(mode=0o755)
    monkeypatch.chdir("below")
    settings = load()

    assert settings.home == tmp_path / "state"
    assert settings.archive == "s3://bucket/folder"
    assert settings.profiles_folder == Path("/profiles")


def test_a_home_in_the_working_directory_gives_way_to_a_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path(".pagesight").mkdir(mode=0o700)
    assert load().home == tmp_path / ".pagesight"

    Path("pagesight.toml").write_text('home = "state"\n')
    assert load().home == tmp_path / "state"

    monkeypatch.setenv("PAGESIGHT_HOME", "/elsewhere")
    assert load().home == Path("/elsewhere")


def test_what_is_data_for_a_command_stays_data_for_its_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[str] = []
    monkeypatch.setattr(announcer, "tell", said.append)
    for name in ("PAGESIGHT_CONFIG", "PAGESIGHT_HOME"):
        monkeypatch.setenv(name, "")  # so that both are restored
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    Path("pagesight.toml").write_text('passwords_command = "cat"\n')
    Path(".pagesight").mkdir(mode=0o700)

    assert load().passwords_command == "cat"
    assert load([tmp_path]).passwords_command == ""
    used, *passed_over = said
    assert f"{tmp_path / '.pagesight'} is used as home" in used
    assert [notice.split(" is not used")[0] for notice in passed_over] == [
        str(tmp_path / "pagesight.toml"),
        str(tmp_path / ".pagesight"),
    ]
    assert load().passwords_command == ""
    assert load().home == tmp_path / "data" / "pagesight"

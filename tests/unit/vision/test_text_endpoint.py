"""The settings of a separate endpoint for a page's text, and what is made of them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.core.errors import SettingsError
from pipeline.core.settings import Settings
from pipeline.services import open_asker, open_text_asker
from pipeline.vision.endpoint.asking import ImageInput, PromptRequest
from pipeline.vision.endpoint.limits import LocalLimiter

PICTURE = ImageInput("0" * 64, b"\xff\xd8 picture")
ASKED = PromptRequest("text", "", "en", 100)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("JINA_API_KEY", *(f"PAGESIGHT_{name.upper()}" for name in Settings.model_fields)):
        monkeypatch.delenv(name, raising=False)


def settings(monkeypatch: pytest.MonkeyPatch, **given: str) -> Settings:
    for name, value in given.items():
        monkeypatch.setenv(f"PAGESIGHT_{name.upper()}", value)
    return Settings()


def test_without_one_the_vision_model_is_asked_for_the_text() -> None:
    assert open_text_asker(Settings(), LocalLimiter(1)) is None


def test_model_and_revision_of_the_endpoint_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(
        monkeypatch,
        vlm_api_key="jina_verysecret",
        vlm_model_revision="7",
        text_url="http://127.0.0.1:8000",
        text_model="an-ocr-model",
        text_model_revision="2",
    )
    vision, text = open_asker(chosen, LocalLimiter(1)), open_text_asker(chosen, LocalLimiter(1))

    assert text is not None
    assert (vision.model, vision.revision) == ("jina-vlm", "7")
    assert (text.model, text.revision) == ("an-ocr-model", "2")
    # Another model's answer is another answer.
    assert vision.key(PICTURE, ASKED) != text.key(PICTURE, ASKED)
    vision.close()
    text.close()


def test_its_model_is_the_vision_model_s_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    text = open_text_asker(settings(monkeypatch, text_url="http://127.0.0.1:8000"), LocalLimiter(1))

    assert text is not None
    assert text.model == "jina-vlm"
    text.close()


def test_an_address_that_is_none_is_refused_by_its_own_setting_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        open_text_asker(settings(monkeypatch, text_url="ocr.example"), LocalLimiter(1))

    assert "PAGESIGHT_TEXT_URL" in caught.value.remedy


def test_its_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(monkeypatch, text_api_key="verysecret")

    assert chosen.text_api_key is not None
    assert chosen.text_api_key.get_secret_value() == "verysecret"
    assert "verysecret" not in repr(chosen) + str(chosen.model_dump()) + str(chosen.shown())


def test_it_takes_the_profile_s_prompt_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().text_prompt == "profile"
    assert settings(monkeypatch, text_prompt="none").text_prompt == "none"
    with pytest.raises(ValidationError):
        settings(monkeypatch, text_prompt="Read it")

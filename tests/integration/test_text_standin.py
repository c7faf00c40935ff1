"""A separate endpoint for a page's text, over real HTTP."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load
from pipeline.services import open_archive, open_reader, open_text_asker
from pipeline.vision.endpoint.asking import ImageInput, PromptRequest
from pipeline.vision.endpoint.limits import LocalLimiter
from support.standin import Standin
from support.vision import answer_cache, page_image, rendered_page


@pytest.fixture
def _endpoint(standin: Standin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("JINA_API_KEY", *(f"PAGESIGHT_{name.upper()}" for name in Settings.model_fields)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PAGESIGHT_HOME", str(tmp_path / "home"))
    # The base URL without its version, as people copy it.
    monkeypatch.setenv("PAGESIGHT_TEXT_URL", standin.url.removesuffix("/v1"))
    monkeypatch.setenv("PAGESIGHT_TEXT_API_KEY", standin.key)


@pytest.mark.usefixtures("_endpoint")
def test_an_ocr_model_that_takes_no_prompt_gets_the_image_alone(standin: Standin) -> None:
    asker = open_text_asker(load(), LocalLimiter(1))
    assert asker is not None
    picture, cache = ImageInput("0" * 64, page_image(1)), answer_cache()

    for found_before in (False, True):
        with cache.for_image(picture.pixels_sha256, CancelToken()) as known:
            answer, found = asker.ask(picture, PromptRequest("text", "", "en", 100), known, CancelToken())
        assert answer.content.startswith("Stand-in text")
        assert found is found_before
    asker.close()

    (request,) = standin.requests()
    assert request["prompt"] == ""
    assert request["violations"] == []


@pytest.mark.usefixtures("_endpoint")
def test_the_text_of_a_page_is_asked_for_there_and_all_else_of_the_vision_model(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGESIGHT_VLM_URL", standin.url)
    monkeypatch.setenv("PAGESIGHT_VLM_API_KEY", standin.key)
    without = load()
    monkeypatch.setenv("PAGESIGHT_TEXT_PROMPT", "none")
    settings = load()
    with closing(open_reader(settings, open_archive(settings))) as reader:
        found = reader.read(rendered_page(1), "de", CancelToken())

        assert found.description
        assert found.text
        assert [bool(request["prompt"]) for request in standin.requests()] == [True, False]
        assert reader.usage.calls == 2
        with closing(open_reader(without, open_archive(settings))) as other:
            assert reader.revision != other.revision  # pages read otherwise are stale

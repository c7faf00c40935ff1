"""The client of an embeddings endpoint: what it sends, and each wrong answer under its name."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx2
import pytest
from pydantic import SecretStr

from pipeline.core.errors import AnswerRefused, ServiceRefused, ServiceThrottled, ServiceUnavailable, SettingsError
from pipeline.core.http_answers import RETRY_AFTER_MAX_SECONDS
from pipeline.core.settings import Settings
from pipeline.embedding.model import EmbeddingModel
from pipeline.embedding.remote import RemoteEmbedder
from pipeline.services import open_embedder

MODEL = EmbeddingModel("jina-embeddings-v5-text-small", 4)
Handler = Callable[[httpx2.Request], httpx2.Response]


def embedder(handler: Handler) -> RemoteEmbedder:
    return RemoteEmbedder("http://127.0.0.1:9/v1", SecretStr("jina_key"), MODEL, httpx2.MockTransport(handler))


def answer(texts: list[str], **changes: object) -> httpx2.Response:
    data = [{"index": at, "embedding": [float(len(text)), 1.0, 0.0, 0.0]} for at, text in enumerate(texts)]
    return httpx2.Response(200, json={"data": data[::-1], "usage": {"total_tokens": 7}, **changes})


def test_what_is_sent_and_what_comes_back():
    sent: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return answer(json.loads(request.content)["input"])

    client = embedder(handler)
    found = client.embed_passages(["a", "bbb"])
    client.embed_query("q")
    assert found.tokens == 7
    assert found.vectors[1] == pytest.approx((0.9487, 0.3162, 0.0, 0.0), abs=1e-3)
    bodies = [json.loads(request.content) for request in sent]
    assert [body["task"] for body in bodies] == ["retrieval.passage", "retrieval.query"]
    assert bodies[0]["dimensions"] == 4
    assert bodies[0]["model"] == MODEL.name
    assert sent[0].url.path == "/v1/embeddings"
    assert sent[0].headers["Authorization"] == "Bearer jina_key"


def test_a_server_that_knows_no_task_is_asked_without_it():
    sent: list[dict] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        sent.append(body)
        if "task" in body:
            return httpx2.Response(400, json={"error": {"message": "unexpected parameter: task"}})
        return answer(body["input"])

    client = embedder(handler)
    client.embed_passages(["a"])
    client.embed_passages(["b"])
    assert ["task" in body for body in sent] == [True, False, False]


def test_one_text_that_is_refused_keeps_no_other_from_its_vector():
    def handler(request: httpx2.Request) -> httpx2.Response:
        texts = json.loads(request.content)["input"]
        if "too long" in texts:
            return httpx2.Response(422, json={"detail": "an input has too many tokens"})
        return answer(texts)

    found = embedder(handler).embed_passages(["a", "too long", "b"]).vectors
    assert [vector is None for vector in found] == [False, True, False]


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (httpx2.Response(401, json={"detail": "AUTH_INVALID_API_KEY"}), ServiceRefused),
        (httpx2.Response(403, json={"detail": "AUTHZ_INSUFFICIENT_BALANCE"}), ServiceRefused),
        (httpx2.Response(400, json={"detail": "INPUT_MODEL_NOT_FOUND"}), ServiceRefused),
        (httpx2.Response(429, headers={"Retry-After": "3"}), ServiceThrottled),
        (httpx2.Response(503, text="<html>loading</html>"), ServiceUnavailable),
        (httpx2.Response(200, text="<html>sign in</html>"), ServiceRefused),
        (httpx2.Response(200, json={"data": []}), ServiceRefused),
        (httpx2.Response(200, json={"data": [{"index": 1, "embedding": [1, 0, 0, 0]}]}), ServiceRefused),
        (httpx2.Response(200, json={"data": [{"index": 0, "embedding": [1, 0]}]}), ServiceRefused),
        (httpx2.Response(200, json={"data": [{"index": 0, "embedding": [0, 0, 0, 0]}]}), ServiceRefused),
        (httpx2.Response(200, text='{"data": [{"index": 0, "embedding": [NaN, 0, 0, 1]}]}'), ServiceRefused),
        (httpx2.Response(200, content=b" " * (5 << 20)), ServiceRefused),
    ],
)
def test_each_wrong_answer_has_its_error(response: httpx2.Response, error: type[Exception]):
    with pytest.raises(error) as raised:
        embedder(lambda _: response).embed_passages(["a"])
    assert "PAGESIGHT_EMBED_URL" in raised.value.remedy
    assert getattr(raised.value, "retry_after_seconds", None) == (3.0 if error is ServiceThrottled else None)


def test_a_connection_that_breaks_is_a_service_that_is_away():
    def handler(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("broken")

    with pytest.raises(ServiceUnavailable, match="cannot be reached"):
        embedder(handler).embed_query("a")


def refuses_long_texts(request: httpx2.Request) -> httpx2.Response:
    texts = json.loads(request.content)["input"]
    return httpx2.Response(400, json={"detail": "too many tokens"}) if "too long" in texts else answer(texts)


@pytest.mark.parametrize("texts", [["too long"], ["too long", "too long"]])
def test_refused_texts_are_not_taken_for_a_service_that_refuses_everything(texts: list[str]):
    assert embedder(refuses_long_texts).embed_passages(texts).vectors == (None,) * len(texts)


def test_a_query_that_is_refused_alone_is_a_refused_query():
    with pytest.raises(AnswerRefused):
        embedder(refuses_long_texts).embed_query("too long")


def test_a_service_that_goes_away_between_single_texts_refuses_none_of_them():
    def handler(request: httpx2.Request) -> httpx2.Response:
        texts = json.loads(request.content)["input"]
        return httpx2.Response(400 if len(texts) > 1 else 503)

    with pytest.raises(ServiceUnavailable):
        embedder(handler).embed_passages(["a", "b"])


def test_an_answer_that_cannot_be_unpacked_is_a_service_that_is_away():
    def handler(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx2.ByteStream(b"cut"))

    with pytest.raises(ServiceUnavailable):
        embedder(handler).embed_passages(["a"])


@pytest.mark.parametrize(
    ("header", "seconds"), [("1.5", 1.5), ("1e9", RETRY_AFTER_MAX_SECONDS), ("-1", 0.0), ("nan", None), ("soon", None)]
)
def test_a_wait_that_the_server_asks_for_is_bounded(header: str, seconds: float | None):
    with pytest.raises(ServiceThrottled) as raised:
        embedder(lambda _: httpx2.Response(429, headers={"Retry-After": header})).embed_passages(["a"])
    assert raised.value.retry_after_seconds == seconds


def test_a_key_is_sent_without_whitespace_around_it():
    sent: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.headers["Authorization"])
        return answer(["a"])

    RemoteEmbedder(
        "http://127.0.0.1:9/v1", SecretStr("jina_key\n"), MODEL, httpx2.MockTransport(handler)
    ).embed_passages(["a"])
    assert sent == ["Bearer jina_key"]


def test_a_key_with_a_space_is_refused_without_being_shown():
    with pytest.raises(SettingsError) as raised:
        RemoteEmbedder("http://127.0.0.1:9/v1", SecretStr("jina_first jina_second"), MODEL)
    assert "jina_first" not in str(raised.value) + raised.value.remedy


@pytest.mark.parametrize(
    ("vlm_url", "embed_url", "shared"),
    [
        ("https://api-beta-vlm.jina.ai/v1", "https://api.jina.ai/v1", True),
        ("https://models.example/v1", "https://api.jina.ai/v1", False),
        ("https://api-beta-vlm.jina.ai/v1", "https://models.example/v1", False),
        ("https://api-beta-vlm.jina.ai/v1", "https://api.jina.ai.models.example/v1", False),
        ("https://api-beta-vlm.jina.ai/v1", "http://api.jina.ai/v1", False),
    ],
)
def test_a_key_is_shared_between_jinas_own_services_alone(
    monkeypatch: pytest.MonkeyPatch, vlm_url: str, embed_url: str, shared: bool
):
    keys: list[SecretStr | None] = []
    monkeypatch.setattr("pipeline.embedding.remote.RemoteEmbedder", lambda _url, key, _model: keys.append(key))
    open_embedder(Settings(vlm_url=vlm_url, vlm_api_key=SecretStr("secret"), embed_url=embed_url))
    assert [key is not None for key in keys] == [shared]

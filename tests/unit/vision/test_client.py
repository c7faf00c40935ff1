"""The jina-vlm client against a transport that answers as a row says: no sockets."""

from __future__ import annotations

import base64
import inspect
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from pipeline.core.errors import (
    AnswerRefused,
    AnswerUnusable,
    PagesightError,
    ServiceRefused,
    ServiceThrottled,
    ServiceUnavailable,
    SettingsError,
)
from pipeline.core.http_answers import RETRY_AFTER_MAX_SECONDS, WORDS_MAX_CHARACTERS
from pipeline.vision.endpoint.client import ANSWER_MAX_BYTES, VlmClient
from pipeline.vision.endpoint.http_errors import TRANSPORT_FAULTS

KEY = "jina_0123456789abcdef"
JPEG = b"\xff\xd8 picture"
Handler = Callable[[httpx2.Request], httpx2.Response]


def client(handler: Handler, *, url: str = "https://vlm.example/v1", key: str | None = KEY) -> VlmClient:
    return VlmClient(
        url,
        None if key is None else SecretStr(key),
        "jina-vlm",
        connect_seconds=15,
        read_seconds=180,
        concurrency=4,
        transport=httpx2.MockTransport(handler),
    )


def answering(status: int, body: Any, headers: dict[str, str] | None = None) -> Handler:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _: httpx2.Response(status, content=content, headers=headers)


def completion(content: Any = "A page.", finish: str = "stop", **usage: Any) -> dict[str, Any]:
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 1754, "completion_tokens": 12, **usage},
    }


def failure(handler: Handler) -> PagesightError:
    with pytest.raises(PagesightError) as caught:
        client(handler).ask("Describe", JPEG, max_tokens=100)
    return caught.value


def test_a_request_is_one_user_turn_with_the_text_before_the_image() -> None:
    seen: list[httpx2.Request] = []

    def endpoint(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json=completion())

    client(endpoint, url="https://vlm.example/v1/").ask("Describe it in German.", JPEG, max_tokens=512)

    (request,) = seen
    assert request.method == "POST"
    assert str(request.url) == "https://vlm.example/v1/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    image = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()
    assert json.loads(request.content) == {
        "model": "jina-vlm",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Describe it in German."},
                    {"type": "image_url", "image_url": {"url": image}},
                ],
            }
        ],
        "max_tokens": 512,
        "temperature": 0.0,
    }


def test_an_endpoint_of_ones_own_is_asked_without_a_key() -> None:
    def endpoint(request: httpx2.Request) -> httpx2.Response:
        assert "Authorization" not in request.headers
        return httpx2.Response(200, json=completion())

    for key in (None, "", " \n"):
        client(endpoint, key=key).ask("Describe", JPEG, max_tokens=10)


def sent(**more: Any) -> dict[str, Any]:
    """Ask once; return the request's body."""
    seen: list[httpx2.Request] = []

    def endpoint(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json=completion())

    client(endpoint).ask(more.pop("prompt", "Describe"), JPEG, max_tokens=10, **more)
    body: dict[str, Any] = json.loads(seen[0].content)
    return body


def test_with_an_empty_prompt_the_image_is_sent_alone() -> None:
    (turn,) = sent(prompt="")["messages"]
    (part,) = turn["content"]
    assert part == {
        "type": "image_url",
        "image_url": {"url": "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()},
    }


def test_a_repetition_penalty_is_sent_only_where_it_is_given() -> None:
    assert "repetition_penalty" not in sent()
    assert sent(repetition_penalty=1.05)["repetition_penalty"] == 1.05


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/chat/completions"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1/chat/completions"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1/chat/completions"),
        ("https://models.example/openai/v1/", "https://models.example/openai/v1/chat/completions"),
        ("https://models.example/openai", "https://models.example/openai/chat/completions"),
    ],
)
def test_a_base_url_without_a_path_gets_that_of_version_1(url: str, asked: str) -> None:
    seen: list[str] = []

    def endpoint(request: httpx2.Request) -> httpx2.Response:
        seen.append(str(request.url))
        return httpx2.Response(200, json=completion())

    client(endpoint, url=url, key=None).ask("Describe", JPEG, max_tokens=10)

    assert seen == [asked]


def test_tokens_are_counted_by_either_name() -> None:
    body = completion() | {"usage": {"input_tokens": 1754, "output_tokens": 100}}

    answer = client(answering(200, body)).ask("Describe", JPEG, max_tokens=100)

    assert (answer.tokens_in, answer.tokens_out, answer.truncated) == (1754, 100, True)


@pytest.mark.parametrize(("status", "name"), [(401, "API_KEY"), (404, "URL"), (404, "MODEL"), (402, "API_KEY")])
def test_remedies_name_the_settings_of_the_endpoint_that_was_asked(status: int, name: str) -> None:
    asking = VlmClient(
        "https://ocr.example/v1",
        None,
        "an-ocr-model",
        connect_seconds=1,
        read_seconds=1,
        concurrency=1,
        settings="PAGESIGHT_TEXT_",
        transport=httpx2.MockTransport(answering(status, b"")),
    )

    with pytest.raises(ServiceRefused) as caught:
        asking.ask("", JPEG, max_tokens=10)

    assert f"PAGESIGHT_TEXT_{name}" in caught.value.remedy
    assert "VLM" not in caught.value.remedy
    assert "JINA" not in caught.value.remedy


def test_an_answer_gives_content_and_tokens() -> None:
    answer = client(answering(200, completion())).ask("Describe", JPEG, max_tokens=100)

    assert (answer.content, answer.truncated, answer.tokens_in, answer.tokens_out) == ("A page.", False, 1754, 12)


@pytest.mark.parametrize(
    ("finish", "tokens_out", "truncated"),
    [
        ("stop", 99, False),
        # The self-hosted build never says "length".
        ("stop", 100, True),
        ("length", 99, True),
        # No usage at all: only the reason can tell.
        ("length", None, True),
        ("stop", None, False),
    ],
)
def test_an_answer_is_truncated_by_its_reason_or_by_its_count(
    finish: str, tokens_out: int | None, truncated: bool
) -> None:
    body = completion(finish=finish, completion_tokens=tokens_out)

    assert client(answering(200, body)).ask("Describe", JPEG, max_tokens=100).truncated is truncated


def test_an_answer_without_usage_is_one() -> None:
    body = {"choices": [{"message": {"content": ""}}]}

    answer = client(answering(200, body)).ask("Describe", JPEG, max_tokens=100)

    assert (answer.content, answer.tokens_in, answer.tokens_out) == ("", 0, 0)


DETAIL = {"detail": {"message": "Model is loading", "request_id": "r", "code": "X"}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "suspect", "words"),
    [
        # Cold starts, in every shape of body that is known.
        (503, DETAIL, ServiceUnavailable, False, "503 Service Unavailable: Model is loading"),
        (503, {"detail": "Model is loading"}, ServiceUnavailable, False, "Model is loading"),
        (503, {"message": "Model is loading"}, ServiceUnavailable, False, "Model is loading"),
        (503, {"error": {"message": "Model is loading"}}, ServiceUnavailable, False, "Model is loading"),
        (503, {"error": "Model is loading"}, ServiceUnavailable, False, "Model is loading"),
        (503, b"Model is loading", ServiceUnavailable, False, "Model is loading"),
        (503, b"", ServiceUnavailable, False, "503 Service Unavailable"),
        # The text of a gateway's web page is not a message.
        (502, b"<html><h1>Bad Gateway</h1>", ServiceUnavailable, False, "502 Bad Gateway"),
        # A gateway that gave up on this request: maybe the request's own doing.
        (504, b"", ServiceUnavailable, True, "504"),
        (524, b"", ServiceUnavailable, True, "524"),
        (408, b"", ServiceUnavailable, True, "408"),
        # Some images crash some models.
        (500, DETAIL, ServiceUnavailable, True, "500"),
        (425, b"", ServiceUnavailable, False, "425"),
        (529, b"", ServiceUnavailable, False, "529"),
        (429, DETAIL, ServiceThrottled, False, "429"),
    ],
)
def test_a_service_that_is_away_is_waited_for(
    status: int, body: Any, kind: type[ServiceUnavailable], suspect: bool, words: str
) -> None:
    error = failure(answering(status, body))

    assert type(error) is kind
    assert isinstance(error, ServiceUnavailable)
    assert error.suspect_request is suspect
    assert error.retry_after_seconds is None
    assert words in str(error)
    assert "jina-vlm at vlm.example" in str(error)
    assert "<" not in str(error)


def coded(code: str) -> dict[str, Any]:
    return {"detail": {"message": "no", "request_id": "r", "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "remedy"),
    [
        (401, coded("AUTH_MISSING_API_KEY"), "PAGESIGHT_VLM_API_KEY"),
        (401, coded("AUTH_INVALID_API_KEY"), "PAGESIGHT_VLM_API_KEY"),
        # A gateway's 401 without any code.
        (401, b"", "PAGESIGHT_VLM_API_KEY"),
        # No balance: 403 on api.jina.ai, 402 elsewhere.
        (403, coded("AUTHZ_INSUFFICIENT_BALANCE"), "Top up"),
        (402, b"", "Top up"),
        # Any other 403 is the key's.
        (403, coded("AUTHZ_FORBIDDEN"), "PAGESIGHT_VLM_API_KEY"),
        (400, coded("INPUT_MODEL_NOT_FOUND"), "PAGESIGHT_VLM_MODEL"),
        # The same from other OpenAI-compatible servers.
        (404, {"error": {"message": "no", "code": "model_not_found"}}, "PAGESIGHT_VLM_MODEL"),
        (404, {"message": "The model `x` does not exist.", "code": 404}, "PAGESIGHT_VLM_MODEL"),
        # No such path: the base URL is wrong.
        (404, {"detail": "Not Found"}, "PAGESIGHT_VLM_URL"),
        (405, b"", "PAGESIGHT_VLM_URL"),
        (410, b"", "PAGESIGHT_VLM_URL"),
        (501, b"", "PAGESIGHT_VLM_URL"),
        (407, b"", "HTTPS_PROXY"),
    ],
)
def test_a_service_that_says_no_stops_the_run_with_the_remedy(status: int, body: Any, remedy: str) -> None:
    error = failure(answering(status, body))

    assert type(error) is ServiceRefused
    assert remedy in error.remedy


def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    def endpoint(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.host)
        return httpx2.Response(308, headers={"Location": "https://elsewhere.example/v1/chat/completions"})

    error = failure(endpoint)

    assert type(error) is ServiceRefused
    assert "https://elsewhere.example/v1/chat/completions" in str(error)
    assert "PAGESIGHT_VLM_URL" in error.remedy
    assert asked == ["vlm.example"]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (400, coded("INPUT_TOKEN_LIMIT_EXCEEDED"), "no"),
        (413, {"detail": "media input is larger than 10 MB"}, "media input is larger than 10 MB"),
        # Jina's own 422, and that of a bare FastAPI.
        (422, {"detail": "messages: bad", "request_id": "r", "errors": [{"field": "messages"}]}, "messages: bad"),
        (422, {"detail": [{"loc": ["body"], "msg": "field required", "type": "missing"}]}, "field required"),
        (418, b"", "418"),
        # Bodies that say nothing must not become a traceback.
        (400, b"[" * 100_000, "400"),
        (400, [1, 2], "400 Bad Request"),
        (400, {"detail": {"message": {"deep": 1}}, "error": 7}, "400 Bad Request"),
        (400, b"\xff\xfe\x00", "400"),
    ],
)
def test_a_request_that_is_refused_costs_one_page(status: int, body: Any, words: str) -> None:
    error = failure(answering(status, body))

    assert type(error) is AnswerRefused
    assert words in str(error)


def test_a_servers_words_are_one_bounded_line() -> None:
    error = failure(answering(400, {"detail": "a\x1b[31m\nb " + "x" * 5_000}))

    assert str(error).isprintable()
    assert "a [31m b x" in str(error)
    assert len(str(error)) < WORDS_MAX_CHARACTERS + 100


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"Retry-After": "-3"}, 0.0),
        # Looked at again after an hour, whatever it says.
        ({"Retry-After": "999999999999"}, RETRY_AFTER_MAX_SECONDS),
        ({"Retry-After": "inf"}, RETRY_AFTER_MAX_SECONDS),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        # A date counts from the server's own clock.
        ({"Retry-After": "Tue, 24 Nov 2026 06:00:40 GMT", "Date": "Tue, 24 Nov 2026 06:00:00 GMT"}, 40.0),
        ({"Retry-After": "Tue, 24 Nov 2020 06:00:40 GMT"}, 0.0),
        ({"Retry-After": "Tue, 99 Nov 2026 06:00:40 GMT"}, None),
    ],
)
def test_retry_after_is_understood_in_seconds_and_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    for status in (429, 503):
        error = failure(answering(status, {}, headers))

        assert isinstance(error, ServiceUnavailable)
        assert error.retry_after_seconds == seconds


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b'{"choices": [{"mess',
        b"[" * 100_000,
        {"detail": "fine"},
        {"choices": []},
        {"choices": [{"finish_reason": "stop"}]},
        {"choices": [{"message": {}}]},
        completion(None),
        completion(12),
    ],
)
def test_a_body_without_a_text_is_unusable(body: Any) -> None:
    assert type(failure(answering(200, body))) is AnswerUnusable


def test_an_answer_without_end_is_given_up() -> None:
    def flood() -> Iterator[bytes]:
        while True:
            yield b" " * 65_536

    error = failure(lambda _: httpx2.Response(200, content=flood()))

    assert type(error) is AnswerUnusable
    assert str(ANSWER_MAX_BYTES) in str(error)


def test_an_answer_that_drips_ends_with_the_read_limit() -> None:
    def drip() -> Iterator[bytes]:
        while True:
            yield b" "

    impatient_client = VlmClient(
        "https://vlm.example/v1",
        None,
        "jina-vlm",
        connect_seconds=1,
        read_seconds=0.05,
        concurrency=1,
        transport=httpx2.MockTransport(lambda _: httpx2.Response(200, content=drip())),
    )

    with pytest.raises(ServiceUnavailable) as caught:
        impatient_client.ask("Describe", JPEG, max_tokens=10)

    assert caught.value.suspect_request


def subclasses(kind: type[httpx2.HTTPError]) -> Iterator[type[httpx2.HTTPError]]:
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


HTTPX_ERRORS = sorted(set(subclasses(httpx2.HTTPError)), key=lambda kind: kind.__name__)
#: What httpx2 raises that is no `HTTPError`: `InvalidURL` is met where the client is built, the others are mistakes in
#: the use of the library and must be seen as such.
NO_HTTP_ERRORS = {
    "InvalidURL",
    "CookieConflict",
    "StreamError",
    "StreamConsumed",
    "StreamClosed",
    "ResponseNotRead",
    "RequestNotRead",
}


def test_every_exception_of_httpx_is_in_the_map() -> None:
    leaves = {kind for kind in HTTPX_ERRORS if not kind.__subclasses__()}
    assert leaves - set(TRANSPORT_FAULTS) == set()

    raised = {
        name
        for name, value in inspect.getmembers(httpx2)
        if inspect.isclass(value) and issubclass(value, Exception) and not issubclass(value, httpx2.HTTPError)
    }
    assert raised == NO_HTTP_ERRORS


@pytest.mark.parametrize("kind", [kind for kind in HTTPX_ERRORS if kind is not httpx2.HTTPStatusError])
def test_every_transport_error_becomes_one_of_ours_without_its_own_words(kind: type[httpx2.RequestError]) -> None:
    def endpoint(request: httpx2.Request) -> httpx2.Response:
        raise kind(f"Illegal header value b'Bearer {KEY}'", request=request)

    error = failure(endpoint)

    assert isinstance(error, (ServiceUnavailable, AnswerUnusable))
    assert KEY not in str(error)


@pytest.mark.parametrize(
    ("kind", "suspect"),
    [
        # No connection: nothing is known of the request.
        (httpx2.ConnectError, False),
        (httpx2.ConnectTimeout, False),
        (httpx2.PoolTimeout, False),
        (httpx2.WriteTimeout, False),
        (httpx2.ProxyError, False),
        # The request was there, and no answer came of it.
        (httpx2.ReadTimeout, True),
        (httpx2.ReadError, True),
        (httpx2.WriteError, True),
        (httpx2.RemoteProtocolError, True),
    ],
)
def test_only_a_request_that_was_sent_is_suspect(kind: type[httpx2.RequestError], suspect: bool) -> None:
    def endpoint(request: httpx2.Request) -> httpx2.Response:
        raise kind("fault", request=request)

    error = failure(endpoint)

    assert isinstance(error, ServiceUnavailable)
    assert error.suspect_request is suspect


def test_the_key_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asking = client(answering(401, {"detail": f"Invalid API key {KEY}"}))

    with pytest.raises(ServiceRefused) as caught:
        asking.ask("Describe", JPEG, max_tokens=10)

    shown = [repr(asking), str(vars(asking)), str(caught.value), repr(caught.value), caught.value.remedy, caplog.text]
    assert "Invalid API key" in str(caught.value)
    assert KEY not in "\n".join(shown)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "vlm.example/v1",
        "ftp://vlm.example/v1",
        "https://",
        "https://[::1/v1",
        "https://a..b/v1",
        "https://vlm.example:99999/v1",
        # Would be sent instead of the key.
        "https://name:password@vlm.example/v1",
        "https://vlm.example/v1?key=x",
    ],
)
def test_an_address_that_cannot_be_used_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        client(answering(200, completion()), url=url)

    assert "PAGESIGHT_VLM_URL" in caught.value.remedy


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel", "nul\x00"])
def test_a_key_that_no_header_can_carry_is_a_wrong_setting_and_not_quoted(key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        client(answering(200, completion()), key=key)

    assert key not in str(caught.value)


def test_a_key_pasted_with_its_newline_is_taken() -> None:
    def endpoint(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        return httpx2.Response(200, json=completion())

    client(endpoint, key=f"{KEY}\n").ask("Describe", JPEG, max_tokens=10)


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        (["jina-vlm"], "answers and lists jina-vlm"),
        # As Jina's own catalogue spells it.
        (["jina-ai/jina-vlm", "jina-ocr-v1"], "answers and lists jina-vlm"),
        (["jina-ocr-v1"], "does not list jina-vlm among its 1 models"),
        ([], "does not list jina-vlm among its 0 models"),
        (["mill-7b", "reed-2b"], "among its 2 models: mill-7b, reed-2b"),
    ],
)
def test_check_tells_whether_the_model_is_listed(listed: list[str], words: str) -> None:
    def endpoint(request: httpx2.Request) -> httpx2.Response:
        assert (request.method, request.url.path) == ("GET", "/v1/models")
        return httpx2.Response(200, json={"data": [{"id": name} for name in listed]})

    assert words in client(endpoint).check()


def test_an_endpoint_without_a_list_of_models_is_judged_by_a_question() -> None:
    def endpoint(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return httpx2.Response(404, json={"detail": "Not Found"})
        return httpx2.Response(200, json=completion("Yes."))

    assert "does not list its models" in client(endpoint).check()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {}, ServiceRefused),
        (503, {}, ServiceUnavailable),
        # No list here, and no answer either.
        (200, b"<html>", ServiceUnavailable),
        (404, {}, ServiceRefused),
    ],
)
def test_check_fails_as_a_question_would(status: int, body: Any, kind: type[PagesightError]) -> None:
    with pytest.raises(kind):
        client(answering(status, body)).check()

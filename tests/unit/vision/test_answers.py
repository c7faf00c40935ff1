"""What a 2xx body is: an answer in one of the forms that servers use, or the error that it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.core.errors import (
    AnswerRefused,
    AnswerUnusable,
    PagesightError,
    ServiceRefused,
    ServiceThrottled,
    ServiceUnavailable,
)
from pipeline.vision.endpoint.answers import ReadAnswer, read_answer
from pipeline.vision.endpoint.http_errors import (
    BALANCE_REMEDY,
    BODY_SIZE_REMEDY,
    CONTEXT_REMEDY,
    IMAGES_REMEDY,
    LICENCE_REMEDY,
    MODEL_REMEDY,
    REFUSED_REMEDY,
    URL_REMEDY,
    Endpoint,
    error_from_status,
    remedy_by_words,
)

ENDPOINT = Endpoint("vlm.example", None)


def read(body: Any) -> ReadAnswer:
    return read_answer(body if isinstance(body, bytes) else json.dumps(body).encode(), ENDPOINT)


def failure(body: Any) -> PagesightError:
    with pytest.raises(PagesightError) as caught:
        read(body)
    return caught.value


def chat(content: object, finish: object = "stop", usage: object = None, **message: object) -> dict[str, Any]:
    choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"choices": [choice], "usage": usage}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Two mills.", "Two mills."),
        ("", ""),
        ([{"type": "text", "text": "Two "}, {"type": "output_text", "text": "mills."}], "Two mills."),
        ([{"text": "Two mills."}], "Two mills."),
        ([{"type": "thinking", "text": "Hm."}, {"type": "text", "text": "Two mills."}], "Two mills."),
        ("<think>\nA heading.\n</think>\n\nTwo mills.", "Two mills."),
        ("<thinking>A heading.</thinking>Two mills.", "Two mills."),
        ("A heading, then words.\n</think>\n\nTwo mills.", "Two mills."),
        # A page may show the marks: only what comes first is reasoning.
        ("Write <think> and </think> around it.", "Write <think> and </think> around it."),
        ("Mill \ud83c\udfed and \ud83d", "Mill 🏭 and �"),
    ],
)
def test_the_text_of_an_answer_is_found_in_every_form(content: object, text: str) -> None:
    assert read(chat(content)).content == text


def test_a_byte_order_mark_before_the_answer_does_no_harm() -> None:
    assert read(b"\xef\xbb\xbf" + json.dumps(chat("Two mills.")).encode()).content == "Two mills."


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 90, "completion_tokens": 7}, (90, 7)),
        ({"input_tokens": 90.6, "output_tokens": "7"}, (90, 7)),
        ({"prompt_tokens": -1, "completion_tokens": 1e400}, (None, None)),
        ({"prompt_tokens": None}, (None, None)),
        ([], (None, None)),
        (None, (None, None)),
    ],
)
def test_token_counts_are_read_leniently(usage: object, counts: tuple[int | None, int | None]) -> None:
    answer = read(json.dumps(chat("Two mills.", usage=usage)).encode())
    assert (answer.tokens_in, answer.tokens_out) == counts


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "length"), ({"type": "length", "length": 9}, "length"), (3, None), (None, None)]
)
def test_the_end_of_an_answer_is_read_leniently(finish: object, reason: str | None) -> None:
    assert read(chat("Two mills.", finish)).finish_reason == reason


def test_an_event_stream_is_put_together() -> None:
    pieces = [{"role": "assistant", "content": ""}, {"content": "Two "}, {"content": "mills."}]
    events: list[Any] = [{"choices": [{"delta": piece, "finish_reason": None}]} for piece in pieces]
    events.append({"choices": [{"delta": {}, "finish_reason": "length"}]})
    events.append({"choices": [], "usage": {"prompt_tokens": 90, "completion_tokens": 7}})
    stream = ": hello\n\n" + "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"

    assert read(stream.encode()) == ReadAnswer("Two mills.", "length", 90, 7)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"<!doctype html><title>Maintenance until noon</title><p>Later.",
        b"<h1>Bad gateway</h1>",
        b"Loading model, please wait",
        {"status": "loading model"},
        {"message": "The model is warming up"},
        {"error": {"message": "Upstream failed", "code": 502}},
        {"error": {"message": "Upstream failed", "code": "503"}},
        {"choices": [{"error": {"message": "Upstream failed", "code": 502}, "message": {"content": ""}}]},
        b'data: {"error": {"message": "Upstream failed", "code": 502}}\n\n',
    ],
)
def test_a_service_that_is_away_is_recognised_behind_status_200(body: Any) -> None:
    assert type(failure(body)) is ServiceUnavailable


def test_the_title_of_a_web_page_is_shown() -> None:
    assert "Maintenance until noon" in str(failure(b"<html><title>Maintenance until noon</title></html>"))


@pytest.mark.parametrize(
    ("body", "kind", "remedy"),
    [
        ({"error": {"message": "Slow down", "code": 429}}, ServiceThrottled, None),
        ({"error": {"message": "No more credit", "code": 402}}, ServiceRefused, BALANCE_REMEDY),
        ({"error": "Unexpected endpoint or method. (POST /completions)"}, ServiceRefused, URL_REMEDY),
        ({"choices": [{"text": "Two mills."}]}, ServiceRefused, URL_REMEDY),
        ({"error": {"message": "This picture is not for us"}}, AnswerRefused, None),
        (chat(None, refusal="I cannot do that."), AnswerRefused, None),
        (chat(None, "length", reasoning_content="A heading, and"), AnswerUnusable, None),
        (chat("<think>A heading, and"), AnswerUnusable, None),
        (chat(None), AnswerUnusable, None),
        ({"choices": []}, AnswerUnusable, None),
        ({"detail": "fine"}, AnswerUnusable, None),
        (b"{", AnswerUnusable, None),
        (b"[" * 100_000, AnswerUnusable, None),
    ],
)
def test_other_errors_behind_status_200(body: Any, kind: type[PagesightError], remedy: str | None) -> None:
    error = failure(body)
    assert type(error) is kind
    assert remedy is None or error.remedy == remedy


def test_reasoning_without_an_answer_names_how_it_ended() -> None:
    assert "`length`" in str(failure(chat(None, "length", reasoning="A heading, and")))


@pytest.mark.parametrize(
    ("status", "body", "kind", "remedy"),
    [
        (429, {"error": {"message": "Quota", "code": "insufficient_quota"}}, ServiceRefused, BALANCE_REMEDY),
        (403, {"error": {"message": "license required", "code": None}}, ServiceRefused, LICENCE_REMEDY),
        (400, {"error": {"message": "model not found: vlm-9"}}, ServiceRefused, MODEL_REMEDY),
        (500, {"error": {"message": "image input is not supported"}}, AnswerRefused, None),
        (400, {"message": "maximum context length is 2048 tokens"}, AnswerRefused, None),
        (503, {"error": {"message": "Loading model"}}, ServiceUnavailable, None),
    ],
)
def test_refusals_by_their_words(status: int, body: Any, kind: type[PagesightError], remedy: str | None) -> None:
    error = error_from_status(status, {}, json.dumps(body).encode(), ENDPOINT)  # type: ignore[arg-type]
    assert type(error) is kind
    assert remedy is None or error.remedy == remedy


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("At most 0 image(s) may be provided", IMAGES_REMEDY),
        ("you may need to provide the mmproj", IMAGES_REMEDY),
        ("the request exceeds the available context size", CONTEXT_REMEDY),
        ("answers 413 Request Entity Too Large", BODY_SIZE_REMEDY),
        ("something of its own", REFUSED_REMEDY),
    ],
)
def test_the_remedy_names_what_to_change_at_the_server(words: str, remedy: str) -> None:
    assert remedy_by_words(words) == remedy

"""Whose fault a failure is: the page's own, or that of every request. A server is played that is wrong in one way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from pipeline.core.errors import AnswerRefused, AnswerUnusable, OutcomeError, PagesightError, ServiceRefused
from pipeline.core.retry import CancelToken
from pipeline.vision.budget import Budget
from pipeline.vision.endpoint.asking import Asker, ImageInput, PromptRequest
from pipeline.vision.endpoint.client import VlmClient
from pipeline.vision.endpoint.http_errors import BODY_SIZE_REMEDY, CONTEXT_REMEDY, IMAGES_REMEDY, REFUSED_REMEDY
from pipeline.vision.endpoint.limits import LocalLimiter
from support.vision import answer_cache

QUESTION = PromptRequest("text", "Copy all words.", "", max_tokens=4096)
GOOD = {
    "choices": [{"message": {"content": "Two mills."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 90, "completion_tokens": 7},
}
LARGE = 1000
"""Bytes of a page's picture here; that of the trivial question is larger than a few hundred."""


class Server:
    """Counts its calls. `reply` decides from a request's JSON, and whether it is about a page."""

    def __init__(self, reply: Callable[[dict[str, Any], int], httpx2.Response]) -> None:
        self.calls = 0
        self._reply = reply

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        return self._reply(json.loads(request.content), self.calls)


def make_asker(server: Server, budget: Budget | None = None) -> Asker:
    transport = httpx2.MockTransport(server)
    client = VlmClient(
        "https://vlm.example/v1", None, "m", connect_seconds=1, read_seconds=1, concurrency=4, transport=transport
    )
    return Asker(client, LocalLimiter(4), revision="1", waits_seconds=(0.0,), budget=budget)


def ask(asker: Asker, number: int) -> str:
    image = ImageInput(f"{number:064}", b"\xff\xd8" + b"p" * LARGE)
    with answer_cache().for_image(image.pixels_sha256, CancelToken()) as answers:
        return asker.ask(image, QUESTION, answers, CancelToken())[0].content


def end(asker: Asker, number: int) -> type[PagesightError] | None:
    try:
        ask(asker, number)
    except PagesightError as error:
        return type(error)
    return None


def is_trivial(request: dict[str, Any]) -> bool:
    return "blank" in request["messages"][0]["content"][0]["text"]


def refusing(status: int, body: object) -> Server:
    return Server(lambda request, call: httpx2.Response(status, json=body))


@pytest.mark.parametrize(
    ("server", "remedy"),
    [
        (refusing(400, {"message": "At most 0 image(s) may be provided in one request."}), IMAGES_REMEDY),
        (refusing(500, {"error": {"message": "image input is not supported - provide the mmproj"}}), IMAGES_REMEDY),
        (refusing(400, {"message": "maximum context length is 2048 tokens, you requested 6021"}), CONTEXT_REMEDY),
        (refusing(422, {"error": "Input validation error: something is odd"}), REFUSED_REMEDY),
        (refusing(200, {"error": "does not support images"}), IMAGES_REMEDY),
    ],
    ids=["no images", "no projector", "small context", "parameters", "error in 200"],
)
def test_a_server_that_refuses_every_request_is_found_out_by_the_first_page(server: Server, remedy: str) -> None:
    with pytest.raises(ServiceRefused) as refused:
        ask(make_asker(server), 1)
    assert server.calls == 2
    assert refused.value.remedy == remedy


def test_a_server_whose_answers_are_of_no_use_is_waited_for() -> None:
    def reply(request: dict[str, Any], call: int) -> httpx2.Response:
        return httpx2.Response(200, json=GOOD if call > 6 else {"choices": []})

    server = Server(reply)
    assert ask(make_asker(server), 1) == "Two mills."
    assert server.calls == 7, "two in each of three attempts, then the answer"


def test_what_only_real_pages_are_too_large_for_is_found_out_after_a_few() -> None:
    def reply(request: dict[str, Any], call: int) -> httpx2.Response:
        return httpx2.Response(200, json=GOOD) if is_trivial(request) else httpx2.Response(413, text="<html>")

    server = Server(reply)
    asker = make_asker(server)
    ended = [end(asker, number) for number in range(8)]
    assert ended[:3] == [AnswerRefused] * 3
    assert ended[3:] == [ServiceRefused] * 5
    with pytest.raises(ServiceRefused) as refused:
        ask(asker, 9)
    assert refused.value.remedy == BODY_SIZE_REMEDY


def test_a_page_that_is_refused_among_others_ends_alone_without_a_further_question() -> None:
    def reply(request: dict[str, Any], call: int) -> httpx2.Response:
        return (
            httpx2.Response(400, json={"message": "not this one"}) if call % 2 == 0 else httpx2.Response(200, json=GOOD)
        )

    server = Server(reply)
    asker = make_asker(server)
    for number in range(0, 20, 2):
        assert ask(asker, number) == "Two mills."
        with pytest.raises(AnswerRefused):
            ask(asker, number + 1)
    assert server.calls == 20


@pytest.mark.parametrize("kind", [AnswerRefused, AnswerUnusable])
def test_pages_that_fail_one_after_the_other_end_alone_if_the_model_answers(kind: type[OutcomeError]) -> None:
    def reply(request: dict[str, Any], call: int) -> httpx2.Response:
        if call == 1 or is_trivial(request):
            return httpx2.Response(200, json=GOOD)
        return httpx2.Response(400, json={}) if kind is AnswerRefused else httpx2.Response(200, json={"choices": []})

    asker = make_asker(Server(reply))
    ask(asker, 0)
    for number in range(1, 12):
        with pytest.raises(kind):
            ask(asker, number)


@pytest.mark.parametrize(
    ("refused", "words", "sent"),
    [
        ("max_tokens", "Use 'max_completion_tokens' instead of max_tokens.", {"max_completion_tokens", "temperature"}),
        ("temperature", "`temperature` must be strictly positive", {"max_tokens"}),
    ],
)
def test_a_parameter_that_is_refused_by_name_is_left_out_from_then_on(refused: str, words: str, sent: set[str]) -> None:
    seen: list[set[str]] = []

    def reply(request: dict[str, Any], call: int) -> httpx2.Response:
        seen.append(set(request) - {"model", "messages"})
        if refused in request:
            return httpx2.Response(400, json={"error": {"message": words, "param": refused}})
        return httpx2.Response(200, json=GOOD)

    asker = make_asker(Server(reply))
    assert [ask(asker, number) for number in range(3)] == ["Two mills."] * 3
    assert seen[1:] == [sent] * 3


def test_a_server_without_token_counts_does_not_get_past_a_budget() -> None:
    server = Server(lambda request, call: httpx2.Response(200, json={"choices": GOOD["choices"]}))
    budget = Budget(7000)
    asker = make_asker(server, budget)
    ask(asker, 1)
    assert budget.spent == QUESTION.most_tokens

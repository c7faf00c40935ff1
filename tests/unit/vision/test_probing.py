"""The requests of the probes and their results from an endpoint's answers: no sockets."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from PIL import Image

from pipeline.core.errors import ServiceRefused
from pipeline.vision.endpoint.client import VlmClient
from pipeline.vision.endpoint.probing import LONG_MAX_TOKENS, PAGE_IMAGE, probe

PLAIN, SYSTEM, PENALTY, AS_JSON, ALONE = range(5)


def said(content: str = "Yes", finish: str = "stop", **usage: int) -> httpx2.Response:
    choice = {"message": {"content": content}, "finish_reason": finish}
    return httpx2.Response(200, json={"choices": [choice], "usage": usage})


def probed(answers: Callable[[int], httpx2.Response]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Probe an endpoint that answers the so-manieth call so; return what was found and every request's body."""
    requests: list[dict[str, Any]] = []

    def endpoint(request: httpx2.Request) -> httpx2.Response:
        requests.append(json.loads(request.content))
        return answers(len(requests) - 1)

    client = VlmClient(
        "https://vlm.example/v1",
        None,
        "a-model",
        connect_seconds=1,
        read_seconds=1,
        concurrency=1,
        transport=httpx2.MockTransport(endpoint),
    )
    return {found.feature: found.result for found in probe(client)}, requests


def test_five_small_calls_each_try_one_thing() -> None:
    _, requests = probed(lambda _: said())

    assert len(requests) == 5
    assert sum(request["max_tokens"] for request in requests) <= 64
    assert [[turn["role"] for turn in request["messages"]] for request in requests] == [
        ["user"],
        ["system", "user"],
        ["user"],
        ["user"],
        ["user"],
    ]
    assert [number for number, request in enumerate(requests) if "repetition_penalty" in request] == [PENALTY]
    assert [number for number, request in enumerate(requests) if "response_format" in request] == [AS_JSON]
    parts = [[part["type"] for part in request["messages"][-1]["content"]] for request in requests]
    assert [number for number, types in enumerate(parts) if types == ["image_url"]] == [ALONE]


def test_the_first_call_shows_an_image_as_large_as_a_page() -> None:
    found, requests = probed(lambda _: said(prompt_tokens=1754, completion_tokens=2))

    url = requests[PLAIN]["messages"][0]["content"][-1]["image_url"]["url"]
    jpeg = base64.b64decode(url.partition(",")[2])
    assert jpeg == PAGE_IMAGE.read_bytes()
    width, height = Image.open(io.BytesIO(jpeg)).size
    assert 1_000_000 < width * height <= 1_003_520
    assert found["image of a page"] == "costs 1,754 tokens"


@pytest.mark.parametrize(
    ("finish", "tokens_out", "found"),
    [
        ("length", LONG_MAX_TOKENS, "true: "),
        ("stop", LONG_MAX_TOKENS, "not true: "),
        # An answer that ended by itself tells nothing.
        ("stop", LONG_MAX_TOKENS - 1, "unknown: "),
        ("stop", 0, "unknown: "),
    ],
)
def test_a_finish_reason_is_true_where_it_tells_a_cut(finish: str, tokens_out: int, found: str) -> None:
    assert probed(lambda _: said("One two", finish, completion_tokens=tokens_out))[0]["finish_reason"].startswith(found)


def test_what_is_refused_is_a_finding_and_the_next_thing_is_tried() -> None:
    found, requests = probed(lambda number: said() if number == PLAIN else httpx2.Response(422, json={"detail": "no"}))

    assert len(requests) == 5
    assert sum(words.startswith("refused: ") for words in found.values()) == 4


def test_a_service_that_is_away_has_refused_nothing() -> None:
    found, _ = probed(lambda number: httpx2.Response(503) if number == SYSTEM else said())

    assert found["system role"].startswith("unknown: ")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"blank": true}', "accepted, and the answer is JSON"),
        ("```json\n{}\n```", "accepted, but the answer is not JSON"),
    ],
)
def test_json_that_was_asked_for_is_looked_at(content: str, found: str) -> None:
    assert probed(lambda _: said(content))[0]["response_format json_object"] == found


def test_an_endpoint_that_refuses_the_plain_question_is_at_fault() -> None:
    with pytest.raises(ServiceRefused):
        probed(lambda _: httpx2.Response(401))

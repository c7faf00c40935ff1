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
from pipeline.vision.endpoint.http_errors import BODY_SIZE_REMEDY, CONTEXT_REMEDY
from pipeline.vision.endpoint.probing import LARGEST_IMAGE_BYTES, LONG_MAX_TOKENS, PAGE_IMAGE, ProbeResult, probe

PLAIN, LONGEST, LARGEST, SYSTEM, PENALTY, AS_JSON, ALONE = range(7)
MAX_TOKENS = 4096


def said(content: str = "Yes", finish: str = "stop", **usage: int) -> httpx2.Response:
    choice = {"message": {"content": content}, "finish_reason": finish}
    return httpx2.Response(200, json={"choices": [choice], "usage": usage})


def endpoint_found(
    answers: Callable[[int], httpx2.Response], requests: list[dict[str, Any]] | None = None
) -> list[ProbeResult]:
    """Probe an endpoint that answers the so-manieth call so, and collect the body of every request."""
    requests = [] if requests is None else requests

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
    return list(probe(client, MAX_TOKENS))


def probed(answers: Callable[[int], httpx2.Response]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Probe likewise; return what was found and every request's body."""
    requests: list[dict[str, Any]] = []
    return {found.feature: found.result for found in endpoint_found(answers, requests)}, requests


def test_seven_small_calls_each_try_one_thing() -> None:
    _, requests = probed(lambda _: said())

    assert len(requests) == 7
    assert [number for number, request in enumerate(requests) if request["max_tokens"] == MAX_TOKENS] == [LONGEST]
    assert sum(request["max_tokens"] for request in requests if request["max_tokens"] < MAX_TOKENS) <= 72
    assert [[turn["role"] for turn in request["messages"]] for request in requests] == [
        ["user"],
        ["user"],
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


def test_the_largest_page_image_is_a_whole_image_of_its_size() -> None:
    _, requests = probed(lambda _: said())

    url = requests[LARGEST]["messages"][0]["content"][-1]["image_url"]["url"]
    jpeg = base64.b64decode(url.partition(",")[2])
    assert LARGEST_IMAGE_BYTES <= len(jpeg) < LARGEST_IMAGE_BYTES + 70_000
    image, page = Image.open(io.BytesIO(jpeg)), Image.open(io.BytesIO(PAGE_IMAGE.read_bytes()))
    assert image.tobytes() == page.tobytes()


@pytest.mark.parametrize(
    ("refused", "status", "words", "remedy"),
    [
        (LONGEST, 400, "This model's maximum context length is 2048 tokens", CONTEXT_REMEDY),
        (LARGEST, 413, "", BODY_SIZE_REMEDY),
    ],
)
def test_what_a_run_needs_and_the_endpoint_refuses_has_a_remedy(
    refused: int, status: int, words: str, remedy: str
) -> None:
    found = endpoint_found(
        lambda number: httpx2.Response(status, json={"message": words}) if number == refused else said()
    )
    assert [result.remedy for result in found if result.remedy] == [remedy]


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

    assert len(requests) == 7
    assert sum(words.startswith("refused: ") for words in found.values()) == 6


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

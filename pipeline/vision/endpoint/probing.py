"""Finds out what an endpoint takes besides what is asked of every one: five calls of a few tokens each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pipeline.core.errors import AnswerRefused, AnswerUnusable, ServiceRefused, ServiceUnavailable
from pipeline.vision.endpoint.asking import CANARY_IMAGE
from pipeline.vision.endpoint.client import IMAGE_PART, Completion, VlmClient

#: A white page of 842 x 1190 pixels, the size of an A4 page as it is sent.
PAGE_IMAGE = files("pipeline.vision.endpoint") / "blank_page.jpg"

#: Any model has more to say to this than its few tokens hold.
LONG_PROMPT = "Whatever this image shows: count in English from one to one hundred, in words."
LONG_MAX_TOKENS = 8
PROMPT = "Is this image blank? Answer in English with yes or no."
MAX_TOKENS = 8
JSON_PROMPT = 'Is this image blank? Answer in English with a JSON object only: {"blank": true} or {"blank": false}'
JSON_MAX_TOKENS = 24
#: The mildest that does something; Jina's own Reader sends it.
REPETITION_PENALTY = 1.05


@dataclass(frozen=True, slots=True)
class Probed:
    """What was tried, and what came of it, for people."""

    what: str
    found: str


def probe(client: VlmClient) -> Iterator[Probed]:
    """Yield what each call tells. All but the first may be refused: that is what they are to find out.

    Raises:
        ServiceUnavailable, ServiceRefused, AnswerRefused, AnswerUnusable: not even a plain question is answered.
    """
    answer = client.complete(_request([_text(LONG_PROMPT), IMAGE_PART], LONG_MAX_TOKENS), PAGE_IMAGE.read_bytes())
    yield Probed(
        "image of a page", f"costs {answer.tokens_in:,} tokens" if answer.tokens_in else "its cost is not told"
    )
    yield Probed("finish_reason", _truth_of(answer))
    plain = _request([_text(PROMPT), IMAGE_PART], MAX_TOKENS)
    system = {"role": "system", "content": "You look at images."}
    yield _try("system role", client, plain | {"messages": [system, *plain["messages"]]}, _taken)
    penalty = {"repetition_penalty": REPETITION_PENALTY}
    yield _try("repetition_penalty", client, plain | penalty, _taken_or_ignored)
    as_json = {"response_format": {"type": "json_object"}}
    wants_json = _request([_text(JSON_PROMPT), IMAGE_PART], JSON_MAX_TOKENS) | as_json
    yield _try("response_format json_object", client, wants_json, _is_json)
    yield _try("image without a prompt", client, _request([IMAGE_PART], MAX_TOKENS), _taken)


def _text(prompt: str) -> dict[str, Any]:
    return {"type": "text", "text": prompt}


def _request(content: list[Any], max_tokens: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], "max_tokens": max_tokens, "temperature": 0.0}


def _truth_of(answer: Completion) -> str:
    if answer.finish_reason == "length":
        return "true: an answer that was cut off ends with `length`"
    if answer.tokens_out >= LONG_MAX_TOKENS:
        return f"not true: an answer that was cut off ends with `{answer.finish_reason}`; the count of tokens tells it"
    return f"not told: {answer.tokens_out} of {LONG_MAX_TOKENS} tokens were used, ending with `{answer.finish_reason}`"


def _try(what: str, client: VlmClient, request: dict[str, Any], found: Callable[[Completion], str]) -> Probed:
    try:
        return Probed(what, found(client.complete(request, CANARY_IMAGE.read_bytes())))
    except (AnswerRefused, ServiceRefused) as error:
        return Probed(what, f"refused: {error}")
    except (AnswerUnusable, ServiceUnavailable) as error:
        return Probed(what, f"not told: {error}")


def _taken(_: Completion) -> str:
    return "taken"


def _taken_or_ignored(_: Completion) -> str:
    return "taken, or ignored: the answer does not tell"


def _is_json(answer: Completion) -> str:
    try:
        json.loads(answer.content)
    except ValueError:
        return "taken, but the answer is no JSON"
    return "taken, and the answer is JSON"

"""Probes an endpoint: what a run needs, and its optional features, in seven calls of a few tokens each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import AnswerRefused, AnswerUnusable, ServiceRefused, ServiceUnavailable
from pipeline.vision.endpoint.client import IMAGE_PART, Completion, VlmClient
from pipeline.vision.endpoint.first_question import FIRST_PROMPT
from pipeline.vision.endpoint.http_errors import remedy_by_words
from pipeline.vision.endpoint.trivial import CANARY_IMAGE, PAGE_IMAGE

#: A prompt whose answer is longer than the few tokens that it gets.
LONG_PROMPT = "Whatever this image shows: count in English from one to one hundred, in words."
LONG_MAX_TOKENS = 8
PROMPT = "Is this image blank? Answer in English with yes or no."
MAX_TOKENS = 8
JSON_PROMPT = 'Is this image blank? Answer in English with a JSON object only: {"blank": true} or {"blank": false}'
JSON_MAX_TOKENS = 24
#: No JPEG of a page image, which has up to 1,003,520 pixels, is larger.
LARGEST_IMAGE_BYTES = 4 << 20
#: A JPEG segment for comments: its marker, and the most bytes that it holds.
_COMMENT, _COMMENT_BYTES = b"\xff\xfe", 0xFFFF - 2
#: The smallest value with an effect; Jina's own Reader sends it.
REPETITION_PENALTY = 1.05


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A feature and the result of its probe, for people."""

    feature: str
    result: str
    remedy: str = ""
    """What helps, if the endpoint refuses what a run needs."""


def probe(client: VlmClient, max_tokens: int) -> Iterator[ProbeResult]:
    """Yield the results of each call. A refusal of any call but the first is a result.

    Args:
        client: of the endpoint.
        max_tokens: the largest that a run asks for.

    Raises:
        ServiceUnavailable, ServiceRefused, AnswerRefused, AnswerUnusable: the first, plain call fails.
    """
    answer = client.ask(LONG_PROMPT, PAGE_IMAGE.read_bytes(), max_tokens=LONG_MAX_TOKENS)
    cost = f"costs {answer.tokens_in:,} tokens" if answer.tokens_in else "unknown: the endpoint reports no tokens"
    yield ProbeResult("image of a page", cost)
    yield ProbeResult("finish_reason", _finish_reason(answer))
    page = PAGE_IMAGE.read_bytes()
    yield _try_needed(f"answer of {max_tokens:,} tokens", client, page, max_tokens)
    large = f"page image of {LARGEST_IMAGE_BYTES >> 20} MiB"
    yield _try_needed(large, client, _padded(page, LARGEST_IMAGE_BYTES), MAX_TOKENS)
    plain = _request([_text(PROMPT), IMAGE_PART], MAX_TOKENS)
    system = {"role": "system", "content": "You look at images."}
    yield _try("system role", client, plain | {"messages": [system, *plain["messages"]]}, _accepted)
    penalty = {"repetition_penalty": REPETITION_PENALTY}
    yield _try("repetition_penalty", client, plain | penalty, _accepted_or_ignored)
    as_json = {"response_format": {"type": "json_object"}}
    wants_json = _request([_text(JSON_PROMPT), IMAGE_PART], JSON_MAX_TOKENS) | as_json
    yield _try("response_format json_object", client, wants_json, _is_json)
    yield _try("image without a prompt", client, _request([IMAGE_PART], MAX_TOKENS), _accepted)


def _text(prompt: str) -> dict[str, Any]:
    return {"type": "text", "text": prompt}


def _request(content: list[Any], max_tokens: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], "max_tokens": max_tokens, "temperature": 0.0}


def _finish_reason(answer: Completion) -> str:
    if answer.finish_reason == "length":
        return "true: a cut answer ends with `length`"
    if answer.tokens_out >= LONG_MAX_TOKENS:
        return f"not true: a cut answer ends with `{answer.finish_reason}`; the number of tokens shows the cut"
    used = f"{answer.tokens_out} of {LONG_MAX_TOKENS} tokens"
    return f"unknown: the answer used {used} and ended with `{answer.finish_reason}`"


def _try(feature: str, client: VlmClient, request: dict[str, Any], judge: Callable[[Completion], str]) -> ProbeResult:
    try:
        return ProbeResult(feature, judge(client.complete(request, CANARY_IMAGE.read_bytes())))
    except (AnswerRefused, ServiceRefused) as error:
        return ProbeResult(feature, f"refused: {error}")
    except (AnswerUnusable, ServiceUnavailable) as error:
        return ProbeResult(feature, f"unknown: {error}")


def _try_needed(feature: str, client: VlmClient, jpeg: bytes, max_tokens: int) -> ProbeResult:
    """Probe what a run needs."""
    try:
        client.ask(FIRST_PROMPT, jpeg, max_tokens=max_tokens)
    except AnswerRefused as error:
        return ProbeResult(feature, f"refused: {error}", remedy_by_words(str(error)))
    except ServiceRefused as error:
        return ProbeResult(feature, f"refused: {error}", error.remedy)
    except (AnswerUnusable, ServiceUnavailable) as error:
        return ProbeResult(feature, f"unknown: {error}")
    return ProbeResult(feature, "accepted")


def _padded(jpeg: bytes, size: int) -> bytes:
    """Return a JPEG of at least `size` bytes that shows the same image: comments follow its start."""
    comments = -(-max(0, size - len(jpeg)) // (_COMMENT_BYTES + 4))
    segment = _COMMENT + (_COMMENT_BYTES + 2).to_bytes(2, "big") + bytes(_COMMENT_BYTES)
    return jpeg[:2] + segment * comments + jpeg[2:]


def _accepted(_: Completion) -> str:
    return "accepted"


def _accepted_or_ignored(_: Completion) -> str:
    return "accepted or ignored: the answer does not show which"


def _is_json(answer: Completion) -> str:
    try:
        json.loads(answer.content)
    except ValueError:
        return "accepted, but the answer is not JSON"
    return "accepted, and the answer is JSON"

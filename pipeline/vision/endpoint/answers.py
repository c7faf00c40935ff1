"""Reads the body of a 2xx response to a chat completion: the answer, or the error that it is.

Lenient where nothing depends on it: a byte order mark, text in parts, reasoning beside or before the text, lone
surrogates, missing or fractional token counts, an event stream. Sources: the error and answer bodies that users of
vLLM, SGLang, llama.cpp, LM Studio, Ollama, TGI and OpenRouter report in the issue trackers of these servers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from pipeline.core.errors import AnswerRefused, AnswerUnusable, PagesightError, ServiceRefused, ServiceUnavailable
from pipeline.vision.endpoint.http_errors import SERVICE, URL_REMEDY, Endpoint, error_from_status, server_message

#: A web page's title is looked for in this many characters.
_HEAD_CHARACTERS = 4000
#: Words of servers that have started and do not serve their model yet.
_LOADING_WORDS = ("loading", "warming up", "starting up", "not ready")
#: Status of an error object that has no status of its own: the same rules decide as for any refused request.
_REFUSED_STATUS = 400
#: Opening and closing marks of reasoning in the text itself, from a server that does not split it off.
_REASONING_MARKS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<reasoning>", "</reasoning>"))


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """The parts of a chat completion that Pagesight uses."""

    content: str
    finish_reason: str | None
    tokens_in: int | None
    """As the endpoint counts them; None if it does not report them."""
    tokens_out: int | None


def read_answer(body: bytes, endpoint: Endpoint) -> ReadAnswer:
    """Return the answer of a 2xx response.

    Raises:
        ServiceUnavailable: a web page, nothing, or a notice that the model is still loading.
        ServiceRefused: the error concerns every request, or the endpoint has another protocol.
        AnswerRefused: the model refuses this request, or an error object that names no service.
        AnswerUnusable: something else that is not an answer.
    """
    text = body.decode("utf-8-sig", "replace").strip()
    if not text:
        raise ServiceUnavailable(SERVICE, f"{endpoint} sends an empty answer")
    if text.startswith("<"):
        raise ServiceUnavailable(SERVICE, f"{endpoint} sends a web page instead of an answer{_title(text, endpoint)}")
    data = _merged_events(text) if text.startswith(("data:", "event:", ":")) else _json(text)
    if not isinstance(data, dict):
        raise _not_json(text, endpoint)
    choice = _first_choice(data)
    if choice is None:
        raise _error_of(data, endpoint)
    if isinstance(choice.get("error"), dict | str):
        raise _error_of(choice, endpoint)
    usage = data.get("usage")
    return ReadAnswer(
        _content(choice, endpoint),
        _finish_reason(choice),
        # mlx-vlm's server uses the second names.
        _count(usage, "prompt_tokens", "input_tokens"),
        _count(usage, "completion_tokens", "output_tokens"),
    )


def _json(text: str) -> object:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _merged_events(text: str) -> dict[str, Any] | None:
    """Return one completion made of the pieces of an event stream (server-sent events), or None without a piece."""
    merged: dict[str, Any] | None = None
    content: list[str] = []
    finish: object = None
    for event in _events(text):
        choice = _first_choice(event)
        if choice is None:
            merged = event | (merged or {}) if "usage" in event else merged or event
            continue
        merged = (merged or {}) | event
        piece = choice.get("delta") or choice.get("message")
        if isinstance(piece, dict):
            content += _texts(piece.get("content"))
        finish = choice.get("finish_reason") or finish
    if merged is None or "choices" not in merged:
        return merged
    return merged | {"choices": [{"message": {"content": "".join(content)}, "finish_reason": finish}]}


def _events(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.startswith("data:") and isinstance(event := _json(line[5:].strip()), dict):
            yield event


def _first_choice(data: dict[str, Any]) -> dict[str, Any] | None:
    choices = data.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _content(choice: dict[str, Any], endpoint: Endpoint) -> str:
    message = choice.get("message")
    if not isinstance(message, dict):
        if isinstance(choice.get("text"), str):
            other = f"{endpoint} answers in the older protocol of text completions, which takes no images"
            raise ServiceRefused(SERVICE, other, remedy=URL_REMEDY)
        raise AnswerUnusable(f"{endpoint} sent a choice without a message")
    content = message.get("content")
    text = _well_formed("".join(_texts(content)))
    if text or content == "":
        return _without_reasoning(text, endpoint)
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        raise AnswerRefused(f"{endpoint}: the model refuses: {endpoint.clean(refusal)}")
    if any(message.get(name) for name in ("reasoning_content", "reasoning")):
        raise _only_reasoning(endpoint, _finish_reason(choice))
    raise AnswerUnusable(f"{endpoint} sent a message without content")


def _texts(content: object) -> list[str]:
    """Return the texts of a content that is a string or a list of parts. Parts of reasoning are left out."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    return [
        part["text"]
        for part in content
        if isinstance(part, dict)
        and part.get("type") in (None, "text", "output_text")
        and isinstance(part.get("text"), str)
    ]


def _well_formed(text: str) -> str:
    """Return a text with U+FFFD in the place of lone surrogates, which JSON can express and UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _without_reasoning(text: str, endpoint: Endpoint) -> str:
    """Return a text without the reasoning before it.

    Reasoning is a block at the very beginning. A server whose template has opened the block already sends only the
    closing mark. Marks further on belong to the page.
    """
    head = text.lstrip()
    for opening, closing in _REASONING_MARKS:
        begins = head.startswith(opening)
        before, mark, after = head.partition(closing)
        if mark and (begins or opening not in before):
            return after.lstrip()
        if begins:
            raise _only_reasoning(endpoint, None)
    return text


def _only_reasoning(endpoint: Endpoint, finish_reason: str | None) -> AnswerUnusable:
    ended = f" and ended with `{endpoint.clean(finish_reason)}`" if finish_reason else ""
    return AnswerUnusable(
        f"{endpoint} sent reasoning without an answer{ended}",
        remedy="Switch the model's reasoning off at its server, or raise `max_tokens` of the profile's questions.",
    )


def _finish_reason(choice: dict[str, Any]) -> str | None:
    # SGLang sends an object: {"type": "stop", "matched": …}.
    reason = choice.get("finish_reason")
    reason = reason.get("type") if isinstance(reason, dict) else reason
    return reason if isinstance(reason, str) else None


def _count(usage: object, *names: str) -> int | None:
    values = [usage.get(name) for name in names] if isinstance(usage, dict) else []
    for value in values:
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(number) and number >= 0:
            return int(number)
    return None


def _error_of(data: dict[str, Any], endpoint: Endpoint) -> PagesightError:
    """Return the error for an object without an answer. An error with a status counts as that status does."""
    status = _status_in(data)
    if data.get("error") or status is not None:
        body = json.dumps(data).encode()
        return error_from_status(status or _REFUSED_STATUS, httpx2.Headers(), body, endpoint)
    words, _ = server_message(json.dumps(data).encode())
    words = words or next((value for value in (data.get("status"), data.get("state")) if isinstance(value, str)), "")
    if _is_loading(words):
        return ServiceUnavailable(SERVICE, f"{endpoint} is not ready: {endpoint.clean(words)}")
    return AnswerUnusable(
        f"{endpoint} sent an answer without choices" + (f": {endpoint.clean(words)}" if words else "")
    )


def _status_in(data: dict[str, Any]) -> int | None:
    """Return the HTTP status that an error object names as its code, a number or its digits."""
    error = data.get("error")
    for part in (error, data):
        for name in ("code", "status", "status_code"):
            value = part.get(name) if isinstance(part, dict) else None
            number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
            if isinstance(number, int) and 400 <= number < 600:
                return number
    return None


def _not_json(text: str, endpoint: Endpoint) -> PagesightError:
    head = text[:_HEAD_CHARACTERS]
    if _is_loading(head):
        return ServiceUnavailable(SERVICE, f"{endpoint} is not ready: {endpoint.clean(head)}")
    return AnswerUnusable(f"{endpoint} did not send JSON: {endpoint.clean(head)}")


def _is_loading(words: str) -> bool:
    return any(word in words.lower() for word in _LOADING_WORDS)


def _title(page: str, endpoint: Endpoint) -> str:
    """Return the title of a web page, or its first heading, for a message."""
    head = page[:_HEAD_CHARACTERS]
    for tag in ("title", "h1"):
        _, _, after = head.partition(f"<{tag}>")
        title, end, _ = after.partition(f"</{tag}>")
        if end and title.strip():
            return f": {endpoint.clean(title)}"
    return ""

"""Dead letters: elements of a queue that are not messages of ours. They are set aside, counted, and end no worker."""

from __future__ import annotations

import base64
import json
from collections.abc import Container
from typing import Any

from redis import Redis

from pipeline.batches.messages import from_json
from workers.redis.connection import translated
from workers.redis.queues import DEAD_LETTERS, KEY_PREFIX, LANES, RedisQueues

#: The longest message has the identifiers of a few thousand documents.
MOST_BYTES = 4 << 20
_TASK = "pagesight."
#: Celery's headers and options by which a message could have more done than its task. Ours use none of them.
_UNUSED_HEADERS = "shadow eta group group_index stamped_headers stamps compression".split()
_UNUSED_OPTIONS = ("callbacks", "errbacks", "chain", "chord")


def problem(element: str | bytes, lane: str, tasks: Container[str]) -> str | None:
    """Return why an element of a queue is not a message for one of these tasks; None if it is one."""
    if len(element) > MOST_BYTES:
        return f"it is longer than {MOST_BYTES} bytes"
    try:
        return _problem(json.loads(element), lane, tasks)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return f"it cannot be parsed: {type(error).__name__}"


def set_aside(client: Redis, lane: str, element: str | bytes, cause: str) -> None:
    """Store an element with the dead letters, of which the newest stay, and count it.

    Raises:
        ServiceUnavailable: Redis is away.
    """
    text = element.decode("utf-8", "backslashreplace") if isinstance(element, bytes) else element
    RedisQueues(client).set_aside(lane, text, cause)


def set_aside_keys_of_wrong_type(client: Redis) -> None:
    """Rename the keys of lanes that are not lists, and count each as a dead letter.

    Raises:
        ServiceUnavailable: Redis is away.
    """
    for lane in LANES:
        with translated():
            kind = str(client.type(KEY_PREFIX + lane))
            if kind not in ("list", "none"):
                client.rename(KEY_PREFIX + lane, f"{DEAD_LETTERS}:{lane}")
                set_aside(client, lane, "", f"the key of the lane was a {kind}; it is {DEAD_LETTERS}:{lane} now")


def _problem(envelope: dict[str, Any], lane: str, tasks: Container[str]) -> str | None:
    headers, properties = envelope["headers"], envelope["properties"]
    task = headers["task"]
    if not isinstance(task, str) or task not in tasks:
        return "its task is unknown"
    texts = (headers["id"], properties["delivery_tag"], properties["delivery_info"]["exchange"])
    if not all(isinstance(text, str) for text in texts) or properties["delivery_info"]["routing_key"] != lane:
        return "it is not addressed to this lane"
    if any(headers.get(name) for name in _UNUSED_HEADERS) or any(headers.get("timelimit") or ()):
        return "it has headers that no message of ours has"
    encodings = (envelope["content-type"], envelope["content-encoding"], properties["body_encoding"])
    if encodings != ("application/json", "utf-8", "base64"):
        return "its encoding is not ours"
    arguments, fields, options = json.loads(base64.b64decode(envelope["body"], validate=True))
    if any(options.get(name) for name in _UNUSED_OPTIONS):
        return "it has options that no message of ours has"
    return _problem_of_fields(task, arguments, fields) if task.startswith(_TASK) else None


def _problem_of_fields(task: str, arguments: list[object], fields: dict[str, Any]) -> str | None:
    kind = task.removeprefix(_TASK)
    if kind == "tick":
        return "a tick has no fields" if fields or arguments else None
    try:
        from_json(kind, fields)
    except ValueError:  # pydantic's has the values, which may be anything
        return f"its fields are not those of a {kind} message"
    return "it has arguments without names" if arguments else None

"""Dead letters: elements of a queue that are not messages of ours. They are set aside, counted, and end no worker."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Container
from typing import Any

from redis import Redis

from pipeline.batches.messages import from_json
from workers.redis.connection import translated
from workers.redis.heartbeats import GRACE, PULSE
from workers.redis.limits import ORDERED_CALLS, PLAIN_CALLS
from workers.redis.queues import (
    ARCHIVE,
    DEAD_LETTERS,
    DEAD_LETTERS_TOTAL,
    EPOCH,
    KEY_PREFIX,
    LANES,
    REPAIRING,
    UNACKED,
    UNACKED_INDEX,
    WORKING,
    RedisQueues,
)
from workers.redis.ticks import BEGUN, LAST

#: The longest message has the identifiers of a few thousand documents.
MOST_BYTES = 4 << 20
_TASK = "pagesight."
_TICK = "tick"
#: KEYS: a key, its new name. ARGV: the type that it should have. Returns the type of a key that was renamed.
_RENAME = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= ARGV[1] then
    redis.call('RENAME', KEYS[1], KEYS[2])
    return kind
end
"""
#: Every key with a fixed name, and its type.
TYPES = (
    dict.fromkeys([*(KEY_PREFIX + lane for lane in LANES), DEAD_LETTERS], "list")
    | dict.fromkeys([UNACKED, WORKING], "hash")
    | dict.fromkeys([UNACKED_INDEX, *ORDERED_CALLS], "zset")
    | dict.fromkeys([EPOCH, ARCHIVE, DEAD_LETTERS_TOTAL, LAST, BEGUN, PULSE, GRACE, *PLAIN_CALLS], "string")
    | {REPAIRING: "set"}
)
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


class _AnyTask:
    """The tasks of every version. A worker that does not know the task of a message looks at it in the lane."""

    def __contains__(self, task: object) -> bool:
        return True


def problem_of_taken(entry: str | bytes) -> str | None:
    """Return why an entry of `unacked` is not a message that a worker took from a lane; None if it is one."""
    try:
        message, exchange, lane = json.loads(entry)
        element = json.dumps(message)
    except (ValueError, TypeError, RecursionError) as error:
        return f"it cannot be parsed: {type(error).__name__}"
    if exchange != "" or lane not in LANES:
        return "it is not from a lane"
    return problem(element, lane, _AnyTask())


def set_aside(client: Redis, lane: str, element: str | bytes, cause: str) -> None:
    """Store an element with the dead letters, of which the newest stay, and count it.

    Raises:
        ServiceUnavailable: Redis is away.
    """
    text = element.decode("utf-8", "backslashreplace") if isinstance(element, bytes) else element
    RedisQueues(client).set_aside(lane, text, cause)


def set_aside_keys_of_wrong_type(client: Redis) -> None:
    """Rename the keys of Pagesight that have another type, and count each as a dead letter.

    Each can be lost: where the batches are and what is done is in the archive.

    Raises:
        ServiceUnavailable: Redis is away.
    """
    rename = client.register_script(_RENAME)
    for key, wanted in TYPES.items():
        name = key.removeprefix(KEY_PREFIX)
        with translated():
            kind = rename(keys=[key, f"{DEAD_LETTERS}:{name}"], args=[wanted])
        if kind is not None:
            set_aside(client, name, "", f"the key {key} was a {kind}; it is {DEAD_LETTERS}:{name} now")


def set_aside_taken(client: Redis) -> int:
    """Set the entries of `unacked` aside that are not messages, and return their number.

    No worker acknowledges such an entry. It would count as a message in progress, and the sweep would wait for its end.
    An entry without a time gets one, so that the visibility timeout applies to it.

    Raises:
        ServiceUnavailable: Redis is away.
    """
    with translated():
        taken = dict(client.hscan_iter(UNACKED, count=100))
        wrong = {tag: cause for tag, entry in taken.items() if (cause := problem_of_taken(entry)) is not None}
        if times := {tag: time.time() for tag in taken.keys() - wrong.keys()}:
            client.zadd(UNACKED_INDEX, times, nx=True)
    return sum(_remove_taken(client, tag, taken[tag], cause) for tag, cause in wrong.items())


def _remove_taken(client: Redis, tag: str, entry: str, cause: str) -> bool:
    """Set an entry of `unacked` aside, unless another process was faster."""
    with translated():
        client.zrem(UNACKED_INDEX, tag)
        is_removed = bool(client.hdel(UNACKED, tag))
    if is_removed:
        set_aside(client, "unacked", entry, cause)
    return is_removed


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
    if arguments:
        return "it has arguments without names"
    kind = task.removeprefix(_TASK)
    if kind == _TICK:  # a newer version may send a tick with fields, as with any message
        return None if isinstance(fields, dict) else "its fields have no names"
    try:
        from_json(kind, fields)
    except ValueError:  # pydantic's has the values, which may be anything
        return f"its fields are not those of a {kind} message"
    return None

"""The queues as Kombu keeps them in Redis, the epoch of Redis, and its clock.

Names in Redis are Kombu's; a test compares them with real messages. With one step in `priority_steps` a queue is one
list, named `global_keyprefix` plus the queue's name. Messages that workers took and did not acknowledge are in the hash
`unacked`, by delivery tag; the sorted set `unacked_index` has the time at which each was taken.
"""

from __future__ import annotations

import json
import time
import uuid

from redis import Redis

from workers.redis.connection import translated

#: Prefix of all our keys in Redis, and Kombu's `global_keyprefix`.
KEY_PREFIX = "pagesight:"
#: The queues, one for each lane, in the order of their precedence.
LANES = ("control", "urgent", "normal", "backfill")
#: Lane of the fleet's own messages, which are handled also while the fleet is paused.
CONTROL = "control"

UNACKED = KEY_PREFIX + "unacked"
UNACKED_INDEX = KEY_PREFIX + "unacked_index"
EPOCH = KEY_PREFIX + "epoch"


class RedisQueues:
    """The queues, seen from outside. Every method raises `ServiceUnavailable` while Redis is away."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def depths(self) -> dict[str, int]:
        """Return how many messages wait in each lane."""
        return self._measure()[0]

    def unacked(self) -> int:
        """Return how many messages workers have taken and not acknowledged."""
        return self._measure()[1]

    def is_empty(self) -> bool:
        """Whether no message waits and no worker has one.

        While a worker takes a message, it is in neither structure for a moment, so one look proves nothing.
        """
        depths, unacked = self._measure()
        return not unacked and not any(depths.values())

    def is_idle(self) -> bool:
        """Whether no message of a batch waits and no worker has one. The fleet's own messages do not count.

        As with `is_empty`, one look proves nothing.
        """
        depths, _ = self._measure()
        with translated():
            taken = self._client.hvals(UNACKED)
        return not any(depths[lane] for lane in LANES if lane != CONTROL) and all(
            _lane(text) == CONTROL for text in taken
        )

    def epoch(self) -> str:
        """Return the epoch of Redis, a random word: a Redis that restarted empty has another one."""
        with translated():
            self._client.set(EPOCH, uuid.uuid4().hex, nx=True)
            return str(self._client.get(EPOCH))

    def clock_offset_seconds(self) -> float:
        """Return this machine's clock minus that of Redis. The error is half of a round trip."""
        with translated():
            before = time.time()
            seconds, microseconds = self._client.time()
            return (before + time.time()) / 2 - (seconds + microseconds / 1e6)

    def _measure(self) -> tuple[dict[str, int], int]:
        """Return the depths and the number of unacknowledged messages, in one transaction."""
        with translated(), self._client.pipeline() as pipe:
            for lane in LANES:
                pipe.llen(KEY_PREFIX + lane)
            pipe.hlen(UNACKED)
            *depths, unacked = pipe.execute()
        return dict(zip(LANES, depths, strict=True)), unacked


def _lane(taken: str | bytes) -> str:
    """Return the lane of an entry of `unacked`: a JSON array of message, exchange and routing key."""
    _, _, routing_key = json.loads(taken)
    return str(routing_key)

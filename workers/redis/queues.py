"""The queues as Kombu keeps them in Redis, and what else the whole fleet agrees on there.

Kombu's names, held against real messages by a test: with `priority_steps` of one step a queue is one list, named like
the queue behind `global_keyprefix`; what workers have taken and not acknowledged is the hash `unacked`, by delivery
tag, and the sorted set `unacked_index` holds when each was taken.
"""

from __future__ import annotations

import json
import time
import uuid

from redis import Redis

from workers.redis.connection import translated

#: What every key of ours in Redis begins with; Kombu's `global_keyprefix`.
KEY_PREFIX = "pagesight:"
#: The queues in the order of their precedence.
LANES = ("control", "urgent", "normal", "backfill")
#: The lane of the fleet's own work, which goes on while everything else is paused.
CONTROL = "control"

UNACKED = KEY_PREFIX + "unacked"
UNACKED_INDEX = KEY_PREFIX + "unacked_index"
EPOCH = KEY_PREFIX + "epoch"


class RedisQueues:
    """The queues, looked at from outside. Every method raises `ServiceUnavailable` while Redis is away."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def depths(self) -> dict[str, int]:
        """Return how many messages wait in each lane."""
        return self._look()[0]

    def unacked(self) -> int:
        """Return how many messages workers have taken and not acknowledged."""
        return self._look()[1]

    def is_empty(self) -> bool:
        """Whether no message waits and none is with a worker.

        One that a worker is taking just now is in neither place for a moment, so this alone proves nothing.
        """
        depths, unacked = self._look()
        return not unacked and not any(depths.values())

    def is_idle(self) -> bool:
        """Whether no message of a batch waits and none is with a worker; ticks and the like do not count.

        As with `is_empty`, one that is being taken just now is in neither place.
        """
        depths, _ = self._look()
        with translated():
            taken = self._client.hvals(UNACKED)
        return not any(depths[lane] for lane in LANES if lane != CONTROL) and all(
            _lane(text) == CONTROL for text in taken
        )

    def epoch(self) -> str:
        """Return the word that names this life of Redis: one that was restarted empty has another."""
        with translated():
            self._client.set(EPOCH, uuid.uuid4().hex, nx=True)
            return str(self._client.get(EPOCH))

    def clock_offset_seconds(self) -> float:
        """Return this machine's clock minus that of Redis; half of the way there and back is its error."""
        with translated():
            before = time.time()
            seconds, microseconds = self._client.time()
            return (before + time.time()) / 2 - (seconds + microseconds / 1e6)

    def _look(self) -> tuple[dict[str, int], int]:
        """Return the depths, and the number of messages that workers have taken, at one moment."""
        with translated(), self._client.pipeline() as pipe:
            for lane in LANES:
                pipe.llen(KEY_PREFIX + lane)
            pipe.hlen(UNACKED)
            *depths, unacked = pipe.execute()
        return dict(zip(LANES, depths, strict=True)), unacked


def _lane(taken: str | bytes) -> str:
    """Return the lane of a message as Kombu keeps it in `unacked`: the message, its exchange, its routing key."""
    _, _, routing_key = json.loads(taken)
    return str(routing_key)

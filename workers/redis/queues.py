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
#: Notes of the messages that workers handle, by message; see `workers.recovery.poison`.
WORKING = KEY_PREFIX + "working"
EPOCH = KEY_PREFIX + "epoch"
#: Elements of the queues that are not messages, the newest first, and how many there have been.
DEAD_LETTERS = KEY_PREFIX + "dead_letters"
DEAD_LETTERS_TOTAL = KEY_PREFIX + "dead_letters_total"
#: Dead letters that Redis keeps, the newest, and characters of each.
KEPT, KEPT_CHARACTERS = 1000, 2000
#: Differences that a repair has enqueued; see `workers.recovery.repair`.
REPAIRING = KEY_PREFIX + "repairing"
#: With a clock that is further off from that of Redis, Kombu would hand out messages that other workers still handle.
CLOCK_TOLERANCE_SECONDS = 30.0
#: Id of the archive that has the batches of the messages.
ARCHIVE = KEY_PREFIX + "archive"


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

    def dead_letters(self) -> int:
        """Return how many elements of the lanes were not messages, and were set aside."""
        with translated():
            total = str(self._client.get(DEAD_LETTERS_TOTAL) or "")
        return int(total) if total.isdecimal() else 0

    def set_aside(self, lane: str, element: str, cause: str) -> None:
        """Store an element with the dead letters, of which the newest stay, and count it."""
        letter = json.dumps({"lane": lane, "cause": cause, "element": element[:KEPT_CHARACTERS]})
        with translated(), self._client.pipeline() as pipe:
            pipe.lpush(DEAD_LETTERS, letter)
            pipe.ltrim(DEAD_LETTERS, 0, KEPT - 1)
            pipe.incr(DEAD_LETTERS_TOTAL)
            pipe.execute()

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

    def eviction(self) -> str | None:
        """Return the policy by which Redis deletes keys when it is full; None if it deletes none."""
        with translated():
            policy = str(self._client.info("memory").get("maxmemory_policy", "noeviction"))
        return None if policy == "noeviction" else policy

    def epoch(self) -> str:
        """Return the epoch of Redis, a random word: a Redis that restarted empty has another one."""
        with translated():
            self._client.set(EPOCH, uuid.uuid4().hex, nx=True)
            return str(self._client.get(EPOCH))

    def archive_id(self) -> str | None:
        """Return the id of the fleet's archive, None while no process has named it."""
        with translated():
            found = self._client.get(ARCHIVE)
        return None if found is None else str(found)

    def claim_archive(self, identifier: str) -> str:
        """Name the fleet's archive, unless another process was faster; return the id of the fleet's archive."""
        with translated():
            self._client.set(ARCHIVE, identifier, nx=True)
            return str(self._client.get(ARCHIVE))

    def replace_archive(self, identifier: str) -> None:
        """Name another archive as the fleet's."""
        with translated():
            self._client.set(ARCHIVE, identifier)

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
    """Return the lane of an entry of `unacked`: a JSON array of message, exchange and routing key. Others have none."""
    try:
        _, _, routing_key = json.loads(taken)
    except (ValueError, TypeError, RecursionError):
        return ""
    return str(routing_key)

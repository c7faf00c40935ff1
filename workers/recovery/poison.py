"""Which worker has which message in hand, so that a death is noticed: what kills its process over and over is poison.

Redis keeps it, so losing Redis resets the counts and never costs a page. A note holds the delivery tag, which stays
the same when a message is delivered again, and when Kombu noted that it was taken, which does not. The two together
name one delivery, so that nobody takes a message out of the hands of a worker that got it since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from redis import Redis

from workers.redis.connection import translated
from workers.redis.heartbeats import IS_DEAD, WORKER, Heartbeats
from workers.redis.queues import KEY_PREFIX, UNACKED_INDEX

WORKING = KEY_PREFIX + "working"
DEATHS = KEY_PREFIX + "deaths:"
#: How long deaths are remembered that no further delivery follows, and notes that no message stands behind.
REMEMBERED_SECONDS = 24 * 3600

#: KEYS: notes, deaths of this message, this worker, Kombu's index. ARGV: message, worker, delivery tag, how long
#: deaths are remembered, milliseconds that this worker is alive for, 1 for a message that is only held. Who begins
#: lives, whether it has told yet or not.
_BEGIN = f"""
{IS_DEAD}
local noted = redis.call('HGET', KEYS[1], ARGV[1])
if noted then
    local note = cjson.decode(noted)
    if note.worker ~= ARGV[2] and not note.waiting and is_dead(note.worker) then
        redis.call('RPUSH', KEYS[2], noted)
        redis.call('EXPIRE', KEYS[2], ARGV[4])
    end
end
local note = {{worker = ARGV[2], tag = ARGV[3], since = tonumber(redis.call('TIME')[1])}}
note.taken = redis.call('ZSCORE', KEYS[4], ARGV[3]) or nil
note.waiting = ARGV[6] == '1' or nil
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(note))
redis.call('SET', KEYS[3], '', 'PX', ARGV[5], 'NX')
return redis.call('LRANGE', KEYS[2], 0, -1)
"""
#: KEYS: notes, deaths of this message. ARGV: message, worker.
_END = """
local noted = redis.call('HGET', KEYS[1], ARGV[1])
if noted and cjson.decode(noted).worker == ARGV[2] then
    redis.call('HDEL', KEYS[1], ARGV[1])
    redis.call('DEL', KEYS[2])
end
"""
#: KEYS: notes, Kombu's index. ARGV: message, its note, how long a note is remembered. Returns the delivery tag of a
#: message that is still in the hands of a dead worker, and makes it this caller's to hand back: it counts as taken
#: just now, so that neither another caller nor the visibility timeout takes it too.
_CLAIM = f"""
{IS_DEAD}
local note = cjson.decode(ARGV[2])
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] or not is_dead(note.worker) then
    return false
end
local time = redis.call('TIME')
local taken = redis.call('ZSCORE', KEYS[2], note.tag)
if taken and taken == note.taken then
    redis.call('ZADD', KEYS[2], 'XX', time[1] .. string.format('.%06d', time[2]), note.tag)
    return note.tag
end
if not taken and note.since + ARGV[3] < tonumber(time[1]) then
    redis.call('HDEL', KEYS[1], ARGV[1])
end
return false
"""


@dataclass(frozen=True, slots=True)
class Death:
    """A worker died with a message in hand."""

    worker: str
    since: datetime
    """When it had begun to work on the message."""


_NOTE = TypeAdapter(dict[str, Any])


class Poison:
    """The notes of all workers, as one of them keeps its own. Every method raises `ServiceUnavailable` while Redis is
    away.
    """

    def __init__(self, client: Redis, registry: Heartbeats) -> None:
        self._client = client
        self._registry = registry
        self._begin = client.register_script(_BEGIN)
        self._end = client.register_script(_END)
        self._claim = client.register_script(_CLAIM)

    def begin(self, message_id: str, delivery_tag: str, *, waiting: bool = False) -> list[Death]:
        """Note that this worker works on a message, and return the deaths that it has caused so far.

        A message that comes again while the other worker lives has caused none: a visibility timeout did it. Nor has
        one that was only held, `waiting` for its turn, while another one was worked alone.
        """
        me = self._registry.worker_id
        keys = [WORKING, DEATHS + message_id, WORKER + me, UNACKED_INDEX]
        alive_ms = self._registry.alive_ms
        args: list[str | int] = [message_id, me, delivery_tag, REMEMBERED_SECONDS, alive_ms, int(waiting)]
        with translated():
            return [_death(text) for text in self._begin(keys=keys, args=args)]

    def end(self, message_id: str) -> None:
        """Note that this worker has ended a message alive, unless another one has it by now."""
        with translated():
            self._end(keys=[WORKING, DEATHS + message_id], args=[message_id, self._registry.worker_id])

    def restore_orphans(self, channel: Any) -> int:
        """Hand back the messages that dead workers had in hand, through a channel of the broker; return their number.

        The notes stay: whoever gets the message counts the death. A caller that dies in between leaves its message to
        the visibility timeout.
        """
        restored = 0
        with translated():
            for note in self._client.hgetall(WORKING).items():
                tag = self._claim(keys=[WORKING, UNACKED_INDEX], args=[*note, REMEMBERED_SECONDS])
                if tag:
                    channel.qos.restore_by_tag(tag)
                    restored += 1
        return restored


def _death(text: str | bytes) -> Death:
    note = _NOTE.validate_json(text)
    return Death(note["worker"], datetime.fromtimestamp(note["since"], UTC))

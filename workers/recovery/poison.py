"""Detection of poison messages, which kill their worker process again and again.

Each worker notes in Redis which messages it handles, so that the deaths of a worker can be counted by message. Losing
Redis resets the counts and never costs a page. A note has the delivery tag, which stays the same when a message is
delivered again, and the time at which Kombu noted the delivery, which does not. The two together identify one delivery:
a message is never taken from a worker that received it since.
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
#: How long the deaths of a message are kept without a further delivery, and a note without its message.
REMEMBERED_SECONDS = 24 * 3600

#: KEYS: notes, deaths of this message, this worker, Kombu's index. ARGV: message, worker, delivery tag, seconds that
#: deaths are kept, milliseconds until this worker counts as dead, 1 for a message that only waits. A worker that begins
#: a message is alive, also before its first heartbeat.
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
#: KEYS: notes, Kombu's index. ARGV: message, its note, seconds that a note is kept. Returns the delivery tag of a
#: message that a dead worker still holds. The message then counts as delivered just now, so that neither another caller
#: nor the visibility timeout hands it back too.
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
    """A worker died while it handled a message."""

    worker: str
    since: datetime
    """Start of the handling."""


_NOTE = TypeAdapter(dict[str, Any])


class Poison:
    """The notes of all workers, for one of them. Every method raises `ServiceUnavailable` while Redis is away."""

    def __init__(self, client: Redis, heartbeats: Heartbeats) -> None:
        self._client = client
        self._heartbeats = heartbeats
        self._begin = client.register_script(_BEGIN)
        self._end = client.register_script(_END)
        self._claim = client.register_script(_CLAIM)

    def begin(self, message_id: str, delivery_tag: str, *, waiting: bool = False) -> list[Death]:
        """Note that this worker handles a message, and return the deaths that the message has caused so far.

        A message that is delivered again while its former worker lives has caused none: the visibility timeout passed.
        A message that only waited for its turn when its worker died (`waiting`) has caused none either.
        """
        me = self._heartbeats.worker_id
        keys = [WORKING, DEATHS + message_id, WORKER + me, UNACKED_INDEX]
        alive_ms = self._heartbeats.alive_ms
        args: list[str | int] = [message_id, me, delivery_tag, REMEMBERED_SECONDS, alive_ms, int(waiting)]
        with translated():
            return [_death(text) for text in self._begin(keys=keys, args=args)]

    def end(self, message_id: str) -> None:
        """Remove the note: this worker has survived the message. The note of another worker stays."""
        with translated():
            self._end(keys=[WORKING, DEATHS + message_id], args=[message_id, self._heartbeats.worker_id])

    def restore_orphans(self, channel: Any) -> int:
        """Hand back the messages of dead workers through a channel of the broker; return their number.

        The notes stay, so that the next worker counts the death. If this caller dies halfway, the visibility timeout
        hands the message back.
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

"""Detects poison messages, which kill their worker process repeatedly.

Each worker notes in Redis which messages it handles, so that deaths of workers can be counted by message. If Redis
loses its data, the counts start again, and no page is lost. A note contains the delivery tag, which is the same for all
deliveries of a message, and the time at which Kombu recorded the delivery, which differs. Together they identify one
delivery, so a message is never taken from a worker that has received it since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from redis import Redis

from workers.redis.connection import translated
from workers.redis.heartbeats import IS_DEAD, WORKER, Heartbeats
from workers.redis.queues import DEAD_LETTERS_TOTAL, KEY_PREFIX, UNACKED_INDEX, WORKING

DEATHS = KEY_PREFIX + "deaths:"
#: Time for which the deaths of a message are kept after the newest one, and a note whose message is gone.
REMEMBERED_SECONDS = 24 * 3600

#: Lua function: returns the note in a text, nil where the text is not a note.
_PARSED = """
local function parsed(text)
    local is_json, note = pcall(cjson.decode, text)
    if is_json and type(note) == 'table' and type(note.worker) == 'string' and type(note.tag) == 'string'
        and type(note.since) == 'number' then
        return note
    end
end
"""
#: KEYS: notes, deaths of this message, this worker, Kombu's index. ARGV: message, worker, delivery tag, seconds that
#: deaths are kept, milliseconds until this worker counts as dead, 1 for a message that only waits. A worker that begins
#: a message counts as alive even before its first heartbeat.
_BEGIN = f"""
{IS_DEAD}{_PARSED}
if redis.call('TYPE', KEYS[2]).ok ~= 'list' then
    redis.call('DEL', KEYS[2])
end
local noted = redis.call('HGET', KEYS[1], ARGV[1])
local before = noted and parsed(noted)
if before and before.worker ~= ARGV[2] and not before.waiting and is_dead(before.worker) then
    redis.call('RPUSH', KEYS[2], noted)
    redis.call('EXPIRE', KEYS[2], ARGV[4])
end
local note = {{worker = ARGV[2], tag = ARGV[3], since = tonumber(redis.call('TIME')[1])}}
note.taken = redis.call('ZSCORE', KEYS[4], ARGV[3]) or nil
note.waiting = ARGV[6] == '1' or nil
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(note))
redis.call('SET', KEYS[3], '', 'PX', ARGV[5], 'NX')
return redis.call('LRANGE', KEYS[2], 0, -1)
"""
#: KEYS: notes, deaths of this message. ARGV: message, worker.
_END = f"""
{_PARSED}
local noted = redis.call('HGET', KEYS[1], ARGV[1])
local note = noted and parsed(noted)
if note and note.worker == ARGV[2] then
    redis.call('HDEL', KEYS[1], ARGV[1])
    redis.call('DEL', KEYS[2])
end
"""
#: KEYS: notes, Kombu's index. ARGV: message, its note, seconds that a note is kept. Returns the delivery tag of a
#: message that a dead worker still holds. The message then counts as delivered just now, so that no other caller hands
#: it back, and neither does the visibility timeout. A text that is not a note is removed, and counted as a dead letter.
_CLAIM = f"""
{IS_DEAD}{_PARSED}
local note = parsed(ARGV[2])
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
    return false
end
if not note then
    redis.call('HDEL', KEYS[1], ARGV[1])
    redis.call('INCR', '{DEAD_LETTERS_TOTAL}')
    return false
end
if not is_dead(note.worker) then
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


@dataclass(frozen=True, slots=True)
class _Note:
    worker: str
    since: datetime


_NOTE = TypeAdapter(_Note)


class Poison:
    """One worker's access to the notes of all workers.

    Every method raises `ServiceUnavailable` while Redis is unavailable.
    """

    def __init__(self, client: Redis, heartbeats: Heartbeats) -> None:
        self._client = client
        self._heartbeats = heartbeats
        self._begin = client.register_script(_BEGIN)
        self._end = client.register_script(_END)
        self._claim = client.register_script(_CLAIM)

    def begin(self, message_id: str, delivery_tag: str, *, waiting: bool = False) -> list[Death]:
        """Note that this worker handles a message, and return the deaths that the message has caused.

        Two cases do not count as a death. The former worker is alive: then the visibility timeout delivered the message
        again. Or the message only waited for its turn when its worker died (`waiting`).
        """
        me = self._heartbeats.worker_id
        keys = [WORKING, DEATHS + message_id, WORKER + me, UNACKED_INDEX]
        alive_ms = self._heartbeats.alive_ms
        args: list[str | int] = [message_id, me, delivery_tag, REMEMBERED_SECONDS, alive_ms, int(waiting)]
        with translated():
            texts = self._begin(keys=keys, args=args)
        return [death for text in texts if (death := _death(text)) is not None]

    def end(self, message_id: str) -> None:
        """Remove this worker's note about a message that it has survived, and the message's deaths.

        If another worker has replaced the note, both are kept.
        """
        with translated():
            self._end(keys=[WORKING, DEATHS + message_id], args=[message_id, self._heartbeats.worker_id])

    def restore_orphans(self, channel: Any) -> int:
        """Hand back the messages of dead workers through a channel of the broker; return their number.

        The notes are kept, so that the next worker counts the death. If this caller dies in between, the visibility
        timeout hands the message back.
        """
        restored = 0
        with translated():
            for note in self._client.hgetall(WORKING).items():
                tag = self._claim(keys=[WORKING, UNACKED_INDEX], args=[*note, REMEMBERED_SECONDS])
                if tag:
                    channel.qos.restore_by_tag(tag)
                    restored += 1
        return restored


def _death(text: str | bytes) -> Death | None:
    """Return the death that a note reports; None where the text is not a note of ours."""
    try:
        note = _NOTE.validate_json(text)
    except ValidationError:
        return None
    return Death(note.worker, note.since)

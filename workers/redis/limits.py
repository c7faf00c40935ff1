"""The limits of a whole fleet: calls in flight, requests and tokens a minute, and the pause, all in Redis.

A call in flight is a lease in a sorted set, by when it expires. Its process renews it every few seconds, so that the
places of a killed one are free again soon although a call may take minutes. Processes that wait stand in a queue there,
urgent ones first, and each takes a place only while there are more of them than processes before it: so no process is
starved by another that is quicker. The clock is that of Redis alone.

A Redis that was away, or has lost its memory, knows of no call in flight. Workers notice by a word that it forgets when
nobody spoke to it for a while: then no place is given for some seconds, in which every process tells what it holds.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from limits.storage import RedisStorage
from redis import Redis

from pipeline.core.errors import PagesightError
from pipeline.core.retry import CancelToken, retry_until_available
from pipeline.core.settings import Settings
from pipeline.local.redis import SERVICE as REDIS
from pipeline.vision.endpoint.limits import RATE_POLL_SECONDS, Backoff, MinuteRates, QueueingLimiter
from workers.redis.connection import REDIS_WAITS_SECONDS, translated
from workers.redis.queues import KEY_PREFIX

#: How long Redis remembers that somebody spoke to it, as a share of that: three renewals.
PULSE_SHARE = 0.6
#: How long no place is given after Redis was away, so that every process can tell what it holds: two renewals.
GRACE_SHARE = 0.4
#: How long a process that waits keeps its turn without asking. It asks far more often.
TURN_SECONDS = 1.0
#: How often a waiting process asks, at the most and at the least, and the share of the time that it has waited for: a
#: place then stays free for that share of a turn. Those further behind in the queue ask less often.
POLL_SECONDS = (0.02, 0.25)
POLL_SHARE = 0.05

CALLS = KEY_PREFIX + "calls:"
#: Leases by expiry, processes by turn and by when their turn lapses, the pause, the word, the word that has had its
#: grace, and the grace.
_KEYS = [CALLS + name for name in ("places", "turns", "lapses", "pause", "pulse", "settled", "grace")]
#: Sum with which everyone's turn comes after all urgent ones: milliseconds of three thousand years.
_BEHIND_URGENT_MS = 10**14

#: Times are milliseconds. ARGV: the word that the caller knows, a new one, how long a lease lives.
_BEGIN = f"""
local lease_ms = tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local places, turns, lapses, pause, pulse, settled, grace = unpack(KEYS)
local word = redis.call('GET', pulse) or ARGV[2]
redis.call('SET', pulse, word, 'PX', math.floor(lease_ms * {PULSE_SHARE}))
local is_news = word ~= ARGV[1]
if is_news and ARGV[1] ~= '' and redis.call('GET', settled) ~= word then
    redis.call('SET', settled, word)
    redis.call('SET', grace, 1, 'PX', math.floor(lease_ms * {GRACE_SHARE}))
end
"""
#: ARGV: those three, this process, a new lease, calls that may be in flight, calls that the minute allows, whether it
#: is urgent. Returns how it went, and a number or the word that explains it.
_ENTER = f"""
{_BEGIN}
local process, lease, limit, allowed = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
if is_news then
    return {{'news', word}}
end
local paused = redis.call('PTTL', pause)
if paused > 0 then
    return {{'paused', paused}}
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', lapses, '-inf', now)) do
    redis.call('ZREM', turns, gone)
    redis.call('ZREM', lapses, gone)
end
local turn = now + (ARGV[8] == '1' and 0 or {_BEHIND_URGENT_MS:d})
redis.call('ZADD', turns, 'NX', turn, process)
redis.call('ZADD', lapses, now + {TURN_SECONDS * 1000:.0f}, process)
if redis.call('EXISTS', grace) == 1 then
    return {{'grace', redis.call('PTTL', grace)}}
end
redis.call('ZREMRANGEBYSCORE', places, '-inf', now)
local free = math.min(limit - redis.call('ZCARD', places), allowed)
local before = redis.call('ZRANK', turns, process)
if before >= free then
    return {{'wait', before}}
end
redis.call('ZADD', places, now + lease_ms, lease)
redis.call('ZREM', turns, process)
redis.call('ZREM', lapses, process)
return {{'entered', before}}
"""
#: ARGV: those three, then every lease that this process holds. Returns the word.
_RENEW = f"""
{_BEGIN}
for place = 4, #ARGV do
    redis.call('ZADD', places, now + lease_ms, ARGV[place])
end
return word
"""
#: KEYS: the pause. ARGV: its milliseconds.
_PAUSE = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
end
"""


class FleetLimiter(QueueingLimiter):
    """The limiter of all workers that share a Redis. One for a process; its threads share it.

    Args:
        forgotten: called once Redis turns out to have forgotten this process, before it may begin another call.
    """

    def __init__(
        self,
        client: Redis,
        settings: Settings,
        *,
        lease_seconds: float,
        forgotten: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._lease_ms = round(lease_seconds * 1000)
        self._client = client
        self._in_flight = settings.vlm_concurrency
        self._forgotten = forgotten
        storage = RedisStorage("redis://", connection_pool=client.connection_pool, key_prefix=CALLS + "rates")
        self._rates = MinuteRates(storage, settings.vlm_requests_per_minute, settings.vlm_tokens_per_minute)
        self._scripts = {name: client.register_script(text) for name, text in _SCRIPTS.items()}
        self._name = uuid.uuid4().hex
        self._word = ""
        self._held: set[str] = set()
        self._lock = threading.Lock()

    def pause(self, seconds: float) -> None:
        """Let nobody of the fleet begin a call for so long; while Redis is away, nobody of this process."""
        super().pause(seconds)
        with suppress(PagesightError), translated():
            self._scripts["pause"](keys=[CALLS + "pause"], args=[round(seconds * 1000)])

    def count_tokens(self, tokens: int) -> None:
        """Count what a call has cost. While Redis is away it is not counted: the call was made, and must not fail."""
        with suppress(PagesightError), translated():
            self._rates.count_tokens(tokens)

    def renew(self) -> None:
        """Hold for as long again the places that this process holds. Called every few seconds, also by idle processes.

        Raises:
            ServiceUnavailable: Redis is away.
        """
        with self._lock:
            held = set(self._held)
        self._word = self._run("renew", *held)
        with self._lock:
            left = held - self._held
        if left:  # they were given back meanwhile, and have just been taken again
            with translated():
                self._client.zrem(CALLS + "places", *left)

    def _enter(self, cancel: CancelToken, waited_seconds: float) -> str | Backoff:
        return retry_until_available(
            lambda: self._try_to_enter(cancel.urgent, waited_seconds), cancel, REDIS_WAITS_SECONDS
        )

    def _try_to_enter(self, urgent: bool, waited_seconds: float) -> str | Backoff:
        with translated():
            room, cause = self._rates.room()
        lease = uuid.uuid4().hex
        process = f"{self._name}:{'urgent' if urgent else 'normal'}"
        answer, number = self._run("enter", process, lease, self._in_flight, room, int(urgent))
        if answer == "entered":
            return self._hold(lease, cause)
        if answer == "news":
            self._forgotten()
            self.renew()
            return Backoff(0.0)
        if answer == "paused":
            super().pause(int(number) / 1000)
            return Backoff(0.0)
        if answer == "grace":
            cause = "it was away, and every worker is to tell which calls it has in flight"
            return Backoff(min(int(number) / 1000, RATE_POLL_SECONDS), cause, REDIS)
        if not room:
            return Backoff(RATE_POLL_SECONDS, cause)
        least, most = POLL_SECONDS
        return Backoff(min(most, max(least * (1 + int(number)), POLL_SHARE * waited_seconds)))

    def _hold(self, lease: str, cause: str) -> str | Backoff:
        """Count the request, and keep the place."""
        with self._lock:
            self._held.add(lease)
        try:
            with translated():
                counted = self._rates.begin()
        except PagesightError:
            self._leave(lease)
            raise
        if not counted:  # another process was faster
            self._leave(lease)
            return Backoff(RATE_POLL_SECONDS, cause)
        return lease

    def _leave(self, place: str) -> None:
        """Give a place back. While Redis is away it becomes free by itself."""
        with self._lock:
            self._held.discard(place)
        with suppress(PagesightError), translated():
            self._client.zrem(CALLS + "places", place)

    def _run(self, name: str, *args: str | int) -> Any:
        with translated():
            return self._scripts[name](keys=_KEYS, args=[self._word, uuid.uuid4().hex, self._lease_ms, *args])


_SCRIPTS = {"enter": _ENTER, "renew": _RENEW, "pause": _PAUSE}

"""The limits of a whole fleet: calls in flight, requests and tokens per minute, and the pause, all in Redis.

A call in flight holds a permit: a member of a sorted set, scored by its expiry. Its process renews it every few
seconds, so the permits of a killed process are soon free again, although a call may take minutes. Waiting processes
queue in another sorted set, urgent ones first. A process takes a permit only if more permits are free than processes
are before it in the queue, so a fast process cannot starve a slow one. All times are from Redis' clock.

After Redis was unavailable, or was restarted empty, it does not know the calls in flight. Workers detect this by an
epoch: a random string that Redis drops if no worker sends a request for some seconds. A grace period of some seconds
then follows, in which no permit is given and every process reports the permits that it holds.
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

#: Time for which Redis keeps the epoch after a request, as a share of a lease: three renewals.
PULSE_SHARE = 0.6
#: Length of the grace period, as a share of a lease: two renewals.
GRACE_SHARE = 0.4
#: A waiting process that sends no request for this time loses its turn. It sends several per second.
TURN_SECONDS = 1.0
#: Minimum and maximum pause between two requests of a waiting process. Between them, the pause grows with its position
#: in the queue and with `POLL_SHARE` of its wait until now, so a free permit is unused for at most that share.
POLL_SECONDS = (0.02, 0.25)
POLL_SHARE = 0.05

CALLS = KEY_PREFIX + "calls:"
#: Permits by expiry, processes by turn, processes by the lapse of their turn, the pause, the epoch, the epoch whose
#: grace period has begun, and the grace period. The names in Redis are older than these terms and are kept.
ORDERED_CALLS = [CALLS + name for name in ("places", "turns", "lapses")]
PLAIN_CALLS = [CALLS + name for name in ("pause", "pulse", "settled", "grace")]
_KEYS = [*ORDERED_CALLS, *PLAIN_CALLS]
#: Added to the turn of processes that are not urgent, so that it comes after all urgent ones: 3,000 years in ms.
_BEHIND_URGENT_MS = 10**14

#: Times are milliseconds. ARGV: the epoch that the caller knows, a new one, the length of a lease.
_BEGIN = f"""
local lease_ms = tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local permits, turns, lapses, pause, pulse, settled, grace = unpack(KEYS)
local epoch = redis.call('GET', pulse) or ARGV[2]
redis.call('SET', pulse, epoch, 'PX', math.floor(lease_ms * {PULSE_SHARE}))
local is_new = epoch ~= ARGV[1]
if is_new and ARGV[1] ~= '' and redis.call('GET', settled) ~= epoch then
    redis.call('SET', settled, epoch)
    redis.call('SET', grace, 1, 'PX', math.floor(lease_ms * {GRACE_SHARE}))
end
"""
#: ARGV: the three of `_BEGIN`, this process, a new permit, the maximum of calls in flight, the calls that the rates
#: still allow, 1 for an urgent caller. Returns the outcome, and a number or the epoch that explains it.
_ENTER = f"""
{_BEGIN}
local process, permit, limit, allowed = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
if is_new then
    return {{'new_epoch', epoch}}
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
redis.call('ZREMRANGEBYSCORE', permits, '-inf', now)
local free = math.min(limit - redis.call('ZCARD', permits), allowed)
local before = redis.call('ZRANK', turns, process)
if before >= free then
    return {{'wait', before}}
end
redis.call('ZADD', permits, now + lease_ms, permit)
redis.call('ZREM', turns, process)
redis.call('ZREM', lapses, process)
return {{'entered', before}}
"""
#: ARGV: the three of `_BEGIN`, then every permit of this process. Returns the epoch.
_RENEW = f"""
{_BEGIN}
for number = 4, #ARGV do
    redis.call('ZADD', permits, now + lease_ms, ARGV[number])
end
return epoch
"""
#: KEYS: the pause. ARGV: its milliseconds.
_PAUSE = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
end
"""


class FleetLimiter(QueueingLimiter):
    """The limiter of all workers that share a Redis. Each process has one; its threads share it.

    Args:
        forgotten: called when the request for a permit finds an epoch that this process does not know, before the
            process begins another call: Redis may have lost its data.
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
        self._epoch = ""
        self._held: set[str] = set()
        self._lock = threading.Lock()

    def pause(self, seconds: float) -> None:
        """Keep the whole fleet from beginning calls for this time; while Redis is unavailable, only this process."""
        super().pause(seconds)
        with suppress(PagesightError), translated():
            self._scripts["pause"](keys=[CALLS + "pause"], args=[round(seconds * 1000)])

    def count_tokens(self, tokens: int) -> None:
        """Count the tokens of a call. While Redis is unavailable they are not counted, and the call does not fail."""
        with suppress(PagesightError), translated():
            self._rates.count_tokens(tokens)

    def renew(self) -> None:
        """Renew the permits of this process. Called every few seconds, also by idle processes.

        Raises:
            ServiceUnavailable: Redis is unavailable.
        """
        with self._lock:
            held = set(self._held)
        self._epoch = self._run("renew", *held)
        with self._lock:
            returned = held - self._held
        if returned:  # they were returned during the renewal, which has taken them again
            with translated():
                self._client.zrem(CALLS + "places", *returned)

    def _enter(self, cancel: CancelToken, waited_seconds: float) -> str | Backoff:
        return retry_until_available(
            lambda: self._try_to_enter(cancel.urgent, waited_seconds), cancel, REDIS_WAITS_SECONDS
        )

    def _try_to_enter(self, urgent: bool, waited_seconds: float) -> str | Backoff:
        with translated():
            room, cause = self._rates.room()
        permit = uuid.uuid4().hex
        process = f"{self._name}:{'urgent' if urgent else 'normal'}"
        answer, number = self._run("enter", process, permit, self._in_flight, room, int(urgent))
        if answer == "entered":
            return self._hold(permit, cause)
        if answer == "new_epoch":
            self._forgotten()
            self.renew()
            return Backoff(0.0)
        if answer == "paused":
            super().pause(int(number) / 1000)
            return Backoff(0.0)
        if answer == "grace":
            cause = "it was unavailable, and every worker first reports its calls in flight"
            return Backoff(min(int(number) / 1000, RATE_POLL_SECONDS), cause, REDIS)
        if not room:
            return Backoff(RATE_POLL_SECONDS, cause)
        least, most = POLL_SECONDS
        return Backoff(min(most, max(least * (1 + int(number)), POLL_SHARE * waited_seconds)))

    def _hold(self, permit: str, cause: str) -> str | Backoff:
        """Count the request and keep the permit. If the rates allow no request, give the permit back."""
        with self._lock:
            self._held.add(permit)
        try:
            with translated():
                counted = self._rates.begin()
        except PagesightError:
            self._leave(permit)
            raise
        if not counted:  # another process took the last request of this minute
            self._leave(permit)
            return Backoff(RATE_POLL_SECONDS, cause)
        return permit

    def _leave(self, permit: str) -> None:
        """Give a permit back. If Redis is unavailable, it expires by itself."""
        with self._lock:
            self._held.discard(permit)
        with suppress(PagesightError), translated():
            self._client.zrem(CALLS + "places", permit)

    def _run(self, name: str, *args: str | int) -> Any:
        with translated():
            return self._scripts[name](keys=_KEYS, args=[self._epoch, uuid.uuid4().hex, self._lease_ms, *args])


_SCRIPTS = {"enter": _ENTER, "renew": _RENEW, "pause": _PAUSE}

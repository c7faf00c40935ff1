"""Leases on model answers for a whole fleet, in Redis: single flight across machines."""

from __future__ import annotations

import threading
import uuid
from contextlib import suppress
from types import TracebackType

from redis import Redis

from pipeline.core.errors import ServiceUnavailable
from workers.redis.connection import translated
from workers.redis.queues import KEY_PREFIX

LEASE = KEY_PREFIX + "lease:"

#: KEYS: leases. ARGV: milliseconds, then the token of each lease. A lease that Redis has lost is taken again, unless
#: another process has it.
_RENEW = """
for number, lease in ipairs(KEYS) do
    local token = ARGV[number + 1]
    local holder = redis.call('GET', lease)
    if not holder or holder == token then
        redis.call('SET', lease, token, 'PX', ARGV[1])
    end
end
"""
#: KEYS: leases. ARGV: the token of each lease. A lease of another process stays.
_GIVE_BACK = """
for number, lease in ipairs(KEYS) do
    if redis.call('GET', lease) == ARGV[number] then
        redis.call('DEL', lease)
    end
end
"""


class RedisLeases:
    """Hands out leases to all workers that share a Redis. One for a process; its threads share it.

    Holders renew every few seconds, all leases of a process in one request. So a call may take any time, and others
    wait at most `lease_seconds` for a holder that died. Losing a lease, because Redis was away or restarted empty, is
    harmless: two processes may then ask the same question, and the first archived answer stays. The holder takes the
    lease again with the next renewal, or before the process begins another call, unless another process has it by then.
    """

    def __init__(self, client: Redis, *, lease_seconds: float) -> None:
        self._client = client
        self._lease_ms = round(lease_seconds * 1000)
        self._held: dict[str, str] = {}
        """Keys in Redis by token."""
        self._guard = threading.Lock()
        self._renew = client.register_script(_RENEW)
        self._give_back = client.register_script(_GIVE_BACK)

    def take(self, key: str) -> RedisLease | None:
        """Return the lease on a key, or None while another holds it.

        Raises:
            ServiceUnavailable: Redis is away.
        """
        name, token = LEASE + key, uuid.uuid4().hex
        with translated():
            if not self._client.set(name, token, nx=True, px=self._lease_ms):
                return None
        with self._guard:
            self._held[token] = name
        return RedisLease(self, token)

    def renew(self) -> None:
        """Extend the leases of this process, in one request. Called every few seconds.

        Raises:
            ServiceUnavailable: Redis is away.
        """
        with self._guard:
            held = dict(self._held)
        if not held:
            return
        with translated():
            self._renew(keys=list(held.values()), args=[self._lease_ms, *held])
        with self._guard:
            given_back = {token: name for token, name in held.items() if token not in self._held}
        if given_back:  # they were given back during the renewal, which may have taken them again
            self._delete(given_back)

    def give_back(self, token: str) -> None:
        """Give a lease back. While Redis is away it expires by itself."""
        with self._guard:
            name = self._held.pop(token)
        with suppress(ServiceUnavailable):
            self._delete({token: name})

    def _delete(self, leases: dict[str, str]) -> None:
        with translated():
            self._give_back(keys=list(leases.values()), args=list(leases))


class RedisLease:
    """The right to ask the model; given back at the end of the `with` block."""

    def __init__(self, leases: RedisLeases, token: str) -> None:
        self._leases = leases
        self._token = token

    def __enter__(self) -> RedisLease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leases.give_back(self._token)

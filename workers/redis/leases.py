"""Leases on model answers for a whole fleet, in Redis: single flight across machines."""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType

from redis import Redis
from redis.exceptions import LockError
from redis.lock import Lock

from pipeline.core.errors import ServiceUnavailable
from workers.redis.connection import translated
from workers.redis.queues import KEY_PREFIX

LEASE = KEY_PREFIX + "lease:"


class RedisLeases:
    """Hands out leases to all workers that share a Redis. One for a process; its threads share it.

    Holders renew every few seconds. So a call may take any time, and others wait at most `lease_seconds` for a holder
    that died. Losing a lease, because Redis was away or restarted empty, is harmless: two processes may then ask the
    same question, and the first archived answer stays. The holder takes the lease again with the next renewal, or
    before the process begins another call, unless another process has it by then.
    """

    def __init__(self, client: Redis, *, lease_seconds: float) -> None:
        self._client = client
        self._seconds = lease_seconds
        self._held: set[Lock] = set()
        self._guard = threading.Lock()

    def take(self, key: str) -> RedisLease | None:
        """Return the lease on a key, or None while another holds it.

        Raises:
            ServiceUnavailable: Redis is away.
        """
        lock = Lock(self._client, LEASE + key, timeout=self._seconds, blocking=False, thread_local=False)
        with translated():
            if not lock.acquire():
                return None
        with self._guard:
            self._held.add(lock)
        return RedisLease(self, lock)

    def renew(self) -> None:
        """Extend the leases of this process. Called every few seconds.

        Raises:
            ServiceUnavailable: Redis is away.
        """
        with self._guard:
            held = list(self._held)
        for lock in held:
            with translated():
                try:
                    lock.reacquire()
                except LockError:  # the lease was lost, or was given back meanwhile
                    self._retake(lock)

    def _retake(self, lock: Lock) -> None:
        """Take a lease again that Redis has lost, unless another process has taken it since."""
        token = lock.local.token
        if token is None or not self._client.set(lock.name, token, nx=True, px=round(self._seconds * 1000)):
            return
        with self._guard:
            given_back = lock not in self._held
        if given_back:
            self._client.delete(lock.name)

    def give_back(self, lock: Lock) -> None:
        """Give a lease back. While Redis is away it expires by itself."""
        with self._guard:
            self._held.discard(lock)
        with suppress(ServiceUnavailable), translated(), suppress(LockError):
            lock.release()


class RedisLease:
    """The right to ask the model; given back at the end of the `with` block."""

    def __init__(self, leases: RedisLeases, lock: Lock) -> None:
        self._leases = leases
        self._lock = lock

    def __enter__(self) -> RedisLease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leases.give_back(self._lock)

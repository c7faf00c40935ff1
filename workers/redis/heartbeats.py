"""Which worker processes live, and what each tells about itself.

A worker that has not told for `worker_silence_seconds` is taken for dead, but only while somebody tells: after a time
in which nobody did, because Redis was away or its host stood still, everybody has as long again to come forward.
Otherwise the first worker that Redis hears again would bury all others.
"""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError
from redis import Redis

from pipeline.core.retry import Waiting
from workers.redis.connection import translated
from workers.redis.queues import KEY_PREFIX

WORKER = KEY_PREFIX + "worker:"
#: Is there while workers are heard at all.
PULSE = KEY_PREFIX + "pulse"
#: Is there while nobody may be taken for dead.
GRACE = KEY_PREFIX + "grace"

#: Lua for other scripts: whether a worker is dead.
IS_DEAD = f"""
local function is_dead(worker)
    return redis.call('EXISTS', '{PULSE}') == 1 and redis.call('EXISTS', '{GRACE}', '{WORKER}' .. worker) == 0
end
"""
#: KEYS: the worker. ARGV: what it tells, milliseconds that it is alive for.
_BEAT = f"""
if redis.call('EXISTS', '{PULSE}') == 0 then
    redis.call('SET', '{GRACE}', 1, 'PX', ARGV[2])
end
redis.call('SET', '{PULSE}', 1, 'PX', math.floor(ARGV[2] / 2))
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
"""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker tells about itself. The counts are those of its process since it began: hints for rates."""

    id: str
    host: str
    pid: int
    started: float
    """Unix time."""
    state: str
    """`consuming`, `paused`, `halted`, or `clock` where its own is too far off."""
    slots: int
    """Messages that it works at once."""
    busy: int
    """Messages that it works now."""
    waiting: Waiting | None = None
    pages: dict[str, int] = field(default_factory=dict)
    """Pages that ended, by status."""
    calls: int = 0
    tokens: int = 0


_INFO = TypeAdapter(WorkerInfo)


def worker_id() -> str:
    """Return a name for this process that no other had or will have, readable for people."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class Heartbeats:
    """Where a worker tells that it lives. Every method raises `ServiceUnavailable` while Redis is away."""

    def __init__(self, client: Redis, worker_id: str, *, alive_seconds: float) -> None:
        self.worker_id = worker_id
        self.alive_ms = round(alive_seconds * 1000)
        self._client = client
        self._beat = client.register_script(_BEAT)

    def beat(self, info: WorkerInfo) -> None:
        """Tell that this worker lives."""
        with translated():
            self._beat(keys=[WORKER + self.worker_id], args=[_INFO.dump_json(info), self.alive_ms])

    def leave(self) -> None:
        """Tell that this worker has ended."""
        with translated():
            self._client.delete(WORKER + self.worker_id)


def living_workers(client: Redis) -> list[WorkerInfo]:
    """Return the workers that have told of themselves lately, in the order of their start.

    Raises:
        ServiceUnavailable: Redis is away.
    """
    with translated():
        keys = list(client.scan_iter(WORKER + "*", count=1000))
        told = client.mget(keys) if keys else []
    workers = [worker for text in told if text and (worker := _parsed(text)) is not None]
    return sorted(workers, key=lambda worker: (worker.started, worker.id))


def _parsed(text: str | bytes) -> WorkerInfo | None:
    """Return what a worker told, or None where another version of Pagesight told it."""
    try:
        return _INFO.validate_json(text)
    except ValidationError:
        return None

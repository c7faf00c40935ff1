"""Heartbeats: the living worker processes, and the state that each one reports.

A worker without a heartbeat for `worker_silence_seconds` counts as dead, but only while Redis receives heartbeats. If
none arrived for a time, because Redis was away or its host was suspended, a grace period of the same length begins, in
which no worker counts as dead. Without it, the first worker to send a heartbeat again would find all others dead.
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
#: This key exists while Redis receives heartbeats.
PULSE = KEY_PREFIX + "pulse"
#: This key exists during the grace period.
GRACE = KEY_PREFIX + "grace"

#: Lua function for other scripts: returns whether a worker is dead.
IS_DEAD = f"""
local function is_dead(worker)
    return redis.call('EXISTS', '{PULSE}') == 1 and redis.call('EXISTS', '{GRACE}', '{WORKER}' .. worker) == 0
end
"""
#: KEYS: the worker. ARGV: its report, milliseconds until it counts as dead.
_BEAT = f"""
if redis.call('EXISTS', '{PULSE}') == 0 then
    redis.call('SET', '{GRACE}', 1, 'PX', ARGV[2])
end
redis.call('SET', '{PULSE}', 1, 'PX', math.floor(ARGV[2] / 2))
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
"""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """The report of a worker. Its counts begin with the process; rates are derived from them."""

    id: str
    host: str
    pid: int
    started: float
    """Unix time."""
    state: str
    """`consuming`, `paused`, `halted`, or `clock` where its clock is too far off."""
    slots: int
    """Messages that it handles at once."""
    busy: int
    """Messages that it handles now."""
    waiting: Waiting | None = None
    pages: dict[str, int] = field(default_factory=dict)
    """Pages that ended, by status."""
    calls: int = 0
    tokens: int = 0
    not_climbed: int = 0
    """Questions that were asked once, because further attempts did not help other pages."""
    stopped_climbing: dict[str, str] = field(default_factory=dict)
    """Questions that most pages are asked once at present, and the faults of their answers."""


_INFO = TypeAdapter(WorkerInfo)


def worker_id() -> str:
    """Return a unique, readable name for this process."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class Heartbeats:
    """The heartbeat of one worker. Every method raises `ServiceUnavailable` while Redis is away."""

    def __init__(self, client: Redis, worker_id: str, *, alive_seconds: float) -> None:
        self.worker_id = worker_id
        self.alive_ms = round(alive_seconds * 1000)
        self._client = client
        self._beat = client.register_script(_BEAT)

    def beat(self, info: WorkerInfo) -> None:
        """Send a heartbeat with this report."""
        with translated():
            self._beat(keys=[WORKER + self.worker_id], args=[_INFO.dump_json(info), self.alive_ms])

    def leave(self) -> None:
        """Remove the heartbeat: this worker has ended."""
        with translated():
            self._client.delete(WORKER + self.worker_id)


def living_workers(client: Redis) -> list[WorkerInfo]:
    """Return the reports of the living workers, in the order of their start.

    Raises:
        ServiceUnavailable: Redis is away.
    """
    with translated():
        keys = list(client.scan_iter(WORKER + "*", count=1000))
        reports = client.mget(keys) if keys else []
    workers = [worker for text in reports if text and (worker := _parsed(text)) is not None]
    return sorted(workers, key=lambda worker: (worker.started, worker.id))


def _parsed(text: str | bytes) -> WorkerInfo | None:
    """Return a worker's report, or None where another version of Pagesight wrote it."""
    try:
        return _INFO.validate_json(text)
    except ValidationError:
        return None

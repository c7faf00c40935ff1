"""A worker process: the connections, services and state that its tasks and its housekeeping share."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import ClassVar

from pipeline.archive import Archive
from pipeline.batches.handlers import MessageReport
from pipeline.core.models import PageStatus
from pipeline.core.retry import CancelToken, Waiting
from pipeline.core.settings import Settings, load
from pipeline.services import FleetServices, open_page_services
from workers.active_batches import ActiveBatches
from workers.fleet_archive import wait_for_fleet_archive
from workers.fleet_monitor import FleetMonitor
from workers.gate import Gate
from workers.observability.metrics import Ending, Metrics
from workers.recovery.poison import Poison
from workers.redis.connection import connect
from workers.redis.heartbeats import Heartbeats, worker_id
from workers.redis.leases import RedisLeases
from workers.redis.limits import FleetLimiter
from workers.redis.queues import RedisQueues
from workers.redis.ticks import Ticks
from workers.running import RunningMessages


class WorkerProcess:
    """The shared state of one process. Its threads: Celery's pool, the housekeeping, and the closing of batches."""

    _current: ClassVar[WorkerProcess | None] = None

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cancel = CancelToken()
        self.ending = threading.Event()
        silence_seconds = settings.worker_silence_seconds
        self.redis = redis = connect(settings)
        self.queues = RedisQueues(redis)
        self.ticks = Ticks(redis)
        self.heartbeats = Heartbeats(redis, worker_id(), alive_seconds=silence_seconds)
        self.poison = Poison(redis, self.heartbeats)
        self.leases = RedisLeases(redis, lease_seconds=silence_seconds)
        self.limiter = FleetLimiter(redis, settings, lease_seconds=silence_seconds, forgotten=self.leases.renew)
        self.metrics = Metrics()
        self.pages: Counter[PageStatus] = Counter()
        self._lock = threading.Lock()
        self._resources = ExitStack()
        self.present_archive = wait_for_fleet_archive(settings, self.queues, self.cancel)
        """The archive for callers that must not wait: its calls raise at once while it is away or missing."""
        services, self.slots = self._resources.enter_context(
            open_page_services(settings, self.cancel, shared=FleetServices(self.leases, self.limiter))
        )
        self.services = replace(services, stage=self.metrics.stage)
        self.gate = Gate()
        self.running = RunningMessages()
        self.fleet = FleetMonitor(self.present_archive)
        self.batches = ActiveBatches(self.services, self.running, self.present_archive)

    @classmethod
    def current(cls) -> WorkerProcess:
        """Return the instance of this process."""
        assert cls._current is not None, "the worker was not started"
        return cls._current

    @classmethod
    def begin(cls) -> WorkerProcess:
        """Make the instance of this process.

        Raises:
            SettingsError, ServiceRefused: it cannot start.
        """
        cls._current = cls(load())
        return cls._current

    @property
    def archive(self) -> Archive:
        """Archive of the page services."""
        return self.services.archive

    @property
    def waiting(self) -> Waiting | None:
        """What this process waits for: its own halt, or the longest wait of its threads."""
        return self.fleet.waiting or self.cancel.waiting

    def count(self, report: MessageReport, ending: Ending) -> None:
        """Count the pages of a message that was handled."""
        self.metrics.message_handled(report, ending)
        with self._lock:
            self.pages.update(report.pages)

    def close(self) -> None:
        """Release what the process holds."""
        self.ending.set()
        self.cancel.stop()
        try:
            self.batches.close_idle_budgets()
        finally:
            self._resources.close()

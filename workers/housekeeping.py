"""The housekeeping thread of a worker process.

Every few seconds it sends a heartbeat, renews leases, follows the state of the fleet and of the running batches, lets
urgent messages preempt others, compares the clock with that of Redis, and hands back the messages of dead workers.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

import structlog
from celery.worker.consumer import Consumer

from pipeline.core.errors import PagesightError, ServiceUnavailable
from pipeline.core.memory import release_free_memory
from workers.app import app
from workers.process import WorkerProcess
from workers.redis.dead_letters import set_aside_keys_of_wrong_type, set_aside_taken
from workers.redis.heartbeats import WorkerInfo
from workers.redis.queues import CLOCK_TOLERANCE_SECONDS, CONTROL, LANES
from workers.redis.ticks import LastTick

STEP_SECONDS = 1.0

log = structlog.get_logger()


class Housekeeping:
    """The thread. `last_step` is the monotonic time of its last step, for the health check."""

    def __init__(self, process: WorkerProcess) -> None:
        self.last_step = time.monotonic()
        self.clock_offset_seconds = 0.0
        self.last_tick: LastTick | None = None
        """As of some seconds ago."""
        self._process = process
        self._consumer: Consumer | None = None
        self._started = time.time()
        self._consumed: tuple[str, ...] = LANES
        self._ending = threading.Event()
        # Several heartbeats and renewals may get lost before other workers take this one for dead.
        beat_seconds = process.settings.worker_silence_seconds / 5
        self._steps: tuple[tuple[float, Callable[[], None]], ...] = (
            (1.0, self._measure_queues),
            (2.0, self._follow_states),
            (beat_seconds, self._process.limiter.renew),
            (beat_seconds, self._process.leases.renew),
            (beat_seconds, self._beat),
            (10.0, self.compare_clocks),
            (2.5 * beat_seconds, self._restore_orphans),
            (10.0, self._set_aside_wrong_types),
            (60.0, self._set_aside_taken),
            (60.0, release_free_memory),
        )
        self._due = {step: 0.0 for _, step in self._steps}
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self, consumer: Consumer) -> None:
        """Start the thread, once the worker consumes."""
        self._consumer = consumer
        self._thread.start()

    def stop(self) -> None:
        """End the thread and remove this worker's heartbeat."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(STEP_SECONDS * 5)
        try:
            self._process.heartbeats.leave()
        except ServiceUnavailable:
            log.warning("redis is away: this worker is taken for alive until its entry expires")

    def compare_clocks(self) -> None:
        """Compare this machine's clock with that of Redis."""
        self.clock_offset_seconds = self._process.queues.clock_offset_seconds()

    @property
    def clock_is_right(self) -> bool:
        """Whether this machine's clock is near enough to that of Redis."""
        return abs(self.clock_offset_seconds) <= CLOCK_TOLERANCE_SECONDS

    def _run(self) -> None:
        while not self._ending.wait(STEP_SECONDS):
            for every, step in self._steps:
                if time.monotonic() >= self._due[step]:
                    self._due[step] = time.monotonic() + every
                    self._try(step)
            self.last_step = time.monotonic()

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except PagesightError as error:
            log.warning("housekeeping cannot go on now", step=step.__name__.strip("_"), cause=str(error))
        except Exception:
            log.exception("housekeeping failed", step=step.__name__.strip("_"))

    def _measure_queues(self) -> None:
        process = self._process
        depths = process.queues.depths()
        process.metrics.depths(depths)
        process.running.preempt(depths["control"] + depths["urgent"], process.slots)

    def _follow_states(self) -> None:
        process = self._process
        process.fleet.refresh()
        process.metrics.fleet(process.fleet.state)
        self._consume(self._wanted_lanes())
        process.batches.refresh()

    def _beat(self) -> None:
        process = self._process
        busy = len(process.running)
        waiting = process.waiting
        usage = process.services.reader.usage
        process.metrics.usage(usage.calls, usage.tokens_in, usage.tokens_out)
        process.metrics.ladder(usage.not_climbed, len(usage.stopped_climbing))
        process.metrics.busy(busy, process.slots)
        process.metrics.waiting(waiting)
        process.metrics.unacknowledged(process.queues.unacked())
        process.metrics.dead_letters(process.queues.dead_letters())
        self.last_tick = process.ticks.last()
        process.metrics.last_tick(self.last_tick.ago_seconds if self.last_tick else None)
        process.heartbeats.beat(self._info(busy))

    def _restore_orphans(self) -> None:
        with app.connection_for_write() as connection, connection.channel() as channel:
            restored = self._process.poison.restore_orphans(channel)
        if restored:
            log.warning("messages of dead workers were handed back", messages=restored)

    def _set_aside_wrong_types(self) -> None:
        set_aside_keys_of_wrong_type(self._process.redis)

    def _set_aside_taken(self) -> None:
        removed = set_aside_taken(self._process.redis)
        if removed:
            log.error("not messages: they are set aside", lane="unacked", number=removed)

    def _wanted_lanes(self) -> tuple[str, ...]:
        if not self.clock_is_right:
            return ()
        return LANES if self._process.fleet.is_running else (CONTROL,)

    def _consume(self, lanes: tuple[str, ...]) -> None:
        """Have the worker consume these lanes, in this order."""
        if lanes == self._consumed or self._consumer is None:
            return
        log.warning("consuming", lanes=lanes, clock_offset_seconds=round(self.clock_offset_seconds, 1))
        self._consumed = lanes
        self._consumer.call_soon(_consume_only, self._consumer, lanes)

    def _info(self, busy: int) -> WorkerInfo:
        process = self._process
        usage = process.services.reader.usage
        return WorkerInfo(
            id=process.heartbeats.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=self._started,
            state=self._state(),
            slots=process.slots,
            busy=busy,
            waiting=process.waiting,
            pages={status.value: count for status, count in process.pages.items()},
            calls=usage.calls,
            tokens=usage.tokens,
            not_climbed=usage.not_climbed,
            stopped_climbing=usage.stopped_climbing,
        )

    def _state(self) -> str:
        if not self.clock_is_right:
            return "clock"
        return "consuming" if self._process.fleet.is_running else self._process.fleet.state


def _consume_only(consumer: Consumer, lanes: tuple[str, ...]) -> None:
    for lane in LANES:
        consumer.cancel_task_queue(lane)
    for lane in lanes:  # the order of these calls is the precedence of the queues
        consumer.add_task_queue(lane)

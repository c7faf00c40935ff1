"""The life of the worker process, driven by Celery's signals: made before the first task, closed after the last.

On SIGTERM Celery's warm shutdown waits for the tasks. Each task begins no further page, publishes the rest of its
message and returns.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import structlog
from celery import signals
from celery.worker.consumer import Consumer

from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable, Stopped
from pipeline.core.retry import ELASTICSEARCH_WAITS_SECONDS, retry_until_available
from workers.housekeeping import Housekeeping
from workers.observability.health import Check, Health
from workers.process import WorkerProcess
from workers.redis.dead_letters import set_aside_keys_of_wrong_type
from workers.redis.queues import CLOCK_TOLERANCE_SECONDS
from workers.watchdog import watched

#: Exit codes of the command line, for a worker that cannot start.
_FAILED, _USAGE, _REFUSED = 1, 2, 3
#: How long a worker waits for Elasticsearch at its start. After that it starts, and its writes wait.
INSTALL_SECONDS = 10.0

log = structlog.get_logger()


class _Life:
    """The parts of a worker that only this module uses."""

    housekeeping: Housekeeping
    health: Health | None = None
    watchdog = ExitStack()


def _begin(**_: Any) -> None:
    """Make the process. A worker that cannot start ends at once with the cause, whatever it is."""
    try:
        process = WorkerProcess.begin()
        # Other workers take a frozen one for dead after the same time, because its heartbeats end.
        _Life.watchdog.enter_context(watched(process.settings.worker_silence_seconds))
        _Life.housekeeping = Housekeeping(process)
        _require_clock(_Life.housekeeping)
        _mend_queues(process)
        _install(process)
        _serve(process)
    except PagesightError as error:
        log.error("the worker cannot begin", cause=str(error), remedy=error.remedy)
        os._exit(_REFUSED if isinstance(error, ServiceRefused) else _USAGE)
    except Exception:  # with Celery's log of it alone, the worker would take messages and fail each of them
        log.exception("the worker cannot begin")
        os._exit(_FAILED)


def _mend_queues(process: WorkerProcess) -> None:
    try:
        set_aside_keys_of_wrong_type(process.redis)
    except ServiceUnavailable as error:
        log.warning("redis is away: the types of its keys were not checked", cause=str(error))


def _require_clock(housekeeping: Housekeeping) -> None:
    housekeeping.compare_clocks()
    if not housekeeping.clock_is_right:
        raise ServiceRefused(
            "clock",
            f"this machine's clock is {housekeeping.clock_offset_seconds:.0f} s away from that of Redis;"
            f" {CLOCK_TOLERANCE_SECONDS:.0f} s are tolerated",
            remedy="Set the clock (NTP), then start the worker again: messages are timed by each worker's own clock.",
        )


def _install(process: WorkerProcess) -> None:
    """Make the indices where they are missing: the first batch may have been queued while Elasticsearch was away."""
    index = process.services.projector.index
    try:
        retry_until_available(index.install, process.cancel.within(INSTALL_SECONDS), ELASTICSEARCH_WAITS_SECONDS)
    except Stopped:
        log.warning("elasticsearch is away: its indices were not checked")


def _ready(sender: Consumer, **_: Any) -> None:
    process = WorkerProcess.current()
    _Life.housekeeping.start(sender)
    threading.Thread(target=process.batches.close_until, args=(process.ending,), name="closing", daemon=True).start()


def _serve(process: WorkerProcess) -> None:
    """Serve health and metrics where a port is set."""
    settings = process.settings
    if settings.worker_port:
        housekeeping = _Life.housekeeping
        _Life.health = Health(
            process.metrics.registry,
            lambda: housekeeping.last_step,
            _checks(process),
            lambda: {"last_tick": asdict(housekeeping.last_tick) if housekeeping.last_tick else None},
        )
        _Life.health.start(settings.worker_host, settings.worker_port)


def _checks(process: WorkerProcess) -> dict[str, Check]:
    """Return the checks that a ready worker passes."""

    def answers(ask: Callable[[], object]) -> str | None:
        try:
            ask()
        except PagesightError as error:
            return str(error)
        return None

    def fleet() -> str | None:
        state = process.fleet
        return None if state.is_running else f"{state.state}: {state.cause or 'by a person'}"

    def clock() -> str | None:
        housekeeping = _Life.housekeeping
        return None if housekeeping.clock_is_right else f"{housekeeping.clock_offset_seconds:.0f} s off"

    return {
        "redis": lambda: answers(process.queues.depths),
        "elasticsearch": lambda: answers(process.services.projector.index.health),
        "archive": lambda: answers(process.present_archive.check),
        "fleet": fleet,
        "clock": clock,
    }


def _ending(**_: Any) -> None:
    """Let the messages end: each publishes its rest, and the warm shutdown waits for them."""
    WorkerProcess.current().cancel.stop()


def _ended(**_: Any) -> None:
    _Life.housekeeping.stop()
    if _Life.health is not None:
        _Life.health.stop()
    WorkerProcess.current().close()
    _Life.watchdog.close()


signals.worker_init.connect(_begin, weak=False)
signals.worker_ready.connect(_ready, weak=False)
signals.worker_shutting_down.connect(_ending, weak=False)
signals.worker_shutdown.connect(_ended, weak=False)

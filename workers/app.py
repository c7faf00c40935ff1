"""The Celery application and its settings. `pagesight worker` and `pagesight beat` run it.

Experiments on Celery 5.7 and Redis decided them, see docs/design.md: a pool of threads, late acknowledgement, no
prefetching, no delayed messages, and a visibility timeout that is derived from other settings.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.entity import Queue

from pipeline.core.settings import Settings, load
from pipeline.search import BULK_TIMEOUT_SECONDS
from pipeline.services import units_at_once
from workers.redis.connection import broker_endpoint
from workers.redis.queues import KEY_PREFIX, LANES

#: Time between the latest end of a message's handling and the visibility timeout.
SLACK_SECONDS = 60.0


def visibility_timeout_seconds(settings: Settings) -> float:
    """Return how long a worker may hold a message before Redis hands it to another one.

    No call begins after `range_seconds`, or `first_step_seconds` later if nothing was complete by then. The last call
    may take `vlm_read_seconds`, and a bulk request follows it. A page that hangs, or on a machine that is overloaded,
    may take `page_wall_seconds`.
    """
    last_page = max(settings.vlm_read_seconds, settings.page_wall_seconds)
    return settings.range_seconds + first_step_seconds(settings) + last_page + BULK_TIMEOUT_SECONDS + SLACK_SECONDS


def first_step_seconds(settings: Settings) -> float:
    """Return the time that a message has beyond `range_seconds` for its first page or file.

    Each answer is archived, so a page that takes several calls needs the time for one of them, after its rendering.
    """
    return 2 * settings.vlm_read_seconds


def configuration(settings: Settings) -> dict[str, Any]:
    """Return Celery's settings, as far as they differ from its defaults."""
    endpoint = broker_endpoint(settings)
    return {
        "broker_url": endpoint.shown,  # for the log only
        "broker_transport": "workers.transport:Transport",
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "global_keyprefix": KEY_PREFIX,
            "queue_order_strategy": "priority",
            "priority_steps": [0],
            "visibility_timeout": visibility_timeout_seconds(settings),
            "endpoint": endpoint,
        },
        # Whoever reaches Redis could otherwise end workers with a command to them.
        "worker_enable_remote_control": False,
        "task_queues": [Queue(lane, routing_key=lane) for lane in LANES],  # type: ignore[no-untyped-call]
        "task_default_queue": "normal",
        "task_create_missing_queues": False,
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_publish_retry": False,
        "worker_prefetch_multiplier": 1,
        "worker_pool": "threads",
        "worker_concurrency": settings.worker_concurrency or units_at_once(settings),
        # The default of Celery 5; the next major version is announced to cancel the running tasks instead.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "beat_scheduler": "celery.beat:Scheduler",
        "beat_schedule": {
            # Without `expires`: Celery would take that time from the beat's clock, and workers would drop the ticks of
            # a clock that is behind. Superfluous ticks are dropped by the time of Redis, see `workers.redis.ticks`.
            "tick": {"task": "pagesight.tick", "schedule": TICK_SECONDS, "options": {"queue": "control"}}
        },
        "imports": ["workers.tasks"],
    }


#: How often a beat sends a tick.
TICK_SECONDS = 60.0

app = Celery("pagesight")
app.conf.update(configuration(load()))

"""What a beat says of its clock, in a header of each tick.

No decision rests on the clock of a beat. It is compared with that of Redis because the same machine often runs workers,
whose clocks have to be right, and because people read the beat's log by its times.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import signals

from pipeline.core.errors import PagesightError
from pipeline.core.settings import load
from workers.redis.connection import connect
from workers.redis.queues import CLOCK_TOLERANCE_SECONDS, RedisQueues

TASK = "pagesight.tick"
#: Header of a tick: seconds that the clock of its beat is ahead of that of Redis; negative if it is behind.
CLOCK_OFFSET = "clock_offset_seconds"
CLOCK_REMEDY = "Set the clock of the beat's machine (NTP). Its ticks are carried out even so."

log = structlog.get_logger()


def clock_offset(value: object) -> float | None:
    """Return the header of a tick, and log a clock that is too far off."""
    if not isinstance(value, int | float):
        return None
    if abs(value) > CLOCK_TOLERANCE_SECONDS:
        log.warning("the clock of a beat is wrong", **{CLOCK_OFFSET: round(value, 1)}, remedy=CLOCK_REMEDY)
    return float(value)


def _stamp(headers: dict[str, Any], **_: object) -> None:
    """Add the header to a tick that is about to be sent. The beat logs a clock that is too far off, too."""
    try:
        with connect(load()) as client:
            headers[CLOCK_OFFSET] = clock_offset(RedisQueues(client).clock_offset_seconds())
    except PagesightError as error:  # the tick itself is sent, or waits, as always
        log.warning("the clock could not be compared with that of Redis", cause=str(error))


signals.before_task_publish.connect(_stamp, sender=TASK, weak=False)

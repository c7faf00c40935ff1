"""`pagesight beat`: send a tick to the workers once a minute."""

from __future__ import annotations

from pipeline.core.settings import load

EXAMPLES = """
**Examples**

`pagesight beat` · triggers a sweep and the due schedules every minute; several beats do no harm

A beat keeps no state and writes no file.

SIGTERM and Ctrl-C stop it.

Exit codes: 0 stopped by a signal, 2 settings, 3 Redis is unreachable or refuses.
"""


def beat() -> None:
    """Send a tick to the workers once a minute until stopped; the workers run what is due."""
    from workers.command import run_celery
    from workers.redis.connection import connect
    from workers.redis.queues import RedisQueues

    RedisQueues(connect(load())).epoch()  # fails here if Redis is unreachable or refuses
    run_celery("beat")

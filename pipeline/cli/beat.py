"""`pagesight beat`: what sends a tick to the workers once a minute."""

from __future__ import annotations

import os
import sys

from pipeline.core.settings import load

EXAMPLES = """
**Examples**

`pagesight beat` · has the workers sweep each minute and do what is due by schedule; several do no harm

`celery -A workers.app beat` does the same. It holds no state and writes no file.

SIGTERM and Ctrl-C end it.
Exit codes: 0 ended by a signal, 2 settings, 3 Redis is away or refuses.
"""


def beat() -> None:
    """Send a tick to the workers once a minute, until told to stop; they do what is due."""
    from workers.redis.connection import connect
    from workers.redis.queues import RedisQueues

    RedisQueues(connect(load())).epoch()  # whether Redis is there and lets us in
    sys.stdout.flush()
    arguments = ["-m", "celery", "--app", "workers.app", "--quiet", "beat", "--loglevel", "INFO"]
    os.execv(sys.executable, [sys.executable, *arguments])

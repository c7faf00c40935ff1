"""`pagesight worker`: a Celery worker as an operator runs it."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pipeline.core.settings import PREFIX, load

EXAMPLES = """
**Examples**

`pagesight worker` · works what is queued; as many workers on as many machines as you like

`pagesight worker --in-flight 16` · prepares pages for 16 calls at once; what the fleet may have in flight is a setting

`celery -A workers.app worker` does the same.

SIGTERM and Ctrl-C let the calls in flight end, hand everything else back to the queue, and end the worker.
Exit codes: 0 ended by a signal, 2 settings, 3 a service refuses or the clock is wrong.
"""


def worker(
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", min=1, max=1024, help="Messages worked at once.", show_default="what its calls need"
        ),
    ] = None,
    in_flight: Annotated[
        int | None,
        typer.Option(
            "--in-flight", min=1, max=1024, help="Calls to prepare pages for.", show_default="what the fleet may have"
        ),
    ] = None,
) -> None:
    """Work what is queued, until told to stop."""
    load()  # a wrong setting is told before Celery begins
    for name, value in (("WORKER_CONCURRENCY", concurrency), ("WORKER_IN_FLIGHT", in_flight)):
        if value is not None:
            os.environ[PREFIX + name] = str(value)
    sys.stdout.flush()
    arguments = ["-m", "celery", "--app", "workers.app", "--quiet", "worker", "--loglevel", "INFO"]
    os.execv(sys.executable, [sys.executable, *arguments])

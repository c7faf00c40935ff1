"""`pagesight worker`: run a Celery worker."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from pipeline.core.settings import PREFIX, load

EXAMPLES = """
**Examples**

`pagesight worker` · process queued messages; run any number of workers on any number of machines

`pagesight worker --in-flight 16` · prepare pages for 16 calls at once; a setting limits the calls of the whole fleet

SIGTERM and Ctrl-C finish the calls in flight, return everything else to the queue, and stop the worker.

Exit codes: 0 stopped by a signal, 2 settings, 3 a service refuses, or the clock is wrong.
"""


def worker(
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", min=1, max=1024, help="Messages processed at once.", show_default="enough for its calls"
        ),
    ] = None,
    in_flight: Annotated[
        int | None,
        typer.Option(
            "--in-flight", min=1, max=1024, help="Calls to prepare pages for.", show_default="the limit of the fleet"
        ),
    ] = None,
) -> None:
    """Process queued messages until stopped."""
    load()  # report a wrong setting before Celery starts
    for name, value in (("WORKER_CONCURRENCY", concurrency), ("WORKER_IN_FLIGHT", in_flight)):
        if value is not None:
            os.environ[PREFIX + name] = str(value)
    from workers.command import run_celery  # reads the settings, so it is imported after they are complete

    run_celery("worker")

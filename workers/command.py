"""Celery's command line with the application of Pagesight, from any folder."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

from celery.bin.celery import celery
from celery.utils import imports

import workers.tasks  # noqa: F401 (registers them)

# Celery puts the working directory first in the search path while it imports a module. In a folder of scans, a file
# `selectors.py` would then run in the worker. Everything that Celery needs is installed.
imports.cwd_in_path = nullcontext

#: Workers of Pagesight know one another by `workers.redis.heartbeats`. Celery's own events between workers would let
#: everybody who reaches Redis have a worker run tasks, without a message in a queue.
_ALONE = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def run_celery(command: Literal["worker", "beat"]) -> None:
    """Run a worker or a beat in this process until a signal ends it; exit with its exit code.

    Raises:
        SystemExit: always.
    """
    options = _ALONE if command == "worker" else ()
    celery.main(["--app", "workers.app", "--quiet", command, "--loglevel", "INFO", *options], prog_name="celery")

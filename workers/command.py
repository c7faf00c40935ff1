"""Celery's command line with the application of Pagesight, from any folder."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from types import FrameType
from typing import Any, Literal

from celery import signals
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


def _end_for_certain(sender: Any, **_: object) -> None:
    """Have a beat end after its tick if SIGTERM or Ctrl-C comes while it sends one.

    The handlers of Celery raise `SystemExit`. While the Redis client waits for an answer, it replaces that by another
    error. Celery logs the error, and the beat goes on.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        sender.stop()
        raise SystemExit

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


signals.beat_init.connect(_end_for_certain, weak=False)

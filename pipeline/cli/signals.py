"""Ctrl-C and SIGTERM stop a command in two steps: the first finishes pages in flight, the second stops at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.cli.exits import ExitCode
from pipeline.cli.output import plain, stderr
from pipeline.core.retry import CancelToken


@contextmanager
def interruptible(cancel: CancelToken) -> Iterator[list[int]]:
    """Stop the run at the first Ctrl-C or SIGTERM, the process at the second. Yields the list of received signals."""
    received: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if received:
            os._exit(ExitCode.INTERRUPTED)
        received.append(number)
        cancel.stop()
        stderr().print(plain("Finishing the pages in flight; press Ctrl-C again to stop at once."))

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

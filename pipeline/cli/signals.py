"""Ctrl-C and SIGTERM end a command in two steps: first finish what is in flight, then stop at once."""

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
    """Turn the first Ctrl-C or SIGTERM into a stop; a second one ends the process at once. Yields the signals got."""
    got: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if got:
            os._exit(ExitCode.INTERRUPTED)
        got.append(number)
        cancel.stop()
        stderr().print(plain("Finishing the pages in flight; once more to stop at once."))

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""The watchdog of a worker: ends a process whose interpreter is frozen.

Native code that keeps the interpreter's lock, such as a regular expression that backtracks, stops every thread: the
heartbeats end, and no Python code can end the process. The kernel's timer of CPU time needs no thread of Python. A
thread sets it back every second; when it expires, a handler in C writes the stacks of all threads to the log, and the
signal ends the process. Its messages then count the death.

CPU time is measured rather than time, since a process that is stopped or starved for minutes is not frozen.
"""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core.threads import repeating

#: How often the timer is set back.
STEP_SECONDS = 1.0
STDERR = 2


@contextmanager
def watched(cpu_seconds: float) -> Iterator[None]:
    """End this process when its interpreter is frozen for this much CPU time within the block."""
    # Celery replaces `sys.stderr` by an object without a descriptor. With `chain` the signal then ends the process.
    faulthandler.register(signal.SIGPROF, file=STDERR, all_threads=True, chain=True)

    def set_back() -> None:
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)

    set_back()
    try:
        with repeating(set_back, STEP_SECONDS):
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)

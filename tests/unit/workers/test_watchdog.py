"""The watchdog ends a process whose interpreter is frozen, and no other."""

from __future__ import annotations

import signal
import subprocess
import sys

SECONDS = 60

FROZEN = """
import re, threading
from workers.watchdog import watched

def look_at_the_head():
    re.match(r"(a+)+$", "a" * 40 + "b")

with watched(2.0):
    thread = threading.Thread(target=look_at_the_head)
    thread.start()
    thread.join()
"""
BUSY = """
import threading, time
from workers.watchdog import watched

def work():
    end = time.monotonic() + 6
    while time.monotonic() < end:
        pass

with watched(4.0):
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS)


def test_a_regular_expression_without_end_ends_the_process_and_is_named() -> None:
    ended = _run(FROZEN)
    assert ended.returncode == -signal.SIGPROF
    assert "look_at_the_head" in ended.stderr


def test_a_process_that_works_goes_on_beyond_the_time() -> None:
    assert _run(BUSY).returncode == 0

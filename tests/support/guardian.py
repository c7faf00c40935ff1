"""Ends every process that the tests started, however pytest itself ends: by Ctrl-C, SIGTERM or `kill -9` too.

As a plugin it starts a guardian beside pytest, and marks the environment that children inherit. As a program it is the
guardian: it notes all descendants of pytest while that lives, and kills what is left of them once pytest is gone.
Servers started with an environment of their own are long-lived, so they are found by being noted; children that were
started just before the end are found by the mark.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

MARK = "PYTEST_GUARDIAN"
#: A process that lives longer than this is noted.
NOTE_SECONDS = 1.0
#: Processes that start others while they are being killed need another round.
ROUNDS = 5

_guardian = pytest.StashKey[subprocess.Popen[bytes]]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job that a script starts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # children inherit it, and tests interrupt them
    if MARK in os.environ:
        # A worker of pytest-xdist, or a pytest that a test started: somebody guards it already.
        return
    os.environ[MARK] = uuid.uuid4().hex
    command = [sys.executable, __file__, str(os.getpid()), os.environ[MARK]]
    unmarked = {name: value for name, value in os.environ.items() if name != MARK}
    config.stash[_guardian] = subprocess.Popen(command, stdin=subprocess.PIPE, env=unmarked, start_new_session=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    guardian = config.stash.get(_guardian, None)
    if guardian is not None:
        guardian.communicate()
        del os.environ[MARK]


def mark() -> dict[str, str]:
    """Return what the environment of a child must hold to be found."""
    return {MARK: os.environ[MARK]} if MARK in os.environ else {}


def guard(pid: int, token: str) -> None:
    """Note the descendants of a process until it closes our standard input, then kill those that are left."""
    noted: set[psutil.Process] = set()
    while not select.select([sys.stdin], [], [], NOTE_SECONDS)[0]:
        with suppress(psutil.NoSuchProcess):
            noted |= set(psutil.Process(pid).children(recursive=True))
        noted = {process for process in noted if process.is_running()}
    for _ in range(ROUNDS):
        left = {
            process for process in noted | set(marked(token)) if process.is_running() and process.pid != os.getpid()
        }
        for process in [*left, *below(left)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def below(processes: set[psutil.Process]) -> Iterator[psutil.Process]:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            yield from process.children(recursive=True)


def marked(token: str) -> Iterator[psutil.Process]:
    """Processes whose environment has the token."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == token:
                yield process


if __name__ == "__main__":
    guard(int(sys.argv[1]), sys.argv[2])

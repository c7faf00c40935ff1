"""Runs a command of `pagesight` in the process of the tests: all of it but the start of an interpreter.

For commands that are not to be killed, interrupted or watched. The command sees its own environment, folder, arguments
and streams; all of them are put back afterwards.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import structlog

from pipeline.core.configuration import announcer
from support.ended import Ended

#: What a console is wide whose width nothing tells; the terminal in which the tests run must not matter.
WIDTH = {"COLUMNS": "80"}
#: These start or become processes that live on.
LIVE_ON = frozenset({"worker", "beat", "serve", "watch", "redis", "elasticsearch"})
#: Takes the settings of its process when a command that publishes messages imports it.
APPLICATION = "workers.app"


def can_run(words: list[str]) -> bool:
    """Whether a command can run here: the state of a process is one, so only its main thread may change it."""
    return not LIVE_ON.intersection(words[:1]) and threading.current_thread() is threading.main_thread()


def run(words: list[str], environment: dict[str, str], folder: Path) -> Ended:
    """Run a command to its end."""
    from pipeline.cli import app

    out, err = _Stream(), _Stream()
    with (
        _state_of_its_own(WIDTH | environment, folder),
        _application_of_its_own(),
        _log_of_its_own(),
        _announcer_of_its_own(),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        before, sys.argv = sys.argv, ["pagesight", *words]
        try:
            app.run()
            code = 0
        except SystemExit as ended:
            code = _code(ended.code)
        except Exception:
            traceback.print_exc()
            code = 1
        finally:
            sys.argv = before
    return Ended(code, out.text, err.text)


@contextmanager
def _announcer_of_its_own() -> Iterator[None]:
    """A command announces the files that it passes over to its own stderr; nothing does so after it."""
    tell, told = announcer.tell, announcer._told
    announcer._told = set()
    try:
        yield
    finally:
        announcer.tell, announcer._told = tell, told


class _Stream(io.TextIOWrapper):
    """A stream of UTF-8 that is no terminal."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]


def _code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    sys.stderr.write(f"{code}\n")
    return 1


@contextmanager
def _application_of_its_own() -> Iterator[None]:
    """Have the Celery application imported anew by a command that needs it, and its connections closed afterwards."""
    before = sys.modules.pop(APPLICATION, None)
    try:
        yield
    finally:
        made = sys.modules.pop(APPLICATION, None)
        if made is not None:
            from kombu import pools

            made.app.close()
            pools.reset()  # applications with the same broker share their producers, which are closed now
        if before is not None:
            sys.modules[APPLICATION] = sys.modules["workers"].app = before  # type: ignore[attr-defined]
            before.app.set_current()


@contextmanager
def _log_of_its_own() -> Iterator[None]:
    """Put back what `workers.observability.logs.configure` changes."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
        structlog.configure(**before)


@contextmanager
def _state_of_its_own(environment: dict[str, str], folder: Path) -> Iterator[None]:
    kept, home, stdin = dict(os.environ), Path.cwd(), sys.stdin
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    tempfile.tempdir = None
    try:
        with Path(os.devnull).open(encoding="utf-8") as sys.stdin:
            yield
    finally:
        sys.stdin = stdin
        tempfile.tempdir = None
        os.chdir(home)
        os.environ.clear()
        os.environ.update(kept)

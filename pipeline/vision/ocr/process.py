"""Runs OCR in a child process per engine, one page at a time, and restarts it after a crash or a hang."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Protocol

from pydantic import BaseModel

from pipeline.core.child_process import (
    ENVIRONMENT,
    ChildProcess,
    CpuTimeExceeded,
    ReplyBounds,
    TimeLimit,
    TooManyTasks,
    python_command,
)
from pipeline.core.errors import AnswerTimeout, AnswerUnusable, ServiceRefused, SettingsError
from pipeline.vision.ocr.rapidocr_child import OCR_REVISION
from pipeline.vision.ocr.text_lines import FoundLines, TextLine

SERVICE = "local reader"
#: Import names of the packages of the extra `local`.
PACKAGES = ("rapidocr", "onnxruntime", "cv2", "numpy")
#: A page of 3,000 lines needs less than half of this.
MAX_REPLY_BYTES = 4 << 20
RAPIDOCR = python_command("pipeline.vision.ocr.rapidocr_child")
#: Seconds that a child which has crashed gets to end, so that its exit status can be reported.
_EXIT_SECONDS = 1
#: Only these variables of our environment are passed on: no key or token reaches the child.
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "TESSDATA_PREFIX")
#: One arena keeps freed memory in one place: 0.25 GB less at the peak, and no slower (measured).
#: onnxruntime's official builds report every session to Microsoft by default, and leave an identifier in ~/.cache and
#: in the temporary folder.
_OWN = {
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}


class Ocr(Protocol):
    """Finds the lines of text in an image."""

    revision: str
    """Engine and settings. Equal revisions find the same lines."""

    def find_lines(self, rgb: bytes, width: int, height: int) -> FoundLines:
        """Return the lines of an image in raw RGB, rows top down."""
        ...

    def close(self) -> None:
        """End the processes."""
        ...


class OcrReply(BaseModel):
    """The child's reply: lines, or one of the two errors."""

    lines: tuple[TextLine, ...] | None = None
    model: str | None = None
    """The model that found the lines, if the engine has several."""
    error: str | None = None
    unusable: str | None = None


def has_packages(names: Sequence[str] = PACKAGES) -> bool:
    """Return whether the packages of the extra `local` are installed, without importing them."""
    return not _missing(names)


def _missing(names: Sequence[str]) -> list[str]:
    return [name for name in names if find_spec(name) is None]


def require_packages(names: Sequence[str] = PACKAGES) -> None:
    """Check that packages are installed, without importing them.

    Raises:
        SettingsError: a package is missing.
    """
    missing = _missing(names)
    if missing:
        raise SettingsError(
            f"the local reader lacks {', '.join(missing)}",
            remedy="Run `pip install 'pagesight[local]'`, or set PAGESIGHT_VLM_API_KEY to read pages with jina-vlm.",
        )


def open_rapidocr(limit: TimeLimit) -> OcrProcess:
    """Return RapidOCR, which reads Latin, Chinese and Japanese, with a limit for each page.

    Raises:
        SettingsError: the packages of the extra `local` are missing.
    """
    require_packages()
    return OcrProcess(f"rapidocr-{version('rapidocr')}-{OCR_REVISION}", RAPIDOCR, limit)


class OcrProcess:
    """An engine in its own child process, which starts with the first page. Threads share it and take turns.

    Args:
        engine: name and version of the engine, and our own revision of its settings.
        command: starts the child; the socket's descriptor is appended.
        limit: for one page, after which the child is killed. Its programs count.
        revision: everything that affects the lines that are found; `engine` by default.
    """

    def __init__(self, engine: str, command: Sequence[str], limit: TimeLimit, *, revision: str | None = None) -> None:
        self.engine = engine
        self.revision = revision or engine
        self._limit = limit
        self._command = tuple(command)
        self._turn = threading.Lock()
        self._child: ChildProcess | None = None

    def find_lines(self, rgb: bytes, width: int, height: int) -> FoundLines:
        """Return the lines of an image in raw RGB, rows top down.

        Raises:
            AnswerTimeout: OCR took longer than its limit.
            AnswerUnusable: OCR failed or crashed on this page.
            ServiceRefused: the engine is installed, but does not work.
        """
        with self._turn:
            try:
                self._child = self._child or _start(self._command)
                deadline = time.monotonic() + self._limit.wall_seconds
                cpu_until = self._child.cpu_seconds + self._limit.cpu_seconds
                self._child.send({"width": width, "height": height}, (rgb,), deadline=deadline)
                reply = OcrReply.model_validate_json(self._child.receive(deadline, cpu_until=cpu_until)[0])
            except (OSError, EOFError, ValueError) as error:
                raise self._failure(error, self._end_child()) from error
        return self._found(reply)

    def close(self) -> None:
        """End the child after its current page."""
        with self._turn:
            self._end_child()

    def _end_child(self) -> int | None:
        child, self._child = self._child, None
        # A child that still runs ends itself as soon as its socket is closed.
        return child.end(_EXIT_SECONDS).exit_code if child else None

    def _failure(self, error: Exception, status: int | None) -> AnswerTimeout | AnswerUnusable:
        remedy = "Run the same command again. If the error persists, the local reader cannot read this page."
        if isinstance(error, CpuTimeExceeded):
            return AnswerTimeout(
                f"OCR needed more than {self._limit.cpu_seconds:g} seconds of CPU time",
                remedy="Raise PAGESIGHT_OCR_SECONDS if the page is genuine.",
            )
        if isinstance(error, TimeoutError):
            return AnswerTimeout(
                f"OCR was not done within {self._limit.wall_seconds:g} seconds by the clock",
                remedy="Run less beside Pagesight on this machine, or raise PAGESIGHT_OCR_WALL_SECONDS.",
            )
        if isinstance(error, TooManyTasks):
            return AnswerUnusable(f"OCR became {error}", remedy=remedy)
        if isinstance(error, ValueError):
            return AnswerUnusable("the OCR process sent a reply that cannot be parsed", remedy=remedy)
        if status is None:
            return AnswerUnusable(f"the OCR process cannot be started: {error}")
        return AnswerUnusable(f"the OCR process crashed on the page (exit status {status})", remedy=remedy)

    def _found(self, reply: OcrReply) -> FoundLines:
        if reply.unusable is not None:
            raise ServiceRefused(
                SERVICE,
                f"{self.engine} is installed, but does not work: {reply.unusable}",
                remedy="Run `pip install --force-reinstall 'pagesight[local]'`; Tesseract is a package of the system.",
            )
        if reply.lines is None:
            raise AnswerUnusable(f"OCR failed on the page: {reply.error}")
        return FoundLines(f"{self.engine}-{reply.model}" if reply.model else self.engine, reply.lines)


def _start(command: Sequence[str]) -> ChildProcess:
    return ChildProcess(command, environment(), ReplyBounds(MAX_REPLY_BYTES), programs=True)


def environment() -> dict[str, str]:
    """Return the environment of an engine: no key or token of ours is in it."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**ENVIRONMENT, **inherited, **_OWN}

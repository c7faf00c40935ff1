"""OCR at arm's length: one child process an engine, one page at a time, restarted after a crash or a hang."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Protocol

from pydantic import BaseModel

from pipeline.core.child_process import ENVIRONMENT, ChildProcess, ReplyBounds, python_command
from pipeline.core.errors import AnswerTimeout, AnswerUnusable, ServiceRefused, SettingsError
from pipeline.vision.ocr.rapidocr_child import OCR_REVISION
from pipeline.vision.ocr.text_lines import FoundLines, TextLine

SERVICE = "local reader"
#: What the extra `local` brings, by import names.
PACKAGES = ("rapidocr", "onnxruntime", "cv2", "numpy")
#: Seconds that one page may take. The densest pages take 5 on two cores, the first one 2 more for the models.
PAGE_SECONDS = 120.0
#: A page of 3,000 lines has less than half of it.
MAX_REPLY_BYTES = 4 << 20
RAPIDOCR = python_command("pipeline.vision.ocr.rapidocr_child")
#: Seconds that a child which has crashed gets to end, so that its exit status can be reported.
_EXIT_SECONDS = 1
#: Only these variables of our environment are passed on: no key or token reaches the child.
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "TESSDATA_PREFIX")
#: One arena keeps freed memory in one place: 0.25 GB less at the peak, and no slower (measured).
#: onnxruntime's official builds report every session to Microsoft unless they are told not to, and leave an identifier
#: in ~/.cache and the temporary folder.
_OWN = {
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}


class Ocr(Protocol):
    """Finds the lines of text in a picture."""

    revision: str
    """Names the engine and its settings: equal revisions find the same lines."""

    def find_lines(self, rgb: bytes, width: int, height: int) -> FoundLines:
        """Return the lines of a picture given as raw RGB, rows top down."""
        ...

    def close(self) -> None:
        """Give processes back."""
        ...


class OcrReply(BaseModel):
    """What the child says: lines, or one of the two errors."""

    lines: tuple[TextLine, ...] | None = None
    model: str | None = None
    """Which of an engine's models found the lines, where it has several."""
    error: str | None = None
    unusable: str | None = None


def has_packages(names: Sequence[str] = PACKAGES) -> bool:
    """Whether the packages of the extra `local` can be found; none is imported."""
    return not _missing(names)


def _missing(names: Sequence[str]) -> list[str]:
    return [name for name in names if find_spec(name) is None]


def require_packages(names: Sequence[str] = PACKAGES) -> None:
    """Check that packages can be found, without importing them.

    Raises:
        SettingsError: one is missing.
    """
    missing = _missing(names)
    if missing:
        raise SettingsError(
            f"the local reader lacks {', '.join(missing)}",
            remedy="Run `pip install 'pagesight[local]'`, or set PAGESIGHT_VLM_API_KEY to have pages read by jina-vlm.",
        )


def open_rapidocr() -> OcrProcess:
    """Return RapidOCR, which reads Latin, Chinese and Japanese.

    Raises:
        SettingsError: the packages of the extra `local` are missing.
    """
    require_packages()
    return OcrProcess(f"rapidocr-{version('rapidocr')}-{OCR_REVISION}", RAPIDOCR)


class OcrProcess:
    """An engine in a child of its own, started when the first page comes. Threads share it and take turns.

    Args:
        engine: name, version and our own revision of the engine.
        command: starts the child; the socket's descriptor is appended.
        page_seconds: wall clock for one page; the child is killed when it takes longer.
        revision: names what may change which lines are found, `engine` where that is all.
    """

    def __init__(
        self, engine: str, command: Sequence[str], page_seconds: float = PAGE_SECONDS, *, revision: str | None = None
    ) -> None:
        self.engine = engine
        self.revision = revision or engine
        self._page_seconds = page_seconds
        self._command = tuple(command)
        self._turn = threading.Lock()
        self._child: ChildProcess | None = None

    def find_lines(self, rgb: bytes, width: int, height: int) -> FoundLines:
        """Return the lines of a picture given as raw RGB, rows top down.

        Raises:
            AnswerTimeout: it took longer than `page_seconds`.
            AnswerUnusable: OCR failed or crashed on this page.
            ServiceRefused: the engine is installed, but does not work.
        """
        with self._turn:
            try:
                self._child = self._child or _start(self._command)
                deadline = time.monotonic() + self._page_seconds
                self._child.send({"width": width, "height": height}, (rgb,), deadline=deadline)
                reply = OcrReply.model_validate_json(self._child.receive(deadline)[0])
            except (OSError, EOFError, ValueError) as error:
                raise self._failure(error, self._end_child()) from error
        return self._found(reply)

    def close(self) -> None:
        """End the child, after the page that it may be reading."""
        with self._turn:
            self._end_child()

    def _end_child(self) -> int | None:
        child, self._child = self._child, None
        # A child that still runs ends itself as soon as its socket is closed.
        return child.end(_EXIT_SECONDS).exit_code if child else None

    def _failure(self, error: Exception, status: int | None) -> AnswerTimeout | AnswerUnusable:
        remedy = "Run the same command again; if it stays so, the page is beyond the local reader."
        if isinstance(error, TimeoutError):
            return AnswerTimeout(f"reading took longer than {self._page_seconds:g} s", remedy=remedy)
        if isinstance(error, ValueError):
            return AnswerUnusable("the OCR process answered what cannot be understood", remedy=remedy)
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
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return ChildProcess(command, {**ENVIRONMENT, **inherited, **_OWN}, ReplyBounds(MAX_REPLY_BYTES))

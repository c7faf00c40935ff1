"""OCR at arm's length: one child process an engine, one page at a time, restarted after a crash or a hang."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Protocol

from pydantic import BaseModel

from pipeline.core.errors import AnswerTimeout, AnswerUnusable, ServiceRefused, SettingsError
from pipeline.vision.ocr.rapidocr_child import OCR_REVISION
from pipeline.vision.ocr.serving import REPLY_HEAD, REQUEST_HEAD
from pipeline.vision.ocr.text_lines import FoundLines, TextLine

SERVICE = "local reader"
#: What the extra `local` brings, by import names.
PACKAGES = ("rapidocr", "onnxruntime", "cv2", "numpy")
#: Seconds that one page may take. The densest pages take 5 on two cores, the first one 2 more for the models.
PAGE_SECONDS = 120.0
#: A page of 3,000 lines has less than half of it.
MAX_REPLY_BYTES = 4 << 20
RAPIDOCR = (sys.executable, "-P", "-m", "pipeline.vision.ocr.rapidocr_child")
#: Besides these the child's environment is made here: no key or token reaches it.
_INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR", "TESSDATA_PREFIX")
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
        self._child: _Child | None = None

    def find_lines(self, rgb: bytes, width: int, height: int) -> FoundLines:
        """Return the lines of a picture given as raw RGB, rows top down.

        Raises:
            AnswerTimeout: it took longer than `page_seconds`.
            AnswerUnusable: OCR failed or crashed on this page.
            ServiceRefused: the engine is installed, but does not work.
        """
        with self._turn:
            try:
                self._child = self._child or _Child(self._command)
                reply = self._child.ask(REQUEST_HEAD.pack(width, height), rgb, seconds=self._page_seconds)
            except (OSError, ValueError) as error:
                raise self._failure(error, self._end_child()) from error
        return self._found(reply)

    def close(self) -> None:
        """End the child, after the page that it may be reading."""
        with self._turn:
            self._end_child()

    def _end_child(self) -> int | None:
        child, self._child = self._child, None
        return child.end() if child else None

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


class _Child:
    """A running child and the socket to it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                env={name: os.environ[name] for name in _INHERITED if name in os.environ} | _OWN,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the run, which ends the child in its own time
            )

    def ask(self, *parts: bytes, seconds: float) -> OcrReply:
        """Send a request and return the reply.

        Raises:
            TimeoutError: none came in time.
            OSError: the child has gone.
            ValueError: the reply makes no sense.
        """
        deadline = time.monotonic() + seconds
        for part in parts:
            self._connection.settimeout(_left(deadline))
            self._connection.sendall(part)
        (length,) = REPLY_HEAD.unpack(self._receive(REPLY_HEAD.size, deadline))
        if length > MAX_REPLY_BYTES:
            raise ValueError(f"a reply of {length} bytes")
        return OcrReply.model_validate_json(self._receive(length, deadline))

    def end(self) -> int:
        """Kill the process if it lives, and return its exit status."""
        self._connection.close()
        try:
            # One that has crashed is given a moment to say how; a closed socket ends one that lives.
            return self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _receive(self, size: int, deadline: float) -> bytes:
        received = bytearray()
        while len(received) < size:
            self._connection.settimeout(_left(deadline))
            chunk = self._connection.recv(size - len(received))
            if not chunk:
                raise ConnectionResetError("the child has gone")
            received += chunk
        return bytes(received)


def _left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds

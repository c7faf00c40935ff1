"""Foreign programs that make PDFs of documents, seen from the parent: start, limits, time, reply, end."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import Field, ValidationError

from pipeline.core.child_process import (
    ENVIRONMENT,
    MAX_TASKS,
    PACKAGE_HOME,
    ChildProcess,
    CpuTimeExceeded,
    ReplyBounds,
    TimeLimit,
    TooManyTasks,
    python_command,
)
from pipeline.core.errors import (
    CorruptFile,
    EncryptedFile,
    LimitExceeded,
    OutcomeError,
    RenderCrashed,
    RenderOutOfMemory,
    RenderTimeout,
    Stopped,
    UnsupportedFormat,
)
from pipeline.core.retry import CancelToken
from pipeline.core.text import clean_line, clean_text
from pipeline.rendering.conversion.confined import OUTPUT, remove_traces, sweep
from pipeline.rendering.replies import Reply

#: Namespaces without a network, in which all processes end with the first one.
_NAMESPACES = ("unshare", "--user", "--map-root-user", "--net", "--ipc", "--pid", "--fork", "--kill-child")
#: The largest file that a program may write, in addition to the size of the document: its PDF is the largest one.
_MAX_WRITTEN_BYTES = 1 << 30
#: Enough for the notes of 20,000 slides with a page of notes each.
_MAX_REPLY_BYTES = 64 << 20
_EXIT_SECONDS = 10
_MAX_TITLE_CHARS = 500

_REMEDIES = {
    RenderTimeout: "Raise PAGESIGHT_CONVERSION_SECONDS if the document is a genuine one.",
    RenderOutOfMemory: "Raise PAGESIGHT_CONVERSION_MEMORY_MB if the document is a genuine one.",
}
_FAILURES: dict[str, type[OutcomeError]] = {
    error.code: error
    for error in (
        CorruptFile,
        EncryptedFile,
        LimitExceeded,
        RenderCrashed,
        RenderOutOfMemory,
        RenderTimeout,
        UnsupportedFormat,
    )
}


@dataclass(frozen=True, slots=True)
class ConversionLimits:
    """Limits of one conversion."""

    time: TimeLimit
    """Of all programs of a conversion together."""
    memory_mb: int
    """Memory that a program may allocate, in MiB."""
    sheet_pages: int
    """Printed pages of a spreadsheet."""


@dataclass(frozen=True, slots=True)
class ConversionJob:
    """The program for one document, and its request."""

    module: str
    """Of this package; it calls `pipeline.rendering.conversion.confined.serve`."""
    interpreter: str
    request: Mapping[str, Any]
    suffix: str
    """Of the document's copy: some programs recognise formats by names."""
    readable: Sequence[str] = ()
    """Folders that the program reads in addition to the system's."""


class ConversionResult(Reply):
    """The report of a child about its PDF. The document may be hostile, so the report is validated."""

    converter: str = Field(max_length=100)
    pages: int = Field(ge=1)
    pages_left_out: int = Field(default=0, ge=0)
    hidden: tuple[int, ...] = ()
    notes: dict[int, str] = Field(default_factory=dict)
    substituted_fonts: tuple[str, ...] = ()
    title: str | None = None
    unlocked: bool = False


class _FailedConversion(Reply):
    error: str
    message: str = Field(max_length=1_000)


@cache
def namespaces() -> tuple[str, ...]:
    """Return the prefix of a command that runs without network; empty if this machine forbids that. Probed once."""
    try:
        ended = subprocess.run(
            [*_NAMESPACES, "true"], capture_output=True, timeout=_EXIT_SECONDS, check=False, env=ENVIRONMENT
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return _NAMESPACES if ended.returncode == 0 else ()


def run(
    job: ConversionJob, file: BinaryIO, limits: ConversionLimits, cancel: CancelToken
) -> tuple[BufferedReader, ConversionResult]:
    """Convert a file to a PDF; return the PDF, open and already unlinked, and the child's report.

    Afterwards no process and no file is left.

    Raises:
        CorruptFile, EncryptedFile, LimitExceeded, UnsupportedFormat: the file is at fault.
        RenderTimeout, RenderCrashed, RenderOutOfMemory: the program failed on it.
        Stopped: `cancel` was stopped.
    """
    parent = Path(tempfile.gettempdir())
    _sweep_once(parent)
    folder = parent / f"pagesight-{uuid.uuid4().hex}"
    request = {
        **job.request,
        "folder": str(folder),
        "suffix": job.suffix,
        "readable": [str(PACKAGE_HOME / "pipeline"), *job.readable],
        "memory_mb": limits.memory_mb,
        "file_bytes": _MAX_WRITTEN_BYTES + os.fstat(file.fileno()).st_size,
        "cpu_seconds": int(limits.time.cpu_seconds) + 1,
        "sheet_pages": limits.sheet_pages,
        # Outside a user namespace the kernel would count every process of this user, and for root none.
        "tasks": MAX_TASKS if namespaces() else None,
    }
    command = python_command(f"pipeline.rendering.conversion.{job.module}", job.interpreter)
    child = ChildProcess([*namespaces(), *command], ENVIRONMENT, ReplyBounds(_MAX_REPLY_BYTES), programs=True)
    try:
        result = _parse(_ask(child, request, file.fileno(), limits.time, cancel))
        return _open_pdf(folder / OUTPUT), result
    finally:
        # The child ends its programs and cleans up as soon as its socket is closed.
        child.end(_EXIT_SECONDS)
        remove_traces(folder)


@cache
def _sweep_once(parent: Path) -> None:
    sweep(parent)


def _ask(
    child: ChildProcess, request: Mapping[str, Any], document: int, limit: TimeLimit, cancel: CancelToken
) -> bytes:
    """Return the JSON of a child's one reply."""
    deadline = time.monotonic() + limit.wall_seconds
    try:
        child.send(request, descriptor=document, deadline=deadline)
        return child.receive(deadline, cancel, cpu_until=limit.cpu_seconds)[0]
    except Stopped:
        raise Stopped("stopped before the document was converted") from None
    except CpuTimeExceeded:
        message = f"more than {limit.cpu_seconds:g} seconds of CPU time were needed for the conversion"
        raise _error(RenderTimeout, message) from None
    except TimeoutError:
        raise RenderTimeout(
            f"not converted within {limit.wall_seconds:g} seconds by the clock",
            remedy="Run less beside Pagesight on this machine, or raise PAGESIGHT_CONVERSION_WALL_SECONDS.",
        ) from None
    except TooManyTasks as error:
        raise LimitExceeded(f"the programs that convert it became {error}") from None
    except (OSError, EOFError, ValueError):
        raise RenderCrashed("the process that converts documents ended without an answer") from None


def _parse(reply: bytes) -> ConversionResult:
    try:
        if reply.startswith(b'{"error":'):
            failed = _FailedConversion.model_validate_json(reply)
            raise _error(_FAILURES[failed.error], failed.message)
        reported = ConversionResult.model_validate_json(reply)
    except (KeyError, ValidationError):
        raise RenderCrashed(
            "the process that converts documents answered something that cannot be understood"
        ) from None
    return reported.model_copy(
        update={
            "notes": {number: text for number, note in reported.notes.items() if (text := clean_text(note).strip())},
            "substituted_fonts": tuple(filter(None, (clean_line(name, 100) for name in reported.substituted_fonts))),
            "title": clean_line(reported.title or "", _MAX_TITLE_CHARS),
        }
    )


def _error(kind: type[OutcomeError], message: str) -> OutcomeError:
    return kind(message, remedy=_REMEDIES.get(kind))


def _open_pdf(path: Path) -> BufferedReader:
    """Open the PDF that a program wrote. A hostile document may have made it write a link or a pipe instead."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise RenderCrashed("the process that converts documents left no PDF") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RenderCrashed("the process that converts documents left something other than a PDF")
    return os.fdopen(descriptor, "rb")

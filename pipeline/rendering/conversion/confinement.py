"""Foreign programs that make PDFs of documents, seen from whoever wants one: started, limited, timed, ended."""

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

from pipeline.core.child_process import ENVIRONMENT, PACKAGE_HOME, ChildProcess, ReplyBounds, python_command
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
from pipeline.rendering.conversion.confined import OUTPUT, remove_traces
from pipeline.rendering.replies import Reply
from pipeline.rendering.text import clean_line, clean_text

#: Namespaces without any network, and whose processes all end with their first one.
_NAMESPACES = ("unshare", "--user", "--map-root-user", "--net", "--ipc", "--pid", "--fork", "--kill-child")
#: The largest file that a program may write, besides a copy of the document: its PDF, above all.
_MAX_WRITTEN_BYTES = 1 << 30
#: Notes of a presentation of 20,000 slides with a page of them each.
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
    """What making a document into a PDF may cost."""

    seconds: float
    """Wall clock."""
    memory_mb: int
    """What a program may allocate, in MiB."""
    sheet_pages: int
    """Printed pages of a spreadsheet."""


@dataclass(frozen=True, slots=True)
class ConversionJob:
    """What is to be run, and on what."""

    module: str
    """Of this package; it calls `pipeline.rendering.conversion.confined.serve`."""
    interpreter: str
    request: Mapping[str, Any]
    suffix: str
    """How the document's name ends for programs that go by names."""
    readable: Sequence[str] = ()
    """Folders that the program needs besides those of the system."""


class ConversionResult(Reply):
    """What a conversion says of its PDF. It was made of a hostile document, and is believed as far as it fits."""

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
    """Return the command that starts another without network, empty where this machine does not let us. Tried once."""
    try:
        ended = subprocess.run([*_NAMESPACES, "true"], capture_output=True, timeout=_EXIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return _NAMESPACES if ended.returncode == 0 else ()


def run(
    job: ConversionJob, file: BinaryIO, limits: ConversionLimits, cancel: CancelToken
) -> tuple[BufferedReader, ConversionResult]:
    """Have a PDF made of a file, and return it, open and without a name, with what was told of it.

    Nothing is left of it afterwards: no process, and no file with a name.

    Raises:
        CorruptFile, EncryptedFile, LimitExceeded, UnsupportedFormat: what is wrong with the file.
        RenderTimeout, RenderCrashed, RenderOutOfMemory: what it did to the program.
        Stopped: the patience has ended.
    """
    folder = Path(tempfile.gettempdir()) / f"pagesight-{uuid.uuid4().hex}"
    request = {
        **job.request,
        "folder": str(folder),
        "suffix": job.suffix,
        "readable": [str(PACKAGE_HOME / "pipeline"), *job.readable],
        "memory_mb": limits.memory_mb,
        "file_bytes": _MAX_WRITTEN_BYTES + os.fstat(file.fileno()).st_size,
        "cpu_seconds": int(limits.seconds) + 1,
        "sheet_pages": limits.sheet_pages,
    }
    command = python_command(f"pipeline.rendering.conversion.{job.module}", job.interpreter)
    child = ChildProcess([*namespaces(), *command], ENVIRONMENT, ReplyBounds(_MAX_REPLY_BYTES))
    try:
        result = _parse(_ask(child, request, file.fileno(), limits.seconds, cancel))
        return _open_pdf(folder / OUTPUT), result
    finally:
        # The child ends its programs and cleans up as soon as its socket is closed.
        child.end(_EXIT_SECONDS)
        remove_traces(folder)


def _ask(child: ChildProcess, request: Mapping[str, Any], document: int, seconds: float, cancel: CancelToken) -> bytes:
    """Return the JSON of a child's one reply."""
    deadline = time.monotonic() + seconds
    try:
        child.send(request, descriptor=document, deadline=deadline)
        return child.receive(deadline, cancel)[0]
    except Stopped:
        raise Stopped("stopped before the document was converted") from None
    except TimeoutError:
        raise _error(RenderTimeout, f"not converted within {seconds:g} seconds") from None
    except (OSError, EOFError, ValueError):
        raise RenderCrashed("the process that converts documents ended without an answer") from None


def _parse(reply: bytes) -> ConversionResult:
    try:
        if reply.startswith(b'{"error":'):
            failed = _FailedConversion.model_validate_json(reply)
            raise _error(_FAILURES[failed.error], failed.message)
        told = ConversionResult.model_validate_json(reply)
    except (KeyError, ValidationError):
        raise RenderCrashed(
            "the process that converts documents answered something that cannot be understood"
        ) from None
    return told.model_copy(
        update={
            "notes": {number: text for number, note in told.notes.items() if (text := clean_text(note).strip())},
            "substituted_fonts": tuple(filter(None, (clean_line(name, 100) for name in told.substituted_fonts))),
            "title": clean_line(told.title or "", _MAX_TITLE_CHARS),
        }
    )


def _error(kind: type[OutcomeError], message: str) -> OutcomeError:
    return kind(message, remedy=_REMEDIES.get(kind))


def _open_pdf(path: Path) -> BufferedReader:
    """Open what a program left as its PDF; one that a document has taken over may have left a link, or a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise RenderCrashed("the process that converts documents left no PDF") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RenderCrashed("the process that converts documents left something that is no PDF")
    return os.fdopen(descriptor, "rb")

"""The child's side of `pipeline.rendering.conversion.confinement`: runs foreign programs on one document.

It receives one request with the document's descriptor, runs the programs in a folder of its own, and sends one reply.
When its parent closes the socket, or dies, it kills every program that it started and removes their files. It uses the
standard library only and is compatible with Python 3.9, because the system's interpreter, which has LibreOffice's
bindings, imports it.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.core.child_side import EndCause, begin, end_cause, is_near_limit, receive, send, signal_name
from pipeline.core.confinement import Confinement, interpreter_paths, restrict_files

INPUT = "input"
OUTPUT = "output.pdf"
_PROFILE = "profile"
#: LibreOffice makes its sockets here and ignores TMPDIR (`sal/osl/unx/pipe.cxx`).
SOCKETS = Path("/tmp")
#: Files that LibreOffice reads, in addition to the system's and the interpreter's.
_PROGRAM_FILES = (
    *("/var/lib/libreoffice", "/var/spool/libreoffice", "/etc/libreoffice", "/etc/alternatives"),
    *("/etc/passwd", "/etc/nsswitch.conf"),
)
_MAX_DESCRIPTORS = 1024

Request = dict[str, Any]
Reply = dict[str, Any]


class ConversionError(Exception):
    """The reason why no PDF was made. `code` is the code of an `OutcomeError`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Workspace:
    """A folder, and the programs that were started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.profile = folder / _PROFILE
        self._programs: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        folder.mkdir()

    @property
    def document(self) -> Path:
        """The copy of the document. The files to which it may refer are not beside it."""
        (path,) = self.folder.glob(f"{INPUT}*")
        return path

    def start(self, command: Sequence[str], output: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start a program. Its standard output goes into `output`, or is discarded."""
        with self._lock, (output or Path(os.devnull)).open("wb") as file:
            program = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.DEVNULL,
                cwd=self.folder,
                env={
                    "PATH": os.defpath,
                    "LANG": "C.UTF-8",
                    "HOME": str(self.folder),
                    "TMPDIR": str(self.folder),
                    **environment,
                },
            )
            self._programs.append(program)
        return program

    def end_programs(self) -> None:
        """Kill the running programs, and wait until they have ended."""
        with self._lock:
            for program in self._programs:
                program.kill()
                program.wait()

    def leave(self) -> None:
        """Kill all programs, remove their files, and end this process."""
        self.end_programs()
        remove_traces(self.folder)
        os.kill(0, signal.SIGKILL)  # the whole process group, with programs started meanwhile
        os._exit(0)  # the first process of a namespace cannot kill itself; its exit ends the others


def serve(work: Callable[[Workspace, Request], Reply]) -> None:
    """Handle one request, then wait until the parent closes the socket. Its descriptor is the last argument."""
    connection = socket.socket(fileno=int(sys.argv[-1]))
    received = receive(connection)
    if received is None:
        return
    request, _, document = received
    assert document is not None
    os.umask(0o077)
    workspace = Workspace(Path(request["folder"]))
    watchdog = begin(connection, _rights(request), workspace.leave)
    with suppress(BrokenPipeError):  # the parent has closed the socket: the watchdog is cleaning up
        send(connection, _reply(workspace, request, document, work))
    watchdog.join()


def remove_traces(folder: Path) -> None:
    """Remove a workspace and LibreOffice's sockets, which are named after the folder and a hash of its profile."""
    shutil.rmtree(folder, ignore_errors=True)
    # `desktop/source/app/officeipcthread.cxx`: the MD5 of the profile's URL in UTF-16. Each byte is in hex without a
    # leading zero.
    digest = hashlib.md5((folder / _PROFILE).as_uri().encode("utf-16-le"), usedforsecurity=False).digest()
    profile = "".join(f"{byte:x}" for byte in digest)
    for name in (folder.name, f"SingleOfficeIPC_{profile}"):
        for path in SOCKETS.glob(f"OSL_PIPE_*_{name}"):
            with suppress(OSError):
                path.unlink()


def died(name: str, exit_code: int) -> ConversionError:
    """Return the error for a program that ended unexpectedly, by its exit code as `Popen.returncode` has it."""
    cause = end_cause(exit_code)
    if cause is EndCause.CPU_TIME:
        return ConversionError("render_timeout", f"{name} took more CPU time than a conversion may")
    if cause is EndCause.FILE_SIZE:
        return ConversionError("limit", f"{name} was about to write a file that is too large")
    if cause is EndCause.EXIT:
        return ConversionError("render_crashed", f"{name} ended with exit status {exit_code}")
    return ConversionError("render_crashed", f"{name} crashed with {signal_name(exit_code)}")


def _reply(workspace: Workspace, request: Request, document: int, work: Callable[[Workspace, Request], Reply]) -> Reply:
    try:
        _copy(document, workspace.folder / (INPUT + request["suffix"]))
        # Files are restricted for this thread and every program that it starts, not for the watchdog, which cleans up.
        readable = [Path(path) for path in (*_PROGRAM_FILES, *request["readable"])]
        restrict_files(Confinement([*interpreter_paths(), *readable], [workspace.folder], [SOCKETS]))
        return work(workspace, request)
    except ConversionError as error:
        failed = error
    except Exception as error:  # the parent reports it; this process has no stderr
        failed = ConversionError("render_crashed", f"the conversion failed: {type(error).__name__}: {error}"[:500])
    workspace.end_programs()
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if failed.code in ("corrupt", "render_crashed") and is_near_limit(peak_kib, request["memory_mb"]):
        failed = ConversionError("render_memory", f"more than {request['memory_mb']} MiB of memory were needed")
    return {"error": failed.code, "message": str(failed)}


def _rights(request: Request) -> Confinement:
    """Return the rights of the whole process: programs, and UNIX sockets, by which LibreOffice is controlled."""
    limits = {
        resource.RLIMIT_DATA: request["memory_mb"] << 20,
        resource.RLIMIT_FSIZE: request["file_bytes"],
        resource.RLIMIT_CPU: request["cpu_seconds"],
        resource.RLIMIT_NOFILE: _MAX_DESCRIPTORS,
    }
    return Confinement(readable=None, sockets=[SOCKETS], programs=True, limits=limits)


def _copy(descriptor: int, path: Path) -> None:
    """Copy a file without changing its position, which other processes may share."""
    offset = 0
    with path.open("wb") as copy:
        while count := os.sendfile(copy.fileno(), descriptor, offset, 1 << 24):
            offset += count
    os.close(descriptor)

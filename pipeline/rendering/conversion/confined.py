"""The child's side of `pipeline.rendering.conversion.confinement`: runs foreign programs on one document.

    parent ─▶ keeper ─▶ worker, confined ─▶ programs

The keeper receives one request with the document's descriptor and makes the folder. The worker runs the programs in
it, and sends one reply. When the parent closes the socket, or dies, or when the worker ends, the keeper kills what is
left and removes the files. The worker cannot: it may write only in the folder. They are two processes, because a thread
that is not confined would share its memory with the confined ones.

It uses the standard library only and is compatible with Python 3.9, because the system's interpreter, which has
LibreOffice's bindings, imports it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.core.child_side import EndCause, begin, end_cause, is_near_limit, receive, send, signal_name
from pipeline.core.confinement import Confinement, become_reaper, forbid, interpreter_paths

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
#: Names of workspaces.
_NAME = re.compile("pagesight-[0-9a-f]{32}")
#: A keeper locks its new workspace within this time.
_LOCKED_WITHIN_SECONDS = 60

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

    @property
    def document(self) -> Path:
        """The copy of the document. The files to which it may refer are not beside it."""
        (path,) = self.folder.glob(f"{INPUT}*")
        return path

    def start_server(self, command: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        """Start a program that makes sockets, but may connect to none: others of this user are out of its reach."""

        def start() -> subprocess.Popen[bytes]:
            forbid(["connect"])  # for this thread, and what it starts
            return self.start(command, None, **environment)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(start).result()

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


def serve(work: Callable[[Workspace, Request], Reply], *, sockets: bool = False) -> None:
    """Handle one request, then wait until the parent closes the socket. Its descriptor is the last argument.

    Args:
        work: runs programs on the document of a workspace.
        sockets: whether they are controlled through UNIX sockets.
    """
    connection = socket.socket(fileno=int(sys.argv[-1]))
    received = receive(connection)
    if received is None:
        return
    request, _, document = received
    assert document is not None
    os.umask(0o077)
    folder = Path(request["folder"])
    folder.mkdir()
    lock(folder)
    become_reaper()
    worker = os.fork()
    if not worker:
        # A process group of its own: the keeper survives its end.
        os.setpgid(0, 0)
        _serve(connection, Workspace(folder), request, document, work, sockets)
        os._exit(0)
    os.close(document)
    _wait_for_end(connection, worker)
    _end_all(worker)
    remove_traces(folder)


def _serve(
    connection: socket.socket,
    workspace: Workspace,
    request: Request,
    document: int,
    work: Callable[[Workspace, Request], Reply],
    sockets: bool,
) -> None:
    watchdog = begin(connection, _rights(workspace.folder, request, sockets), _kill_group)
    with suppress(BrokenPipeError):  # the parent has closed the socket: the keeper is cleaning up
        send(connection, _reply(workspace, request, document, work))
    watchdog.join()


def _kill_group() -> None:
    os.kill(0, signal.SIGKILL)


def _wait_for_end(connection: socket.socket, worker: int) -> None:
    """Wait until the parent closes the socket, or the worker ends."""
    ends = select.poll()
    ends.register(connection, 0)
    ends.register(os.pidfd_open(worker), select.POLLIN)
    ends.poll()


def _end_all(worker: int) -> None:
    """Kill the worker and its programs, and wait for them: they cannot leave their group, and orphans come to us."""
    with suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)
    while True:
        with suppress(ProcessLookupError):
            os.killpg(worker, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


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


def lock(folder: Path) -> int:
    """Mark a workspace as used, as long as this process or one that it forks lives; return the descriptor.

    Raises:
        OSError: the folder is not a folder, or is locked.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def sweep(parent: Path) -> None:
    """Remove the workspaces in a folder whose keepers were killed, as happens if a whole service is killed at once."""
    for folder in parent.glob("pagesight-*"):
        if _NAME.fullmatch(folder.name) and _is_abandoned(folder):
            remove_traces(folder)


def _is_abandoned(folder: Path) -> bool:
    try:
        status = os.lstat(folder)
        if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _LOCKED_WITHIN_SECONDS:
            return False
        os.close(lock(folder))
    except OSError:
        return False
    return True


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


def _rights(folder: Path, request: Request, sockets: bool) -> Confinement:
    limits = {
        resource.RLIMIT_DATA: request["memory_mb"] << 20,
        resource.RLIMIT_FSIZE: request["file_bytes"],
        resource.RLIMIT_CPU: request["cpu_seconds"],
        resource.RLIMIT_NOFILE: _MAX_DESCRIPTORS,
        **({resource.RLIMIT_NPROC: request["tasks"]} if request["tasks"] else {}),
    }
    return conversion_rights(folder, request["readable"], sockets=sockets, limits=limits)


def conversion_rights(
    folder: Path, readable: Sequence[str], *, sockets: bool, limits: Mapping[int, int]
) -> Confinement:
    """Return the rights of a conversion: it reads programs and fonts, writes in its folder, and starts programs."""
    paths = [Path(path) for path in (*_PROGRAM_FILES, *readable)]
    return Confinement(
        [*interpreter_paths(), *paths], [folder], [SOCKETS] if sockets else [], programs=True, limits=limits
    )


def _copy(descriptor: int, path: Path) -> None:
    """Copy a file without changing its position, which other processes may share."""
    offset = 0
    with path.open("wb") as copy:
        while count := os.sendfile(copy.fileno(), descriptor, offset, 1 << 24):
            offset += count
    os.close(descriptor)

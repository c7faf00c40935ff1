"""The inner side of `pipeline.rendering.conversion.confinement`: runs foreign programs on one document.

It reads a request, one line of JSON, from stdin, lets the programs work in a folder of its own, and writes a reply, one
line of JSON, to stdout. When its parent closes stdin, or dies, it ends with everything that it started and removes
what they wrote. Standard library only, and nothing newer than Python 3.9: what LibreOffice's bindings are made for is
the system's interpreter.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.rendering.conversion import landlock

INPUT = "input"
OUTPUT = "output.pdf"
_PROFILE = "profile"
#: Where LibreOffice makes its sockets, whatever TMPDIR says (`sal/osl/unx/pipe.cxx`).
SOCKETS = Path("/tmp")
#: What programs, their libraries and fonts are read from, besides the interpreter's own folders.
_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/var/cache/fontconfig", "/var/lib/libreoffice"),
    *("/var/spool/libreoffice", "/etc/libreoffice", "/etc/fonts", "/etc/alternatives", "/etc/ld.so.cache"),
    *("/etc/passwd", "/etc/nsswitch.conf", "/etc/localtime"),
)
_MAX_DESCRIPTORS = 1024
_WATCHDOG_STACK_BYTES = 256 << 10
#: Share of the memory limit in use from which the end of a program is put down to memory.
_NEAR_LIMIT = 0.5

Request = dict[str, Any]
Reply = dict[str, Any]


class ConversionError(Exception):
    """Why there is no PDF. `code` is that of an `OutcomeError`."""

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
        """The document, a copy: nothing lies beside it that it could refer to."""
        (path,) = self.folder.glob(f"{INPUT}*")
        return path

    def start(self, command: Sequence[str], output: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start a program; what it prints goes into a file."""
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
        """Kill what runs, and wait for it."""
        with self._lock:
            for program in self._programs:
                program.kill()
                program.wait()

    def leave(self) -> None:
        """End everything that was started, remove what was written, and end."""
        self.end_programs()
        remove_traces(self.folder)
        os.kill(0, signal.SIGKILL)  # the whole process group: what was started meanwhile, and by others, too
        os._exit(0)  # the first process of a namespace cannot kill itself, but the others end with it


def serve(work: Callable[[Workspace, Request], Reply]) -> None:
    """Do what is asked for, once, and stay until the parent goes."""
    request = json.loads(sys.stdin.buffer.readline())
    _set_limits(request)
    place = Workspace(Path(request["folder"]))
    threading.stack_size(_WATCHDOG_STACK_BYTES)
    watchdog = threading.Thread(target=_leave_with_parent, args=(place,), daemon=True)
    watchdog.start()
    reply = _reply(place, request, work)
    with suppress(BrokenPipeError):  # the parent has gone: the watchdog is cleaning up
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
    watchdog.join()


def remove_traces(folder: Path) -> None:
    """Remove a workplace, and the sockets that LibreOffice made for it: by the name it was told, and by its profile."""
    shutil.rmtree(folder, ignore_errors=True)
    # `desktop/source/app/officeipcthread.cxx`: the MD5 of the profile's URL in UTF-16, its bytes in hex without zeros.
    digest = hashlib.md5((folder / _PROFILE).as_uri().encode("utf-16-le"), usedforsecurity=False).digest()
    profile = "".join(f"{byte:x}" for byte in digest)
    for name in (folder.name, f"SingleOfficeIPC_{profile}"):
        for socket in SOCKETS.glob(f"OSL_PIPE_*_{name}"):
            with suppress(OSError):
                socket.unlink()


def died(name: str, status: int) -> ConversionError:
    """Return what to tell of a program that ended unasked, by its exit status as `Popen.returncode` has it."""
    if status == -signal.SIGXCPU:
        return ConversionError("render_timeout", f"{name} took more CPU time than a conversion may")
    if status == -signal.SIGXFSZ:
        return ConversionError("limit", f"{name} was about to write a file that is too large")
    if status >= 0:
        return ConversionError("render_crashed", f"{name} ended with exit status {status}")
    return ConversionError("render_crashed", f"{name} crashed with {signal.Signals(-status).name}")


def _reply(place: Workspace, request: Request, work: Callable[[Workspace, Request], Reply]) -> Reply:
    try:
        _copy(request["descriptor"], place.folder / (INPUT + request["suffix"]))
        # This thread, and so what it starts, is restricted; the watchdog stays as it is.
        readable = (*_SYSTEM, sys.prefix, sys.base_prefix, *request["readable"])
        landlock.restrict(map(Path, readable), place.folder, SOCKETS)
        return work(place, request)
    except ConversionError as error:
        failed = error
    except Exception as error:  # the parent tells people; nobody reads this process's stderr
        failed = ConversionError("render_crashed", f"the conversion failed: {type(error).__name__}: {error}"[:500])
    place.end_programs()
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if failed.code in ("corrupt", "render_crashed") and peak_kib >= _NEAR_LIMIT * request["memory_mb"] * 1024:
        failed = ConversionError("render_memory", f"more than {request['memory_mb']} MiB of memory were wanted")
    return {"error": failed.code, "message": str(failed)}


def _leave_with_parent(place: Workspace) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    place.leave()


def _set_limits(request: Request) -> None:
    os.umask(0o077)
    for kind, value in (
        (resource.RLIMIT_DATA, request["memory_mb"] << 20),
        (resource.RLIMIT_FSIZE, request["file_bytes"]),
        (resource.RLIMIT_CPU, request["cpu_seconds"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MAX_DESCRIPTORS),
    ):
        hard = resource.getrlimit(kind)[1]
        # Where both are equal, too much CPU time ends in SIGKILL, which does not tell what it was.
        highest = value + 1 if kind == resource.RLIMIT_CPU else value
        highest = highest if hard == resource.RLIM_INFINITY else min(highest, hard)
        resource.setrlimit(kind, (min(value, highest), highest))


def _copy(descriptor: int, path: Path) -> None:
    """Copy a file without touching its position, which others may share."""
    offset = 0
    with path.open("wb") as copy:
        while count := os.sendfile(copy.fileno(), descriptor, offset, 1 << 24):
            offset += count
    os.close(descriptor)

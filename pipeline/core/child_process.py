"""A child process for untrusted or fragile work, seen from its parent: started, sent requests, timed, ended, reaped.

The sandbox, OCR and the conversion use it. `pipeline.core.child_side` is the other end.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipeline
from pipeline.core.child_side import FRAME_HEAD, send
from pipeline.core.errors import Stopped
from pipeline.core.retry import STOP_POLL_SECONDS, CancelToken

#: Folder of the package `pipeline`. Children get its path, so that they find it wherever it is installed.
PACKAGE_HOME = Path(pipeline.__path__[0]).parent
#: A child's whole environment, to which callers add; no key or token of the parent is in it.
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8"}
#: Isolated: without `PYTHON*` variables, user site, current directory and bytecode, since a child may not write files.
_FLAGS = ("-IB", "-Wignore")
_CODE = "import sys; sys.path.append(sys.argv.pop(1)); from {module} import main; main()"
_RECEIVED_AT_ONCE = 1 << 20
_POLL_SECONDS = 0.005
#: Interval at which the CPU time and the tasks of a child are read while its reply is awaited. It takes 0.015 ms, for a
#: group 2 ms.
_CPU_POLL_SECONDS = 0.25
#: Processes and threads that a child and its programs may be at once. LibreOffice has about 30, and ONNX one per core.
MAX_TASKS = 500
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_SHORTEST_TIMEOUT_SECONDS = 1e-3


def python_command(module: str, interpreter: str = sys.executable) -> tuple[str, ...]:
    """Return the command that calls `main` of a module in an isolated interpreter; arguments may follow it."""
    return (interpreter, *_FLAGS, "-c", _CODE.format(module=module), str(PACKAGE_HOME))


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The time that a child may take for one request. CPU time decides: the load of the machine does not change it.

    The wall clock is behind it and ends a child that waits for something that never comes.
    """

    cpu_seconds: float
    wall_seconds: float


class CpuTimeExceeded(TimeoutError):
    """A child used more CPU time than its request may take."""


class TooManyTasks(OSError):
    """A child and its programs were more than `MAX_TASKS` processes and threads."""


@dataclass(frozen=True, slots=True)
class ReplyBounds:
    """How many bytes a child may send in one reply."""

    header_bytes: int
    payload_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How a child ended."""

    exit_code: int
    """Negative for a signal, as `Popen.returncode` has it."""
    peak_kib: int
    """Most memory that was resident at once, in KiB."""
    cpu_seconds: float
    """CPU time of the child, and of the programs for which it waited."""


@dataclass(frozen=True, slots=True)
class _Usage:
    """What a child, or a child and its programs, use."""

    cpu_seconds: float
    tasks: int
    """Processes and threads."""


class ChildProcess:
    """A running child and the socket to it. Used by one thread at a time.

    Args:
        command: starts the child; the descriptor of its socket is appended as the last argument.
        environment: the child's whole environment.
        bounds: size of its replies.
        programs: whether the child starts programs, whose CPU time counts as its own.

    Raises:
        OSError: the command cannot be started.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], bounds: ReplyBounds, *, programs: bool = False
    ) -> None:
        self._bounds = bounds
        self._programs = programs
        self._end: ChildEnd | None = None
        self._connection, theirs = socket.socketpair()
        try:
            with theirs:
                # A process group of its own: Ctrl-C at the terminal is for the parent, which decides what to finish.
                self._process = subprocess.Popen(
                    [*command, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=environment,
                    cwd="/",
                    process_group=0,
                )
        except BaseException:
            self._connection.close()
            raise

    def send(
        self,
        header: Mapping[str, Any],
        payloads: Sequence[bytes | memoryview] = (),
        *,
        descriptor: int | None = None,
        deadline: float,
    ) -> None:
        """Send a request; a descriptor is sent as a duplicate.

        Raises:
            TimeoutError: the child does not read it before the deadline, a value of `time.monotonic`.
            OSError: the child has closed its socket.
        """
        self._connection.settimeout(_seconds_until(deadline))
        send(self._connection, header, payloads, descriptor)

    def receive(
        self, deadline: float, cancel: CancelToken | None = None, *, cpu_until: float = math.inf
    ) -> tuple[bytes, bytes]:
        """Return the next reply: its JSON, which is not parsed yet, and its raw bytes.

        Raises:
            TimeoutError: the reply is not complete before the deadline, a value of `time.monotonic`.
            CpuTimeExceeded: it is not complete before the child's CPU time is more than `cpu_until` seconds.
            TooManyTasks: the child fills the process table.
            EOFError, ConnectionError: the child has closed its socket.
            ValueError: the reply is larger than its bounds.
            Stopped: `cancel` was stopped.
        """
        wait = _Wait(deadline, cpu_until, cancel)
        header_bytes, payload_bytes = FRAME_HEAD.unpack(self._read(FRAME_HEAD.size, wait))
        if header_bytes > self._bounds.header_bytes or payload_bytes > self._bounds.payload_bytes:
            raise ValueError(f"a reply of {header_bytes} and {payload_bytes} bytes")
        header = self._read(header_bytes, wait)
        payload = self._read(payload_bytes, wait)
        _require_few_tasks(self._usage())
        return header, payload

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the child has used since its start, with that of its programs; to 10 ms."""
        return self._end.cpu_seconds if self._end is not None else self._usage().cpu_seconds

    @property
    def alive(self) -> bool:
        """Whether the child was not reaped yet; it may have ended without having been noticed."""
        return self._end is None

    def wait(self, seconds: float) -> ChildEnd | None:
        """Return how the child ended, or None if it still runs after `seconds`."""
        if self._end is None and self._has_ended(time.monotonic() + seconds):
            self._reap()
        return self._end

    def end(self, grace_seconds: float = 0) -> ChildEnd:
        """Close the socket, kill what still runs of the child's process group after `grace_seconds`, and reap it."""
        if self._end is not None:
            return self._end
        if grace_seconds:
            self._connection.close()
            self._has_ended(time.monotonic() + grace_seconds)
        # Before the child is reaped: then its number may belong to another process.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._reap()

    def _usage(self) -> _Usage:
        pid = self._process.pid
        return _sum_of(_group_members(pid) if self._programs else [_stat(pid)])

    def _has_ended(self, deadline: float) -> bool:
        while os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _reap(self) -> ChildEnd:
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._connection.close()
        self._end = ChildEnd(self._process.returncode, usage.ru_maxrss, usage.ru_utime + usage.ru_stime)
        return self._end

    def _read(self, size: int, wait: _Wait) -> bytes:
        received = bytearray()
        while len(received) < size:
            part = self._read_some(size - len(received), wait)
            if not part:
                raise EOFError("the child closed its socket")
            received += part
        return bytes(received)

    def _read_some(self, size: int, wait: _Wait) -> bytes:
        while True:
            if wait.cancel is not None and wait.cancel.stopped:
                raise Stopped("stopped while a child process was at work")
            self._connection.settimeout(min(_seconds_until(wait.deadline), wait.poll_seconds))
            try:
                return self._connection.recv(min(size, _RECEIVED_AT_ONCE))
            except TimeoutError:
                usage = self._usage()
                _require_few_tasks(usage)
                if usage.cpu_seconds > wait.cpu_until:
                    raise CpuTimeExceeded from None
                if time.monotonic() >= wait.deadline:
                    raise


@dataclass(frozen=True, slots=True)
class _Wait:
    """What ends the wait for a reply."""

    deadline: float
    cpu_until: float
    cancel: CancelToken | None

    @property
    def poll_seconds(self) -> float:
        """Longest time between two looks at the child's usage and the cancel token."""
        return STOP_POLL_SECONDS if self.cancel is not None else _CPU_POLL_SECONDS


def _sum_of(processes: Iterable[list[bytes]]) -> _Usage:
    """Return the CPU time of processes, with that of the children that they have waited for, and their threads.

    A process that was reaped has no fields and counts nothing.
    """
    known = [fields for fields in processes if fields]
    ticks = sum(int(ticks) for fields in known for ticks in fields[11:15])  # utime, stime, cutime, cstime
    return _Usage(ticks / _TICKS_PER_SECOND, sum(int(fields[17]) for fields in known))


def _require_few_tasks(usage: _Usage) -> None:
    if usage.tasks > MAX_TASKS:
        raise TooManyTasks(f"more than {MAX_TASKS} processes and threads")


def _group_members(group: int) -> Iterator[list[bytes]]:
    """Yield the fields of the processes of a process group and of groups that its members began, zombies included.

    /proc has no shorter way on every kernel. A conversion's keeper begins a group for its worker and the programs.
    """
    found = {int(name): _stat(int(name)) for name in os.listdir("/proc") if name.isdecimal()}
    begun = {pid for pid, fields in found.items() if fields and int(fields[2]) == group}
    groups = {group} | {int(fields[2]) for fields in found.values() if fields and int(fields[1]) in begun}
    yield from (fields for fields in found.values() if fields and int(fields[2]) in groups)


def _stat(pid: int) -> list[bytes]:
    """Return the fields of proc_pid_stat(5) from the third (state) on; none for a process that has gone."""
    try:
        return Path("/proc", str(pid), "stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _seconds_until(deadline: float) -> float:
    return max(deadline - time.monotonic(), _SHORTEST_TIMEOUT_SECONDS)

"""A child process for untrusted or fragile work, seen from its parent: started, sent requests, timed, ended, reaped.

The sandbox, OCR and the conversion use it. `pipeline.core.child_side` is the other end.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
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
_SHORTEST_TIMEOUT_SECONDS = 1e-3


def python_command(module: str, interpreter: str = sys.executable) -> tuple[str, ...]:
    """Return the command that calls `main` of a module in an isolated interpreter; arguments may follow it."""
    return (interpreter, *_FLAGS, "-c", _CODE.format(module=module), str(PACKAGE_HOME))


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


class ChildProcess:
    """A running child and the socket to it. Used by one thread at a time.

    Args:
        command: starts the child; the descriptor of its socket is appended as the last argument.
        environment: the child's whole environment.
        bounds: size of its replies.

    Raises:
        OSError: the command cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], bounds: ReplyBounds) -> None:
        self._bounds = bounds
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

    def receive(self, deadline: float, cancel: CancelToken | None = None) -> tuple[bytes, bytes]:
        """Return the next reply: its JSON, which is not parsed yet, and its raw bytes.

        Raises:
            TimeoutError: the reply is not complete before the deadline, a value of `time.monotonic`.
            EOFError, ConnectionError: the child has closed its socket.
            ValueError: the reply is larger than its bounds.
            Stopped: `cancel` was stopped.
        """
        header_bytes, payload_bytes = FRAME_HEAD.unpack(self._read(FRAME_HEAD.size, deadline, cancel))
        if header_bytes > self._bounds.header_bytes or payload_bytes > self._bounds.payload_bytes:
            raise ValueError(f"a reply of {header_bytes} and {payload_bytes} bytes")
        header = self._read(header_bytes, deadline, cancel)
        return header, self._read(payload_bytes, deadline, cancel)

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
        self._end = ChildEnd(self._process.returncode, usage.ru_maxrss)
        return self._end

    def _read(self, size: int, deadline: float, cancel: CancelToken | None) -> bytes:
        received = bytearray()
        while len(received) < size:
            part = self._read_some(size - len(received), deadline, cancel)
            if not part:
                raise EOFError("the child closed its socket")
            received += part
        return bytes(received)

    def _read_some(self, size: int, deadline: float, cancel: CancelToken | None) -> bytes:
        while True:
            if cancel is not None and cancel.stopped:
                raise Stopped("stopped while a child process was at work")
            seconds = _seconds_until(deadline)
            self._connection.settimeout(seconds if cancel is None else min(seconds, STOP_POLL_SECONDS))
            try:
                return self._connection.recv(min(size, _RECEIVED_AT_ONCE))
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise


def _seconds_until(deadline: float) -> float:
    return max(deadline - time.monotonic(), _SHORTEST_TIMEOUT_SECONDS)

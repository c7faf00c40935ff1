"""The child's side of `pipeline.core.child_process`: the wire format, limits, and the end with the parent.

Parent and child talk over a stream socket, in frames: two lengths (4 bytes each, network order), a JSON object and raw
bytes. A file descriptor may be sent beside the first byte of a request.

Standard library only, and compatible with Python 3.9: children run by the system's interpreter, to which LibreOffice's
bindings belong, import this module.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from pipeline.core.confinement import Confinement, confine

#: Lengths of a frame's JSON object and of its raw bytes.
FRAME_HEAD = struct.Struct("!II")
_WATCHDOG_STACK_BYTES = 256 << 10
#: Share of a memory limit from which the end of a process is attributed to memory.
_NEAR_LIMIT = 0.5


class EndCause(Enum):
    """Why a process ended."""

    EXIT = "exit"
    CPU_TIME = "cpu_time"
    FILE_SIZE = "file_size"
    KILLED = "killed"
    """By SIGKILL or SIGTERM, which a process does not send to itself."""
    CRASH = "crash"


_CAUSES: dict[int, EndCause] = {
    signal.SIGXCPU: EndCause.CPU_TIME,
    signal.SIGXFSZ: EndCause.FILE_SIZE,
    signal.SIGKILL: EndCause.KILLED,
    signal.SIGTERM: EndCause.KILLED,
}


def end_cause(exit_code: int) -> EndCause:
    """Return why a process ended, by its exit code: negative for a signal, as `Popen.returncode` has it."""
    return EndCause.EXIT if exit_code >= 0 else _CAUSES.get(-exit_code, EndCause.CRASH)


def signal_name(exit_code: int) -> str:
    """Return the name of the signal that ended a process."""
    number = -exit_code
    return signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"


def is_near_limit(peak_kib: int, memory_mb: int) -> bool:
    """Whether a peak of memory explains that a process with this limit (MiB) failed."""
    return peak_kib >= _NEAR_LIMIT * memory_mb * 1024


def send(
    connection: socket.socket,
    header: Mapping[str, Any],
    payloads: Sequence[bytes | memoryview] = (),
    descriptor: int | None = None,
) -> None:
    """Send a frame; a descriptor is sent as a duplicate."""
    body = json.dumps(header).encode()
    message = FRAME_HEAD.pack(len(body), sum(map(len, payloads))) + body
    if descriptor is not None:
        message = message[socket.send_fds(connection, [message], [descriptor]) :]
    connection.sendall(message)
    for payload in payloads:
        connection.sendall(payload)


def receive(connection: socket.socket) -> tuple[dict[str, Any], bytes, int | None] | None:
    """Return the parent's next request, its raw bytes and its descriptor; None when the parent has gone."""
    head, descriptors, _, _ = socket.recv_fds(connection, FRAME_HEAD.size, 1)
    if len(head) < FRAME_HEAD.size:
        return None
    body, payload = (_read(connection, size) for size in FRAME_HEAD.unpack(head))
    if body is None or payload is None:
        return None
    return json.loads(body), payload, descriptors[0] if descriptors else None


def begin(connection: socket.socket, rights: Confinement, leave: Callable[[], object]) -> threading.Thread:
    """Confine this process, then start the watchdog, which calls `leave` when the parent closes the connection.

    Every child calls this before it reads untrusted bytes, loads a decoder or starts a thread. `leave` runs in the
    watchdog's thread, even while the main thread is in a C call. The kernel's parent-death signal is not used: it is
    sent when the *thread* that started the child ends.

    Raises:
        OSError: the kernel refuses a layer of the confinement that it has.
    """
    confine(rights)
    return _watch(connection, leave)


def _watch(connection: socket.socket, leave: Callable[[], object]) -> threading.Thread:
    def watch() -> None:
        hangup = select.poll()
        hangup.register(connection, 0)
        hangup.poll()
        leave()

    usual = threading.stack_size(_WATCHDOG_STACK_BYTES)
    watchdog = threading.Thread(target=watch, daemon=True)
    watchdog.start()
    threading.stack_size(usual)
    return watchdog


def _read(connection: socket.socket, size: int) -> bytes | None:
    received = bytearray()
    while len(received) < size:
        part = connection.recv(size - len(received), socket.MSG_WAITALL)
        if not part:
            return None
        received += part
    return bytes(received)

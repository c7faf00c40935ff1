"""One sandbox process, seen from its parent: started, asked, timed, ended."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

import pipeline
from pipeline.core.errors import OutcomeError, RenderCrashed, RenderOutOfMemory, RenderTimeout, ServiceRefused
from pipeline.rendering.protocol import (
    MAX_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    REPLY_HEAD,
    RenderLimits,
    send_request,
)
from pipeline.rendering.replies import FailedReply, Reply, StartedReply

#: Isolated: no `PYTHON*` variables, no user site, no current directory; no bytecode, since nothing may be written.
#: The package's own place is handed over, so that it is found however it was installed.
CHILD_COMMAND = (
    sys.executable,
    "-IB",
    "-Wignore",
    "-c",
    "import sys; sys.path.append(sys.argv[1]); from pipeline.rendering.sandbox.child import main; main()",
)
_PACKAGE_HOME = str(Path(pipeline.__path__[0]).parent)
#: A cold start on a busy machine takes seconds; longer than this it is broken.
_START_SECONDS = 60
#: How long a process may take from closing its socket to being gone.
_EXIT_SECONDS = 2
#: One malloc arena instead of one per thread, each of which would reserve 64 MiB of address space.
_ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "1"}
#: How a decoder ends itself when memory is refused: C++ aborts, PDFium traps.
_GIVING_UP = (signal.SIGABRT, signal.SIGTRAP, signal.SIGILL)
#: Share of the memory limit in use from which such an end is put down to memory.
_NEAR_LIMIT = 0.5

#: How the JSON of a failure begins.
_FAILED = b'{"error":'

R = TypeVar("R", bound=Reply)


class SandboxKilled(RenderCrashed):
    """The child was ended from outside. The page that it worked on may well be innocent."""


class SandboxProcess:
    """A child that decodes one file at a time. Any failure but an orderly one ends it; `alive` tells."""

    def __init__(self, command: Sequence[str], limits: RenderLimits, *, keep_gps: bool) -> None:
        """Start a child.

        Raises:
            ServiceRefused: it does not come up, which no document is to blame for.
        """
        self._limits = limits
        self._connection, theirs = socket.socketpair()
        options = json.dumps({"limits": asdict(limits), "keep_gps": keep_gps})
        with theirs:
            # A process group of its own: Ctrl-C at the terminal is for the parent, which decides what to finish.
            self._process = subprocess.Popen(
                [*command, _PACKAGE_HOME, str(theirs.fileno()), options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_ENVIRONMENT,
                cwd="/",
                process_group=0,
            )
        self.alive = True
        try:
            started, _ = self._receive(StartedReply, time.monotonic() + _START_SECONDS)
        except OutcomeError as error:
            raise ServiceRefused(
                "sandbox",
                f"the sandbox process does not start: {error}",
                remedy="Reinstall Pagesight in this environment, or raise PAGESIGHT_SANDBOX_MEMORY_MB.",
            ) from error
        self._inherited_peak_kib = started.peak_kib

    def ask(self, request: dict[str, Any], expected: type[R], descriptor: int | None = None) -> tuple[R, bytes]:
        """Send a request, and return the reply with its bytes.

        Raises:
            RenderTimeout: no reply within `page_seconds`; the child is dead.
            RenderCrashed: the child died, or answered nonsense and is dead.
            RenderOutOfMemory: the limit of memory ended it.
            OutcomeError: what the child reports about the file.
        """
        deadline = time.monotonic() + self._limits.page_seconds
        try:
            send_request(self._connection, request, descriptor)
        except OSError:
            raise self._post_mortem() from None
        return self._receive(expected, deadline)

    def stream(
        self, request: dict[str, Any], expected: type[R], is_last: Callable[[R], bool]
    ) -> Iterator[tuple[R, bytes]]:
        """Send a request, and yield its replies with their bytes up to the last one. Who stops before ends the child.

        Raises:
            RenderTimeout, RenderCrashed, RenderOutOfMemory, OutcomeError: as `ask` raises them, each reply in its time.
        """
        try:
            reply, payload = self.ask(request, expected)
            while not is_last(reply):
                yield reply, payload
                reply, payload = self._receive(expected, time.monotonic() + self._limits.page_seconds)
        except GeneratorExit:
            self.end()
            raise

    def has_died(self) -> bool:
        """Whether the child is gone, be it unasked: one that was killed while idle must cost nobody's page."""
        if self.alive and os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            self._reap()
        return not self.alive

    def end(self) -> None:
        """Kill the child and wait for it."""
        if self.alive:
            os.kill(self._process.pid, signal.SIGKILL)
            self._reap()

    def _receive(self, expected: type[R], deadline: float) -> tuple[R, bytes]:
        try:
            sizes = REPLY_HEAD.unpack(self._read(REPLY_HEAD.size, deadline))
            if sizes[0] > MAX_HEADER_BYTES or sizes[1] > MAX_PAYLOAD_BYTES:
                raise ValueError("oversized reply")
            header = self._read(sizes[0], deadline)
            payload = self._read(sizes[1], deadline)
            if header.startswith(_FAILED):
                failure = FailedReply.model_validate_json(header).as_error()
            else:
                return expected.model_validate_json(header), payload
        except TimeoutError:
            self.end()
            raise RenderTimeout(f"not done within {self._limits.page_seconds:g} seconds") from None
        except (EOFError, ConnectionError):
            raise self._post_mortem() from None
        except (KeyError, ValidationError, ValueError):
            self.end()
            raise RenderCrashed("the sandbox process answered something that cannot be understood") from None
        if isinstance(failure, RenderOutOfMemory | RenderCrashed):
            self.end()  # what it still holds would be missing for the next page
        raise failure

    def _read(self, size: int, deadline: float) -> bytes:
        received = bytearray()
        while len(received) < size:
            self._connection.settimeout(max(deadline - time.monotonic(), 1e-3))
            part = self._connection.recv(min(size - len(received), 1 << 20))
            if not part:
                raise EOFError
            received += part
        return bytes(received)

    def _post_mortem(self) -> OutcomeError:
        """Wait for a child that has closed its socket, and tell what it died of."""
        deadline = time.monotonic() + _EXIT_SECONDS
        while self.alive:
            if time.monotonic() > deadline:
                self.end()
                return RenderCrashed("the sandbox process stopped answering")
            if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                time.sleep(0.005)
                continue
            return self._cause(*self._reap())
        return RenderCrashed("the sandbox process is gone")

    def _reap(self) -> tuple[int, resource.struct_rusage]:
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._connection.close()
        self.alive = False
        return self._process.returncode, usage

    def _cause(self, exit_code: int, usage: resource.struct_rusage) -> OutcomeError:
        if exit_code >= 0:
            return RenderCrashed(f"the sandbox process ended with exit status {exit_code}")
        number = -exit_code
        name = signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"
        if number == signal.SIGXCPU:
            return RenderTimeout(f"more than {self._limits.page_seconds:g} seconds of CPU time were wanted")
        peak_kib = usage.ru_maxrss if usage.ru_maxrss > self._inherited_peak_kib else 0
        if number in _GIVING_UP and peak_kib >= _NEAR_LIMIT * self._limits.memory_mb * 1024:
            return RenderOutOfMemory(f"the decoder gave up ({name}) near the limit of {self._limits.memory_mb} MiB")
        if number in (signal.SIGKILL, signal.SIGTERM):
            return SandboxKilled(f"the sandbox process was ended by {name} from outside: a person, or a lack of memory")
        return RenderCrashed(f"the decoder crashed with {name}")

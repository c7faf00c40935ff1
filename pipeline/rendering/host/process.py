"""The parent's side of one sandbox process: requests, replies, time limits, and the cause of its end."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import ValidationError

from pipeline.core.child_process import (
    ENVIRONMENT,
    ChildEnd,
    ChildProcess,
    CpuTimeExceeded,
    ReplyBounds,
    TooManyTasks,
    python_command,
)
from pipeline.core.child_side import EndCause, end_cause, is_near_limit, signal_name
from pipeline.core.errors import OutcomeError, RenderCrashed, RenderOutOfMemory, RenderTimeout, ServiceRefused
from pipeline.rendering.protocol import MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES, RenderLimits
from pipeline.rendering.replies import FailedReply, Reply, StartedReply

CHILD_COMMAND = python_command("pipeline.rendering.sandbox.child")
#: A cold start on a busy machine takes a few seconds. A process that takes longer than this is broken.
_START_SECONDS = 60
#: How long a process may take to end after it closed its socket.
_EXIT_SECONDS = 2
#: All threads share one malloc arena. An arena for each thread would reserve 64 MiB of address space.
_ENVIRONMENT = {**ENVIRONMENT, "MALLOC_ARENA_MAX": "1"}
_BOUNDS = ReplyBounds(MAX_HEADER_BYTES, MAX_PAYLOAD_BYTES)
#: Signals by which a decoder ends itself when it gets no memory: C++ aborts, PDFium traps.
_GIVING_UP = (signal.SIGABRT, signal.SIGTRAP, signal.SIGILL)

#: How the JSON of a failure begins.
_FAILED = b'{"error":'

R = TypeVar("R", bound=Reply)


class SandboxKilled(RenderCrashed):
    """The child was ended from outside. The page that it was decoding is probably not the cause."""


class SandboxProcess:
    """A child that decodes one file at a time.

    An error of the file that the child reports leaves it running. Every other failure ends it.
    """

    def __init__(self, command: Sequence[str], limits: RenderLimits, *, keep_gps: bool) -> None:
        """Start a child.

        Raises:
            ServiceRefused: it does not start. No document is the cause.
        """
        self._limits = limits
        options = json.dumps({"limits": asdict(limits), "keep_gps": keep_gps})
        self._child = ChildProcess([*command, options], _ENVIRONMENT, _BOUNDS)
        try:
            started, _ = self._receive(StartedReply, time.monotonic() + _START_SECONDS)
        except OutcomeError as error:
            raise ServiceRefused(
                "sandbox",
                f"the sandbox process does not start: {error}",
                remedy="Reinstall Pagesight in this environment, or raise PAGESIGHT_SANDBOX_MEMORY_MB.",
            ) from error
        self._inherited_peak_kib = started.peak_kib

    @property
    def alive(self) -> bool:
        """Whether the child can be sent a request. It may already have ended unnoticed."""
        return self._child.alive

    def ask(self, request: dict[str, Any], expected: type[R], descriptor: int | None = None) -> tuple[R, bytes]:
        """Send a request, and return the reply with its bytes.

        Raises:
            RenderTimeout: no reply within `page_seconds` of CPU time, or within `wall_seconds`; the child is dead.
            RenderCrashed: the child died, or sent an invalid reply and is dead.
            RenderOutOfMemory: the memory limit ended it.
            OutcomeError: the child reports an error of the file.
        """
        deadline, cpu_until = self._until()
        try:
            self._child.send(request, descriptor=descriptor, deadline=deadline)
        except TimeoutError as error:
            raise self._timed_out(error) from None
        except OSError:
            raise self._find_cause() from None
        return self._receive(expected, deadline, cpu_until)

    def stream(
        self, request: dict[str, Any], expected: type[R], is_last: Callable[[R], bool]
    ) -> Iterator[tuple[R, bytes]]:
        """Send a request, and yield its replies with their bytes, without the last one.

        A caller that stops before the last reply ends the child.

        Raises:
            RenderTimeout, RenderCrashed, RenderOutOfMemory, OutcomeError: as `ask` raises them; the time limit is for
                each reply.
        """
        try:
            reply, payload = self.ask(request, expected)
            while not is_last(reply):
                yield reply, payload
                reply, payload = self._receive(expected, *self._until())
        except GeneratorExit:
            self.end()
            raise

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the child has used since its start."""
        return self._child.cpu_seconds

    def has_died(self) -> bool:
        """Whether the child has ended. Checked before each page, so that no page fails because an idle child died."""
        return self._child.wait(0) is not None

    def end(self) -> None:
        """Kill the child and wait for it."""
        self._child.end()

    def _until(self) -> tuple[float, float]:
        """Return the time, and the CPU time of the child, at which a request that begins now is over its limit."""
        return time.monotonic() + self._limits.wall_seconds, self._child.cpu_seconds + self._limits.page_seconds

    def _receive(self, expected: type[R], deadline: float, cpu_until: float = math.inf) -> tuple[R, bytes]:
        try:
            header, payload = self._child.receive(deadline, cpu_until=cpu_until)
            if not header.startswith(_FAILED):
                return expected.model_validate_json(header), payload
            failure = FailedReply.model_validate_json(header).as_error()
        except TimeoutError as error:
            raise self._timed_out(error) from None
        except (EOFError, ConnectionError):
            raise self._find_cause() from None
        except TooManyTasks as error:
            self.end()
            raise RenderCrashed(f"the sandbox process became {error}") from None
        except (KeyError, ValidationError, ValueError):
            self.end()
            raise RenderCrashed("the sandbox process sent a reply that cannot be understood") from None
        if isinstance(failure, RenderOutOfMemory | RenderCrashed):
            self.end()  # it may still hold memory that the next page needs
        raise failure

    def _timed_out(self, error: TimeoutError) -> OutcomeError:
        self.end()
        if isinstance(error, CpuTimeExceeded):
            return self._over_cpu_time()
        return RenderTimeout(
            f"not done within {self._limits.wall_seconds:g} seconds by the clock",
            remedy="Run less beside Pagesight on this machine, or raise PAGESIGHT_PAGE_WALL_SECONDS.",
        )

    def _over_cpu_time(self) -> OutcomeError:
        return RenderTimeout(f"more than {self._limits.page_seconds:g} seconds of CPU time were needed")

    def _find_cause(self) -> OutcomeError:
        """Wait for a child that has closed its socket, and return why it ended."""
        ended = self._child.wait(_EXIT_SECONDS)
        if ended is not None:
            return self._cause(ended)
        self.end()
        return RenderCrashed("the sandbox process stopped answering")

    def _cause(self, ended: ChildEnd) -> OutcomeError:
        cause = end_cause(ended.exit_code)
        if cause is EndCause.EXIT:
            return RenderCrashed(f"the sandbox process ended with exit status {ended.exit_code}")
        if cause is EndCause.CPU_TIME:
            return self._over_cpu_time()
        name = signal_name(ended.exit_code)
        if -ended.exit_code in _GIVING_UP and self._was_near_limit(ended):
            return RenderOutOfMemory(f"the decoder gave up ({name}) near the limit of {self._limits.memory_mb} MiB")
        if cause is EndCause.KILLED:
            return SandboxKilled(f"the sandbox process was ended by {name} from outside: a person, or a lack of memory")
        return RenderCrashed(f"the decoder crashed with {name}")

    def _was_near_limit(self, ended: ChildEnd) -> bool:
        # Linux reports the parent's peak as the child's until the child exceeds it.
        return ended.peak_kib > self._inherited_peak_kib and is_near_limit(ended.peak_kib, self._limits.memory_mb)

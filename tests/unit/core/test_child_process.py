"""Child processes: each ending is noticed, named, and leaves no process behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.core import child_process
from pipeline.core.child_process import (
    ENVIRONMENT,
    PACKAGE_HOME,
    ChildProcess,
    CpuTimeExceeded,
    ReplyBounds,
    TooManyTasks,
)
from pipeline.core.child_side import EndCause, end_cause, is_near_limit, signal_name
from pipeline.core.errors import Stopped
from pipeline.core.retry import CancelToken

#: Does what a real child does before it serves; the body that follows may use `s`, `receive` and `send`.
BEGIN = f"""
import os, resource, signal, socket, subprocess, sys, threading, time
sys.path.append({str(PACKAGE_HOME)!r})
from pipeline.core.child_side import begin, receive, send
from pipeline.core.confinement import Confinement, interpreter_paths
s = socket.socket(fileno=int(sys.argv[-1]))
begin(s, Confinement(interpreter_paths(), programs=True, limits={{resource.RLIMIT_NOFILE: 40}}), lambda: os._exit(0))
"""
ECHOES = "\nwhile (got := receive(s)): send(s, got[0], (got[1],))"


def start(body: str, bounds: ReplyBounds | None = None, *, programs: bool = False) -> ChildProcess:
    command = (sys.executable, "-IBc", BEGIN + body)
    return ChildProcess(command, ENVIRONMENT, bounds or ReplyBounds(1000, 1 << 22), programs=programs)


def soon(seconds: float = 30) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def echo() -> Iterator[ChildProcess]:
    child = start(ECHOES)
    yield child
    child.end()


def test_requests_and_replies_keep_their_bytes(echo: ChildProcess) -> None:
    pixels = os.urandom(3 << 20)
    for header in ({"first": 1}, {"second": "zwei"}):
        echo.send(header, (pixels[:100], memoryview(pixels)[100:]), deadline=soon())
        told, payload = echo.receive(soon())
        assert (str(header).replace("'", '"').encode(), pixels) == (told, payload)


def test_a_descriptor_travels_with_its_request(tmp_path: Path) -> None:
    child = start("\nfile = open(receive(s)[2], 'rb'); send(s, {}, (file.read(),))")
    path = tmp_path / "document"
    path.write_bytes(b"bytes")
    with path.open("rb") as file:
        child.send({}, descriptor=file.fileno(), deadline=soon())
    assert child.receive(soon()) == (b"{}", b"bytes")
    child.end()


def test_a_child_is_confined_before_its_first_thread_starts() -> None:
    body = "\nsend(s, {'core': resource.getrlimit(resource.RLIMIT_CORE), 'files': resource.getrlimit(7)})"
    assert resource.RLIMIT_NOFILE == 7
    child = start(body)
    assert child.receive(soon())[0] == b'{"core": [0, 0], "files": [40, 40]}'
    child.end()


def test_a_late_reply_times_out(echo: ChildProcess) -> None:
    with pytest.raises(TimeoutError):
        echo.receive(soon(0.1))


SPINS = "'while __import__(\"time\").process_time() < {}: 0'"


@pytest.mark.parametrize(
    "spinning",
    [
        pytest.param("send(s, {})\nwhile True: pass", id="the child"),
        pytest.param(
            f"program = subprocess.Popen([sys.executable, '-c', {SPINS.format(600)}])\nsend(s, {{}})\nprogram.wait()",
            id="its program",
        ),
        pytest.param(
            f"send(s, {{}})\nfor _ in '123':\n subprocess.run([sys.executable, '-c', {SPINS.format(0.6)}])"
            "\ntime.sleep(600)",
            id="programs that have ended",
        ),
    ],
)
def test_cpu_time_ends_a_wait_and_time_alone_does_not(spinning: str) -> None:
    child = start("\n" + spinning, programs=True)
    child.receive(soon())
    with pytest.raises(CpuTimeExceeded):
        child.receive(soon(120), cpu_until=1.0)
    child.end()


def test_a_child_that_waits_uses_no_cpu_time(echo: ChildProcess) -> None:
    with pytest.raises(TimeoutError) as raised:
        echo.receive(soon(1), cpu_until=echo.cpu_seconds + 0.5)
    assert not isinstance(raised.value, CpuTimeExceeded)


MANY = {
    "processes": (True, "if not os.fork(): time.sleep(600)"),
    "threads": (False, "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"),
}


@pytest.mark.parametrize("then", ["time.sleep(600)", "send(s, {})"], ids=["and works on", "and replies"])
@pytest.mark.parametrize(("programs", "begin"), MANY.values(), ids=MANY)
def test_a_child_that_fills_the_process_table_is_ended(
    monkeypatch: pytest.MonkeyPatch, programs: bool, begin: str, then: str
) -> None:
    monkeypatch.setattr(child_process, "MAX_TASKS", 20)
    child = start(f"\nfor _ in range(30):\n {begin}\n{then}\ntime.sleep(600)", programs=programs)
    with pytest.raises(TooManyTasks, match="more than 20 processes and threads"):
        child.receive(soon())
    assert child.end().exit_code == -signal.SIGKILL


def test_a_request_that_is_not_read_times_out() -> None:
    child = start("\ntime.sleep(600)")
    with pytest.raises(TimeoutError):
        child.send({}, (bytes(4 << 20),), deadline=soon(1))
    child.end()


def test_a_cancelled_wait_stops(echo: ChildProcess) -> None:
    cancel = CancelToken()
    cancel.stop()
    with pytest.raises(Stopped):
        echo.receive(soon(), cancel)


@pytest.mark.parametrize("bounds", [ReplyBounds(1, 1 << 22), ReplyBounds(1000, 1)])
def test_an_oversized_reply_is_refused(bounds: ReplyBounds) -> None:
    child = start(ECHOES, bounds)
    child.send({"a": 1}, (b"two bytes",), deadline=soon())
    with pytest.raises(ValueError, match="a reply of"):
        child.receive(soon())
    child.end()


def test_an_exit_is_noticed_with_its_status() -> None:
    child = start("\nsys.exit(3)")
    with pytest.raises(EOFError):
        child.receive(soon())
    ended = child.wait(30)
    assert ended is not None
    assert (ended.exit_code, child.alive) == (3, False)
    assert child.end() == ended  # ends once only


def test_waiting_for_a_living_child_ends_without_a_result(echo: ChildProcess) -> None:
    assert echo.wait(0) is None
    assert echo.alive


def test_ending_a_child_ends_its_process_group() -> None:
    child = start("\nprogram = subprocess.Popen(['sleep', '600']); send(s, {'pid': program.pid}); time.sleep(600)")
    number = int(child.receive(soon())[0].split()[-1].rstrip(b"}"))
    assert child.end().exit_code == -signal.SIGKILL
    deadline = soon()
    while psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_child_may_end_by_itself_when_its_socket_is_closed() -> None:
    child = start("\nsend(s, {}); time.sleep(600)")
    child.receive(soon())
    assert child.end(grace_seconds=30).exit_code == 0  # the watchdog's `os._exit(0)`


def test_a_child_ends_with_its_parent_even_while_it_is_busy() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from pipeline.core.child_process import *\n"
            "child = ChildProcess(sys.argv[1:], ENVIRONMENT, ReplyBounds(1000))\n"
            "print(child.receive(time.monotonic() + 30)[0].decode(), flush=True)\n"
            "time.sleep(600)",
            *(sys.executable, "-IBc", BEGIN + "\nsend(s, {'pid': os.getpid()})\nwhile True: pass"),
        ],
        stdout=subprocess.PIPE,
    )
    with parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline().split()[-1].rstrip(b"}\n")))
        parent.kill()
    assert psutil.wait_procs([child], timeout=60)[1] == []


def test_a_command_that_is_missing_leaves_no_socket() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        ChildProcess(("/no/such/program",), ENVIRONMENT, ReplyBounds(1))
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("exit_code", "cause"),
    [
        (0, EndCause.EXIT),
        (3, EndCause.EXIT),
        (-signal.SIGXCPU, EndCause.CPU_TIME),
        (-signal.SIGXFSZ, EndCause.FILE_SIZE),
        (-signal.SIGKILL, EndCause.KILLED),
        (-signal.SIGTERM, EndCause.KILLED),
        (-signal.SIGSEGV, EndCause.CRASH),
        (-64, EndCause.CRASH),
    ],
)
def test_each_end_has_a_cause(exit_code: int, cause: EndCause) -> None:
    assert end_cause(exit_code) is cause


def test_signals_have_names() -> None:
    assert (signal_name(-11), signal_name(-63)) == ("SIGSEGV", "signal 63")


def test_half_of_a_memory_limit_is_near_it() -> None:
    assert is_near_limit(512 * 1024, 1024)
    assert not is_near_limit(512 * 1024 - 1, 1024)


def test_cpu_time_of_a_group_that_a_child_begins_counts_as_its_own() -> None:
    """A conversion's worker has a group of its own."""
    script = "import os; pid = os.fork(); pid or os.setpgid(0, 0)\nwhile not pid: pass\nos.waitpid(pid, 0)"
    child = ChildProcess([sys.executable, "-c", script], ENVIRONMENT, ReplyBounds(0), programs=True)
    deadline = time.monotonic() + 60
    while child.cpu_seconds < 0.5 and time.monotonic() < deadline:
        time.sleep(0.05)
    used = child.cpu_seconds
    (worker,) = psutil.Process(child._process.pid).children()
    worker.kill()
    child.end()
    assert used >= 0.5

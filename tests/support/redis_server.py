"""A Redis of a test's own: started, killed, emptied and stopped at will."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipeline.core.errors import ServiceRefused
from pipeline.local.redis import HOST, answers, find_redis_server
from support.elasticsearch_node import skip_or_fail

START_SECONDS = 60.0


class RedisServer:
    """One server process. Its port stays the same through `restart`, so that clients find it again."""

    #: Port with TLS, where its options have one.
    tls_port = 0

    def __init__(
        self, executable: Path, folder: Path, *, appendonly: bool = False, options: Sequence[str] = ()
    ) -> None:
        self._executable = executable
        self._folder = folder
        self._appendonly = appendonly
        self._options = options
        with socket.create_server((HOST, 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was not started"
        return self._process

    def start(self) -> None:
        """Return once it answers."""
        kept = "yes" if self._appendonly else "no"
        options = ["--bind", HOST, "--port", str(self.port), "--save", "", "--appendonly", kept, *self._options]
        self._process = subprocess.Popen(
            [self._executable, *options, "--dir", self._folder, "--logfile", self._folder / "redis.log"],
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.url):
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM, and wait. A server that was frozen goes on first."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop answering, with all connections open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def restart(self, *, empty: bool = True) -> None:
        """Kill it and start it anew. Only `appendonly` servers hold anything then, unless `empty`."""
        self.kill()
        if empty:
            for place in self._folder.iterdir():
                shutil.rmtree(place) if place.is_dir() else place.unlink()
        self.start()

    @property
    def log(self) -> str:
        path = self._folder / "redis.log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(20)
            self._process = None


@pytest.fixture(scope="session")
def redis_executable() -> Path:
    """The server program."""
    try:
        return find_redis_server()
    except ServiceRefused as error:
        skip_or_fail(f"no Redis: {error}")
        raise


@pytest.fixture
def redis_appendonly() -> bool:
    """Whether the server keeps on disk what it holds; tests that want that override it."""
    return False


@pytest.fixture
def redis_server(redis_executable: Path, redis_appendonly: bool) -> Iterator[RedisServer]:
    """An empty server."""
    with tempfile.TemporaryDirectory(prefix="pagesight-redis-") as folder:
        server = RedisServer(redis_executable, Path(folder), appendonly=redis_appendonly)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty server."""
    return redis_server.url

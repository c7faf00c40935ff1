"""`rediss://`, `unix://` and ACL users: every client connects as the URL says, and never without TLS."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from celery import Celery

from pipeline.core.errors import ServiceRefused, ServiceUnavailable
from pipeline.core.settings import Settings, load
from support.certificates import write_certificates
from support.redis_server import RedisServer
from workers.app import configuration
from workers.redis.connection import connect
from workers.redis.limits import FleetLimiter
from workers.redis.queues import RedisQueues

HOST = "127.0.0.1"
#: First byte of a TLS handshake.
HANDSHAKE = 0x16
#: A user name and a password whose characters a URL reserves.
USER, PASSWORD = "fleet", "p@ss/w:rd?#%"
ENCODED = "p%40ss%2Fw%3Ard%3F%23%25"
SECONDS = 60.0


class Listener:
    """A port that keeps the first byte of each connection, and closes it."""

    def __init__(self) -> None:
        self.first_bytes: list[int] = []
        self._server = socket.create_server((HOST, 0))
        self.url = f"rediss://{USER}:{ENCODED}@{HOST}:{self._server.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def until_heard(self) -> None:
        deadline = time.monotonic() + SECONDS
        while not self.first_bytes:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                with connection, suppress(OSError):
                    connection.settimeout(SECONDS)
                    self.first_bytes += connection.recv(1)


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def _settings(**changes: object) -> Settings:
    return load().model_copy(update=changes)


@contextmanager
def celery(folder: Path, command: str, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """A Celery process with the application's own configuration."""
    words = ["worker", "--pool", "threads", "-c", "1"] if command == "worker" else ["beat"]
    environ = os.environ | {f"PAGESIGHT_{name.upper()}": str(value) for name, value in settings.items()}
    with (folder / f"{command}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "support.configured_app", *words],
            cwd=folder,
            env=environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(20)


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_a_worker_and_a_beat_begin_with_a_handshake(listener: Listener, tmp_path: Path, command: str) -> None:
    with celery(tmp_path, command, redis_url=listener.url):
        listener.until_heard()
    assert set(listener.first_bytes) == {HANDSHAKE}


def test_clients_and_the_limiter_begin_with_a_handshake(listener: Listener) -> None:
    settings = _settings(redis_url=listener.url)
    client = connect(settings)
    with pytest.raises(ServiceUnavailable):
        RedisQueues(client).depths()
    with pytest.raises(ServiceUnavailable):
        FleetLimiter(client, settings, lease_seconds=5).renew()
    assert set(listener.first_bytes) == {HANDSHAKE}
    assert len(listener.first_bytes) >= 2


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    return write_certificates(tmp_path)


@pytest.fixture
def tls_server(redis_executable: Path, certificates: Path, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that speaks TLS on a second port, and listens on a socket. Its default user is off."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    acl = tmp_path / "users.acl"
    acl.write_text(f"user default on nopass ~* &* -@all +ping\nuser {USER} on >{PASSWORD} ~* &* +@all\n")
    options = ["--aclfile", str(acl), "--unixsocket", str(tmp_path / "redis socket"), "--tls-port", str(port)]
    options += ["--tls-cert-file", str(certificates / "server.pem"), "--tls-key-file", str(certificates / "server.key")]
    options += ["--tls-ca-cert-file", str(certificates / "ca.pem"), "--tls-auth-clients", "no"]
    server = RedisServer(redis_executable, tmp_path, options=options)
    server.tls_port = port
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["rediss", "unix"])
def settings(request: pytest.FixtureRequest, tls_server: RedisServer, certificates: Path) -> Settings:
    """Settings of a fleet that reaches the server in this way, as a user of its access list."""
    if request.param == "unix":
        path = str(certificates / "redis socket").replace(" ", "%20")
        return _settings(redis_url=f"unix://{USER}:{ENCODED}@{path}?db=0")
    url = f"rediss://{USER}:{ENCODED}@{HOST}:{tls_server.tls_port}/0"
    return _settings(redis_url=url, redis_ca_certs=certificates / "ca.pem")


def test_a_message_goes_from_a_client_through_a_worker(settings: Settings, tmp_path: Path) -> None:
    connection: dict[str, object] = {"redis_url": settings.redis_url}
    if settings.redis_ca_certs:
        connection["redis_ca_certs"] = settings.redis_ca_certs
    client = connect(settings)
    _app(settings).send_task("configured.mark", queue="normal")
    assert RedisQueues(client).depths()["normal"] == 1
    FleetLimiter(client, settings, lease_seconds=5).renew()
    with celery(tmp_path, "worker", **connection):
        deadline = time.monotonic() + SECONDS
        while not client.exists("test:mark"):
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()
            time.sleep(0.05)


def test_a_certificate_of_a_foreign_authority_is_refused(tls_server: RedisServer) -> None:
    settings = _settings(redis_url=f"rediss://{USER}:{ENCODED}@{HOST}:{tls_server.tls_port}/0")
    with pytest.raises(ServiceRefused, match="certificate") as caught:
        RedisQueues(connect(settings)).depths()
    assert "PAGESIGHT_REDIS_CA_CERTS" in caught.value.remedy


def test_a_certificate_of_another_host_is_refused(tls_server: RedisServer, certificates: Path) -> None:
    url = f"rediss://{USER}:{ENCODED}@localhost:{tls_server.tls_port}/0"
    with pytest.raises(ServiceRefused, match="certificate"):
        RedisQueues(connect(_settings(redis_url=url, redis_ca_certs=certificates / "ca.pem"))).depths()


def _app(settings: Settings) -> Celery:
    app = Celery("client")
    app.conf.update({**configuration(settings), "imports": []})
    return app


def test_the_application_shows_no_password() -> None:
    shown = configuration(_settings(redis_url=f"rediss://{USER}:{ENCODED}@{HOST}:1/0"))
    assert PASSWORD not in repr(shown)
    assert ENCODED not in repr(shown)

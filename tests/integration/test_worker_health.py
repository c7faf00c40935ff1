"""The health server over a real socket, and what hostile clients can do to it."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any

import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.http_server import ConnectionLimits
from workers.observability import health
from workers.observability.health import Check, Health
from workers.observability.metrics import Metrics

Serve = Callable[..., "Client"]


class Client:
    """Asks one health server."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def json(self, path: str) -> tuple[int, dict[str, Any]]:
        status, body = self.ask(path)
        return status, json.loads(body)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts health servers; they are stopped at the end."""
    servers: list[Health] = []

    def start(
        checks: dict[str, Check] | None = None,
        last_beat: Callable[[], float] = time.monotonic,
        metrics: Metrics | None = None,
        facts: Callable[[], dict[str, Any]] = dict,
    ) -> Client:
        servers.append(Health((metrics or Metrics()).registry, last_beat, checks or {}, facts))
        return Client(servers[-1].start("127.0.0.1", 0))

    yield start
    for server in servers:
        server.stop()


def fine() -> None:
    return None


def test_a_worker_whose_housekeeping_steps_is_alive(serve: Serve) -> None:
    assert serve().json("/livez") == (200, {"live": True})


def test_a_worker_whose_housekeeping_hangs_is_not_alive(serve: Serve) -> None:
    began = time.monotonic()
    status, body = serve(last_beat=lambda: began - 75).json("/livez")

    assert status == 503
    assert body["live"] is False
    assert "housekeeping" in body["cause"]


def test_a_worker_is_ready_when_every_check_is_fine(serve: Serve) -> None:
    client = serve({"redis": fine, "fleet": fine})

    assert client.json("/readyz") == (200, {"ready": True, "checks": {"redis": "fine", "fleet": "fine"}})


def test_facts_are_told_and_do_not_decide(serve: Serve) -> None:
    client = serve({"redis": fine}, facts=lambda: {"last_tick": None})

    assert client.json("/readyz") == (200, {"ready": True, "checks": {"redis": "fine"}, "last_tick": None})


def test_one_check_that_is_not_fine_makes_it_not_ready_and_is_named(serve: Serve) -> None:
    def refused() -> str:
        raise ConnectionError("redis://:verysecret@redis:6379 refused")

    status, body = serve({"redis": refused, "fleet": lambda: "halted: no balance", "archive": fine}).json("/readyz")

    assert status == 503
    assert body["checks"]["fleet"] == "halted: no balance"
    assert body["checks"]["archive"] == "fine"
    assert "ConnectionError" in body["checks"]["redis"]
    assert "verysecret" not in body["checks"]["redis"]


def test_a_check_that_hangs_is_answered_for_and_not_begun_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(health, "CACHE_SECONDS", 0.0)
    ending = threading.Event()
    begun: list[None] = []

    def hang() -> None:
        begun.append(None)
        ending.wait()

    client = serve({"elasticsearch": hang, "redis": fine})
    answers = [client.json("/readyz") for _ in range(3)]
    ending.set()

    assert {status for status, _ in answers} == {503}
    assert all("did not answer" in body["checks"]["elasticsearch"] for _, body in answers)
    assert all(body["checks"]["redis"] == "fine" for _, body in answers)
    assert len(begun) == 1


def test_many_who_ask_cost_one_check_and_a_later_one_sees_what_changed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []

    def away_at_first() -> str | None:
        asked.append(None)
        return "away" if len(asked) == 1 else None

    client = serve({"redis": away_at_first})
    assert {client.ask("/readyz")[0] for _ in range(5)} == {503}
    assert len(asked) == 1

    monkeypatch.setattr(health, "CACHE_SECONDS", 0.0)
    assert client.ask("/readyz")[0] == 200


def test_metrics_are_served_as_prometheus_reads_them(serve: Serve) -> None:
    metrics = Metrics()
    metrics.depths({"urgent": 3})

    status, body = serve(metrics=metrics).ask("/metrics")

    assert status == 200
    assert 'pagesight_queue_depth{lane="urgent"} 3.0' in body


def test_a_foreign_name_for_this_machine_is_refused(serve: Serve) -> None:
    client = serve()
    for host, status in (("127.0.0.1:9", 200), ("localhost", 200), ("attacker.example", 403), ("", 403)):
        assert client.ask("/metrics", headers={"Host": host})[0] == status


def test_500_idle_connections_keep_no_probe_out(serve: Serve) -> None:
    client = serve()
    idle = [client.connect() for _ in range(500)]
    try:
        assert client.json("/livez") == (200, {"live": True})
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.parametrize("path", ["/", "/livez/..", "/etc/passwd", "/<script>", "/metrics%00"])
def test_there_is_nothing_else(serve: Serve, path: str) -> None:
    status, body = serve().ask(path)

    assert status == 404
    assert path.strip("/") == "" or path not in body


@pytest.mark.parametrize(("method", "status"), [("POST", 405), ("DELETE", 405), ("CONNECT", 405), ("<b>", 400)])
def test_nothing_can_be_done_to_it(serve: Serve, method: str, status: int) -> None:
    client = serve()

    assert client.ask("/livez", method)[0] == status
    assert client.ask("/livez")[0] == 200


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n" * 500 + b"\r\n",
        b"\x00\xff\x16\x03\x01\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"",
    ],
    ids=["a long path", "many headers", "no HTTP", "another version", "nothing"],
)
def test_what_is_no_request_does_no_harm(serve: Serve, capfd: pytest.CaptureFixture[str], bytes_sent: bytes) -> None:
    client = serve()

    with client.connect() as connection:
        try:
            connection.sendall(bytes_sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
        except ConnectionError:
            pass  # it may hang up before it has read everything

    assert client.ask("/livez")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_connection_takes_one_request(serve: Serve) -> None:
    with serve().connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
        answers = b"".join(iter(lambda: connection.recv(65_536), b""))

    assert answers.count(b"HTTP/1.1 200") == 1


def test_slow_clients_are_cut_off_and_hold_no_more_than_their_number_of_threads(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = ConnectionLimits(connections=4, per_address=4, request_seconds=1.0, answer_seconds=1.0)
    monkeypatch.setattr(health, "LIMITS", limits)
    client = serve()
    threads = threading.active_count()
    slow = [client.connect() for _ in range(12)]
    try:
        for connection in slow:
            connection.sendall(b"GET /livez HT")
        assert threading.active_count() <= threads + 4

        for connection in slow:
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    finally:
        for connection in slow:
            connection.close()
    _within(60, lambda: client.ask("/livez")[0] == 200)


def _within(seconds: float, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except ConnectionError:
            pass
        time.sleep(0.05)
    pytest.fail("it did not come to that")


def test_a_port_in_use_names_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(SettingsError, match=f"worker_port: 127.0.0.1:{port}") as caught:
            Health(Metrics().registry, time.monotonic, {}).start("127.0.0.1", port)

    assert "PAGESIGHT_WORKER_PORT" in caught.value.remedy


def test_after_its_end_the_port_is_free_again_and_no_thread_is_left() -> None:
    first = Health(Metrics().registry, time.monotonic, {})
    port = first.start("127.0.0.1", 0)
    Client(port).ask("/livez")
    with Client(port).connect() as idle:
        first.stop()
        assert idle.recv(1) == b""
    assert "health" not in {thread.name for thread in threading.enumerate()}

    second = Health(Metrics().registry, time.monotonic, {})
    assert second.start("127.0.0.1", port) == port
    second.stop()

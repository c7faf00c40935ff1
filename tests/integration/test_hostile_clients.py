"""Clients that are slow, idle or many, over real sockets: the others are still answered."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.http_server import HEAD_BYTES, ConnectionLimits
from support.serving import Served, image_of, page_of, served, shelve

#: Short, so that tests do not wait; an answer takes milliseconds.
LIMITS = ConnectionLimits(connections=40, per_address=30, request_seconds=2.0, answer_seconds=3.0)
#: What a client's kernel takes before the client reads. With less than a segment of the loopback, what the server's
#: kernel has left comes in tiny pieces: a hundred seconds for four megabytes.
UNREAD_BYTES = 64 * 1024
HALF_HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
HALF_BODY = b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhalf"
WHOLE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path / "archive")))


@pytest.fixture
def server(archive: Archive) -> Iterator[Served]:
    with served(archive, limits=LIMITS) as server:
        yield server


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(server: Served, sockets: ExitStack) -> socket.socket:
    return sockets.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))


def send(client: socket.socket, data: bytes) -> bool:
    """Return whether the server still takes bytes."""
    try:
        client.sendall(data)
    except ConnectionError:
        return False
    return True


def rest(client: socket.socket) -> bytes:
    """Return what the server sends until it closes the connection."""
    received = b""
    with suppress(ConnectionError):
        while part := client.recv(65_536):
            received += part
    return received


@pytest.mark.parametrize("begun", [b"", b"G", HALF_HEAD, HALF_BODY, WHOLE + HALF_HEAD, WHOLE + HALF_BODY])
def test_a_request_that_drips_in_is_ended(server: Served, sockets: ExitStack, begun: bytes) -> None:
    slow = connect(server, sockets)
    slow.sendall(begun)
    dripped = 0
    while send(slow, b"a"):
        dripped += 1
        assert dripped < 200, "the connection outlives its limit many times"
        time.sleep(0.05)
    assert server.ask("/livez").status == 200


def test_a_second_request_has_its_time_for_itself(server: Served, sockets: ExitStack) -> None:
    client = connect(server, sockets)
    for _ in range(4):
        client.sendall(WHOLE)
        answer = b""
        while not answer.endswith(b"live\n"):
            answer += client.recv(65_536) or pytest.fail("the connection was closed")
        time.sleep(LIMITS.request_seconds / 2)


def test_500_idle_connections_keep_nobody_out(archive: Archive, server: Served, sockets: ExitStack) -> None:
    url = page_of(shelve(archive))
    for number in range(500):
        idle = connect(server, sockets)
        if number % 2:
            send(idle, HALF_HEAD)
        if number % 50 == 0:
            assert server.ask(url).status == 200
    assert server.ask(url).status == 200


def test_a_client_that_takes_no_answer_is_ended(archive: Archive, server: Served, sockets: ExitStack) -> None:
    url = page_of(shelve(archive, text="word " * 2_000_000))
    client = connect(server, sockets)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD_BYTES)
    client.sendall(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    time.sleep(LIMITS.answer_seconds + 1)
    received = rest(client)

    assert received.startswith(b"HTTP/1.1 200")
    assert len(received) < 10_000_000
    assert len(server.ask(url).body) > 10_000_000


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * (HEAD_BYTES // 4) + b"\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"c" * 3 * HEAD_BYTES + b"\r\n\r\n",
    ],
    ids=["line", "headers", "cookie"],
)
def test_a_head_beyond_its_limit_is_refused_safely(server: Served, sockets: ExitStack, head: bytes) -> None:
    client = connect(server, sockets)
    send(client, head)
    answer = rest(client)

    assert b" 200 " not in answer
    assert server.ask("/livez").status == 200


def test_every_answer_has_the_headers_that_protect_it(archive: Archive, server: Served) -> None:
    reading = shelve(archive)
    page, image = page_of(reading), image_of(reading)
    for path in (page, image, "/livez", "/", "/none", "/view/viewer.css", f"{page}?page=1"):
        headers = server.ask(path).headers
        assert headers.get_all("Cross-Origin-Resource-Policy") == ["same-origin"], path
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"], path
        assert headers.get_all("Referrer-Policy") == ["no-referrer"], path
        assert "frame-ancestors 'self'" in headers["Content-Security-Policy"], path
    assert server.ask(image_of(reading), method="POST").headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_cannot_embed_what_an_open_server_shows(archive: Archive, server: Served, site: str) -> None:
    reading = shelve(archive)
    for url in (image_of(reading), page_of(reading)):
        for mode, kind in (("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe"), ("no-cors", "script")):
            asked = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": kind}
            assert server.ask(url, asked).status == 403, asked
        followed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert server.ask(url, followed).status == 200
        own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
        assert server.ask(url, own).status == 200

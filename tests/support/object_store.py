"""An S3-compatible store for tests: moto's server in a process of its own, and a proxy before it that makes faults."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

PROGRAM = Path(__file__).with_name("moto_process.py")
START_SECONDS = 60.0
#: No test of ours may reach a real account.
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


class ObjectStore:
    """The server of a session; every bucket is a test's own."""

    def __init__(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, str(PROGRAM), str(port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError("moto's server did not start")
            time.sleep(0.05)
        self.client = boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
        )

    def bucket(self) -> Bucket:
        name = f"test-{uuid.uuid4().hex}"
        self.client.create_bucket(Bucket=name)
        return Bucket(self, name)

    def close(self) -> None:
        if hasattr(self, "client"):
            self.client.close()
        self._process.kill()
        self._process.wait()


class Bucket:
    """A bucket, looked at past the code under test."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self.store = store
        self.name = name
        self.url = f"s3://{name}"

    def put(self, key: str, data: bytes) -> None:
        self.store.client.put_object(Bucket=self.name, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self.store.client.delete_object(Bucket=self.name, Key=key)

    def all_keys(self) -> list[str]:
        pages = self.store.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Request(BaseHTTPRequestHandler):
    """One request to the faulty store."""

    protocol_version = "HTTP/1.1"
    server: FaultyStore

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            self.server.requests.append((self.command, self.path))
            fault = self.server.faults.pop(0) if self.server.faults else None
        if fault is None:
            self.reply(*self.forward(body))
        else:
            fault(self, body)

    do_GET = do_POST = do_DELETE = do_HEAD = do_PUT

    def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self.server.upstream.removeprefix("http://"), timeout=60)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def reply(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        pass


Fault = Callable[[Request, bytes], None]


class FaultyStore(ThreadingHTTPServer):
    """A proxy; it refuses connections until it is opened."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        self._port = free_port()
        self.upstream = upstream
        self.url = f"http://127.0.0.1:{self._port}"
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        super().__init__(("127.0.0.1", self._port), Request)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
            self.server_close()
            self._thread = None


def says(status: int, code: str) -> Fault:
    """One request is answered with an error of S3."""

    def fault(request: Request, body: bytes) -> None:
        content = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>".encode()
        request.reply(status, [("Content-Type", "application/xml")], b"" if request.command == "HEAD" else content)

    return fault


def loses_the_answer(request: Request, body: bytes) -> None:
    """Everything is done, and nobody hears of it."""
    request.forward(body)
    request.close_connection = True


def breaks_off(request: Request, body: bytes) -> None:
    """Half of the answer arrives."""
    status, headers, content = request.forward(body)
    request.reply(status, headers, content[: len(content) // 2])
    request.close_connection = True


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    store = ObjectStore()
    yield store
    store.close()


@pytest.fixture
def bucket(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket, and an environment that leads to it."""
    point_at(object_store.url, monkeypatch)
    return object_store.bucket()


@pytest.fixture
def faulty_store(bucket: Bucket, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """A proxy, open, that the environment leads to."""
    faulty = FaultyStore(object_store.url)
    faulty.open()
    point_at(faulty.url, monkeypatch)
    yield faulty
    faulty.close()


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": url, "AWS_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)

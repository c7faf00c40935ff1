"""A real HTTP server before a real Elasticsearch that makes faults on bulk requests, one after the other.

Faults are named by what they do. Each is used up by one request; after the last, everything is passed on.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JSON_TYPE = "application/vnd.elasticsearch+json;compatible-with=9"


class Request(BaseHTTPRequestHandler):
    """One request to the faulty server; what it may do is the vocabulary of the faults."""

    protocol_version = "HTTP/1.1"
    server: FaultyElasticsearch
    body: bytes

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "_bulk" not in self.path:
            self.pass_on()
            return
        self.server.bulk_actions.append(self.actions)
        if self.server.faults:
            self.server.faults.pop(0)(self)
        else:
            self.pass_on()

    do_GET = do_PUT = do_DELETE = do_HEAD = do_POST

    @property
    def actions(self) -> int:
        return sum(b'"version_type"' in line for line in self.body.splitlines())

    def forward(self) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection(self.server.upstream.removeprefix("http://"), timeout=60)
        try:
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in {"host", "content-length"}
            }
            upstream.request(self.command, self.path, self.body, headers)
            answer = upstream.getresponse()
            kept = {
                name: answer.headers[name] for name in ("X-Elastic-Product", "Content-Type") if name in answer.headers
            }
            return answer.status, kept, answer.read()
        finally:
            upstream.close()

    def pass_on(self) -> None:
        self.reply(*self.forward())

    def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def reply_json(self, status: int, content: Any, **headers: str) -> None:
        headers = {"X-Elastic-Product": "Elasticsearch", "Content-Type": JSON_TYPE} | headers
        self.reply(status, headers, json.dumps(content).encode())

    def hang_up(self) -> None:
        self.close_connection = True

    def log_message(self, *words: Any) -> None:
        pass


Fault = Callable[[Request], None]


class FaultyElasticsearch(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: str, faults: Sequence[Fault]) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.upstream = upstream
        self.faults = list(faults)
        self.bulk_actions: list[int] = []
        """Actions in each bulk request so far."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def faulty(upstream: str, *faults: Fault) -> Iterator[FaultyElasticsearch]:
    server = FaultyElasticsearch(upstream, faults)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answers(status: int, **headers: str) -> Fault:
    """The whole request is answered with an error."""

    def fault(request: Request) -> None:
        error = {"type": "es_rejected_execution_exception", "reason": "no room in the queue"}
        request.reply_json(status, {"error": error, "status": status}, **headers)

    return fault


def answers_for_half_of_the_items(status: int) -> Fault:
    """Every second item is rejected and the others are written: a write queue that is full for one shard."""

    def fault(request: Request) -> None:
        lines = request.body.splitlines(keepends=True)
        pairs = [lines[at : at + 2] for at in range(0, len(lines), 2)]
        request.body = b"".join(line for pair in pairs[::2] for line in pair)
        _, _, content = request.forward()
        written = iter(json.loads(content)["items"])
        items = [next(written) if at % 2 == 0 else _rejected(pair[0], status) for at, pair in enumerate(pairs)]
        request.reply_json(200, {"took": 1, "errors": True, "items": items})

    return fault


def _rejected(action: bytes, status: int) -> dict[str, Any]:
    id = json.loads(action)["index"]["_id"]
    return {"index": {"_id": id, "status": status, "error": {"type": "rejected", "reason": "queue is full"}}}


def takes_at_most(actions: int) -> Fault:
    """A proxy with a small limit: 413 for more than so many actions, with an answer that is no JSON. Never used up."""

    def fault(request: Request) -> None:
        request.server.faults.append(fault)
        if request.actions > actions:
            request.reply(413, {"Content-Type": "text/html"}, b"<html>Request Entity Too Large</html>")
        else:
            request.pass_on()

    return fault


def hangs_up_unread(request: Request) -> None:
    """The connection ends before anything is written."""
    request.hang_up()


def hangs_up_after_writing(request: Request) -> None:
    """Everything is written, and the answer is lost."""
    request.forward()
    request.hang_up()


def hangs_up_in_the_middle_of_the_answer(request: Request) -> None:
    """Everything is written, and half of the answer arrives."""
    status, headers, content = request.forward()
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[: len(content) // 2])
    request.hang_up()

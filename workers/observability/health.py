"""A worker's small HTTP server: `/livez`, `/readyz` and `/metrics`, on the loopback interface unless set otherwise.

It tells and takes nothing: whatever is asked, one of three pages or an error is the answer. Who connects and says
nothing is cut off, and more than a few at once are turned away.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer, ThreadingTCPServer
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pipeline.core.errors import SettingsError
from pipeline.core.settings import masked

#: A housekeeping that has not stepped for so long hangs; its longest step is a request to Redis or the archive.
LIVE_SECONDS = 60.0
#: A check that takes longer counts as failed, and the page is answered.
CHECK_SECONDS = 3.0
#: How long the outcome of a check is good for.
CACHE_SECONDS = 5.0
#: From connecting to the end of the answer.
CONNECTION_SECONDS = 10.0
CONNECTIONS = 16
#: How often is looked for those that take too long.
_POLL_SECONDS = 0.2

Check = Callable[[], str | None]
"""Returns why it is not fine, or None."""

log = structlog.get_logger()


class Health:
    """What is told about a worker. `last_beat` is the monotonic time of the housekeeping's last step.

    Each check is one that `/readyz` names. It may hang or raise: that is its outcome then.
    """

    def __init__(
        self, registry: CollectorRegistry, last_beat: Callable[[], float], checks: Mapping[str, Check]
    ) -> None:
        self._registry = registry
        self._last_beat = last_beat
        self._checks = {name: _CachedCheck(check) for name, check in checks.items()}
        self._server: _Server | None = None

    def start(self, host: str, port: int) -> int:
        """Serve in a thread of its own, and return the port; 0 takes a free one.

        Raises:
            SettingsError: the address cannot be used.
        """
        try:
            self._server = _Server(host, port, self)
        except OSError as error:
            raise SettingsError(
                f"worker_port: {host}:{port} cannot be listened on: {error.strerror}",
                remedy="Give each worker of a machine its own PAGESIGHT_WORKER_PORT, or none with 0.",
            ) from None
        serve = partial(self._server.serve_forever, _POLL_SECONDS)
        threading.Thread(target=serve, name="health", daemon=True).start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def page(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Return status, content type and body of a page."""
        match path.partition("?")[0]:
            case "/livez":
                return self._livez()
            case "/readyz":
                return self._readyz()
            case "/metrics":
                return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)
            case _:
                return _json(HTTPStatus.NOT_FOUND, {"pages": ["/livez", "/readyz", "/metrics"]})

    def _livez(self) -> tuple[HTTPStatus, str, bytes]:
        silent = time.monotonic() - self._last_beat()
        if silent < LIVE_SECONDS:
            return _json(HTTPStatus.OK, {"live": True})
        cause = f"the housekeeping thread has not stepped for {silent:.0f} s"
        return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"live": False, "cause": cause})

    def _readyz(self) -> tuple[HTTPStatus, str, bytes]:
        outcomes = {name: check.begin() for name, check in self._checks.items()}
        wait(outcomes.values(), CHECK_SECONDS)
        causes = {name: _cause(outcome) for name, outcome in outcomes.items()}
        ready = not any(causes.values())
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _json(status, {"ready": ready, "checks": {name: cause or "fine" for name, cause in causes.items()}})


class _CachedCheck:
    """A check that is made every few seconds at most, and never twice at once, however often it is asked."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._outcome: Future[str | None] | None = None
        self._begun = 0.0
        self._lock = threading.Lock()

    def begin(self) -> Future[str | None]:
        """Return the outcome of the newest check, which may be still under way."""
        with self._lock:
            fresh = self._outcome is not None and (
                not self._outcome.done() or time.monotonic() < self._begun + CACHE_SECONDS
            )
            if self._outcome is None or not fresh:
                self._outcome, self._begun = Future(), time.monotonic()
                threading.Thread(target=self._look, args=(self._outcome,), name="check", daemon=True).start()
            return self._outcome

    def _look(self, outcome: Future[str | None]) -> None:
        try:
            outcome.set_result(self._check())
        except Exception as error:
            outcome.set_result(f"{type(error).__name__}: {error}")


def _cause(outcome: Future[str | None]) -> str | None:
    if not outcome.done():
        return f"it did not answer within {CHECK_SECONDS:.0f} s"
    cause = outcome.result()
    return masked(cause) if cause else None


def _json(status: HTTPStatus, body: Mapping[str, Any]) -> tuple[HTTPStatus, str, bytes]:
    return status, "application/json", json.dumps(body).encode() + b"\n"


class _Server(ThreadingTCPServer):
    """A thread for each connection. Not `http.server`'s own, which asks the name service who this machine is."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host: str, port: int, health: Health) -> None:
        self.health = health
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Turn a connection away where there are too many, else serve it."""
        with self._lock:
            full = len(self._open) >= CONNECTIONS
            if not full:
                self._open[request] = time.monotonic()
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off who takes too long."""
        with self._lock:
            late = [each for each, since in self._open.items() if time.monotonic() > since + CONNECTION_SECONDS]
            for each in late:
                _cut(each)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note that a client left in the middle; the server's own way is a traceback on stderr."""
        log.debug("a health request was broken off", exc_info=True)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has left already


class _Handler(BaseHTTPRequestHandler):
    server_version = "pagesight"
    sys_version = ""
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"
    server: BaseServer

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        status, content_type, body = self.server.health.page(self.path)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of requests: they come every few seconds."""

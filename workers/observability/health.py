"""A worker's HTTP server: `/livez`, `/readyz` and `/metrics`, on the loopback interface unless set otherwise.

It is read-only and serves only these three pages. The number and the duration of connections are limited, so that
clients cannot use up the worker's file descriptors.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from http import HTTPStatus
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.core.errors import SettingsError
from pipeline.core.http_server import SAFE_HEADERS, ConnectionLimits, make_server, names_this_machine
from pipeline.core.masking import masked

#: A housekeeping thread that makes no step for this time hangs. Its longest step is a request to Redis or the archive.
LIVE_SECONDS = 60.0
#: Time limit of a check. A check that exceeds it counts as failed.
CHECK_SECONDS = 3.0
#: Time for which the outcome of a check is reused.
CACHE_SECONDS = 5.0
#: One scraper and a few probes need no more connections.
LIMITS = ConnectionLimits(connections=16, per_address=16, request_seconds=5.0, answer_seconds=10.0)
#: Each connection takes one request.
HEADERS = {**SAFE_HEADERS, "Connection": "close"}
#: Time that a stopping server gives to answers in progress.
STOP_SECONDS = 1

Check = Callable[[], str | None]
"""Returns the cause of a failure, or None."""


class Health:
    """Reports the state of a worker. `last_beat` returns the monotonic time of the housekeeping's last step.

    `/readyz` names each check. A check that hangs or raises counts as failed. It also has the `facts`, which do not
    decide whether the worker is ready.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        last_beat: Callable[[], float],
        checks: Mapping[str, Check],
        facts: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._registry = registry
        self._last_beat = last_beat
        self._facts = facts
        self._checks = {name: _CachedCheck(check) for name, check in checks.items()}
        pages = {"/livez": self._livez, "/readyz": self._readyz, "/metrics": self._metrics}
        routes = [Route(path, page) for path, page in pages.items()]
        self._router = Router(routes, redirect_slashes=False, default=_not_found)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, host: str, port: int) -> int:
        """Serve in a separate thread, and return the port. Port 0 selects a free one.

        Raises:
            SettingsError: the address cannot be used.
        """
        try:
            listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            raise SettingsError(
                f"worker_port: {host}:{port} cannot be listened on: {error.strerror}",
                remedy="Give each worker of a machine its own PAGESIGHT_WORKER_PORT, or set it to 0 to serve nothing.",
            ) from None
        is_local = ipaddress.ip_address(listener.getsockname()[0]).is_loopback
        app = _for_this_machine(self._router) if is_local else self._router
        self._server = make_server(app, LIMITS, headers=HEADERS, grace_seconds=STOP_SECONDS)
        # Outside the main thread uvicorn installs no signal handlers.
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="health", daemon=True)
        self._thread.start()
        return int(listener.getsockname()[1])

    def stop(self) -> None:
        """Stop serving and free the port."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(STOP_SECONDS * 5)

    def _livez(self, _request: Request) -> Response:
        silent = time.monotonic() - self._last_beat()
        if silent < LIVE_SECONDS:
            return _json(HTTPStatus.OK, {"live": True})
        cause = f"the housekeeping thread has not stepped for {silent:.0f} s"
        return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"live": False, "cause": cause})

    def _readyz(self, _request: Request) -> Response:
        outcomes = {name: check.begin() for name, check in self._checks.items()}
        wait(outcomes.values(), CHECK_SECONDS)
        causes = {name: _cause(outcome) for name, outcome in outcomes.items()}
        ready = not any(causes.values())
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        fine = {name: cause or "fine" for name, cause in causes.items()}
        return _json(status, {"ready": ready, "checks": fine, **self._facts()})

    def _metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


class _CachedCheck:
    """Runs a check at most every few seconds, and never twice at once, whatever the number of requests."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._outcome: Future[str | None] | None = None
        self._begun = 0.0
        self._lock = threading.Lock()

    def begin(self) -> Future[str | None]:
        """Return the outcome of the newest run of the check, which may be unfinished."""
        with self._lock:
            fresh = self._outcome is not None and (
                not self._outcome.done() or time.monotonic() < self._begun + CACHE_SECONDS
            )
            if self._outcome is None or not fresh:
                self._outcome, self._begun = Future(), time.monotonic()
                threading.Thread(target=self._run, args=(self._outcome,), name="check", daemon=True).start()
            return self._outcome

    def _run(self, outcome: Future[str | None]) -> None:
        try:
            outcome.set_result(self._check())
        except Exception as error:
            outcome.set_result(f"{type(error).__name__}: {error}")


def _cause(outcome: Future[str | None]) -> str | None:
    if not outcome.done():
        return f"it did not answer within {CHECK_SECONDS:.0f} s"
    cause = outcome.result()
    return masked(cause) if cause else None


def _json(status: HTTPStatus, body: Mapping[str, Any]) -> Response:
    return Response(json.dumps(body) + "\n", status, media_type="application/json")


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    answer = _json(HTTPStatus.NOT_FOUND, {"pages": ["/livez", "/readyz", "/metrics"]})
    await answer(scope, receive, send)


def _for_this_machine(app: ASGIApp) -> ASGIApp:
    """Refuse requests that a browser sends for a foreign site whose name resolves to this machine (DNS rebinding)."""

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        is_ours = names_this_machine(Headers(scope=scope).get("host", ""))
        refusal = _json(HTTPStatus.FORBIDDEN, {"cause": "the Host header does not name this machine"})
        await (app if is_ours else refusal)(scope, receive, send)

    return checked

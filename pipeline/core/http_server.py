"""HTTP servers that slow, idle and many clients cannot use up: uvicorn, with the limits that it lacks.

uvicorn bounds the head of a request and idle time after an answer. It has no time limit for a request that arrives
slowly, and its `limit_concurrency` also refuses the clients that behave. So connections count here: where there are too
many, the one that has waited longest is closed for the new one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

#: Maximum size of a request line with its headers. Browsers send 1 to 4 kB.
HEAD_BYTES = 16 * 1024
#: Bytes that are handed to the parser at once: it measures a head only between two pieces.
_PIECE_BYTES = 4 * 1024
#: Time for which a connection without a request is kept after an answer.
IDLE_SECONDS = 5
#: Hosts in URLs of this machine. A foreign site whose name resolves to a loopback address (DNS rebinding) has another.
_THIS_MACHINE = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?")
#: Headers of every answer, whatever its content.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of one server."""

    connections: int = 256
    """Maximum number of open connections."""
    per_address: int = 128
    """Maximum number of open connections from one address; a proxy is one address."""
    request_seconds: float = 10.0
    """Time for a whole request, from connecting or from its first byte."""
    answer_seconds: float = 300.0
    """Time for a whole answer, from the end of the request until the client has taken it."""


def names_this_machine(host: str) -> bool:
    """Whether a `Host` header is a loopback name or address, with or without a port."""
    return _THIS_MACHINE.fullmatch(host) is not None


def make_server(
    app: ASGIApp, limits: ConnectionLimits, *, headers: Mapping[str, str], grace_seconds: int
) -> uvicorn.Server:
    """Return a server that logs no requests, since URLs contain keys, and leaves the logging of its process as it is.

    Args:
        headers: added to every answer, also to those that refuse a malformed request.
        grace_seconds: time that a stopping server gives to answers in progress.
    """
    config = uvicorn.Config(
        app,
        http=type("Connection", (LimitedConnection,), {"limits": limits}),
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        headers=list(headers.items()),
        forwarded_allow_ips="*",
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=grace_seconds,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    return uvicorn.Server(config)


class LimitedConnection(H11Protocol):
    """A connection with time limits, among a limited number of connections."""

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()
    since = 0.0
    """Time of the loop at which the connection last changed its state."""
    _deadline: asyncio.TimerHandle | None = None
    _last: RequestResponseCycle | None = None
    """The request before the one that is awaited or answered now."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of the first request, and close a connection if there are too many."""
        super().connection_made(transport)
        self._allow(self.limits.request_seconds)
        others = [other for other in self.connections if isinstance(other, LimitedConnection) and other.is_open]
        neighbours = [other for other in others if other.address == self.address]
        if len(neighbours) > self.limits.per_address:
            _close_one(neighbours)
        elif len(others) > self.limits.connections:
            _close_one(others)

    def data_received(self, data: bytes) -> None:
        """Parse a part of a request, and switch between the time limits."""
        if self._has_request() and self.is_waiting:
            self._last = self.cycle
            self._allow(self.limits.request_seconds)
        incomplete = not self._has_request()
        for begin in range(0, len(data), _PIECE_BYTES):
            if self.is_open:
                super().data_received(data[begin : begin + _PIECE_BYTES])
        if incomplete and self._has_request():
            self._allow(self.limits.answer_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the time limit."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    @property
    def is_open(self) -> bool:
        """Whether this side has not closed the connection."""
        return not self.transport.is_closing()

    @property
    def is_waiting(self) -> bool:
        """Whether the server waits for the client: for a request, for its rest, or until it takes an answer."""
        return self.cycle is None or self.cycle.more_body or self.cycle.response_complete

    @property
    def address(self) -> str | None:
        """Address of the client, without its port."""
        return self.client[0] if self.client else None

    def _has_request(self) -> bool:
        return self.cycle is not self._last and not self.cycle.more_body

    def _allow(self, seconds: float) -> None:
        """Close the connection after this time, unless its state changes before. Bytes that are not sent are lost."""
        if self._deadline is not None:
            self._deadline.cancel()
        self.since = self.loop.time()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)


def _close_one(connections: Iterable[LimitedConnection]) -> None:
    """Close the connection that has waited longest. The newest one always waits."""
    waiting = [connection for connection in connections if connection.is_waiting]
    min(waiting, key=lambda connection: connection.since).transport.abort()

"""The HTTP side: the documented endpoint, and a control plane under `/_standin/`."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import psutil

from jina_standin.faults import Fault, Kind
from jina_standin.protocol import (
    FIRST_QUESTION,
    Asked,
    Refusal,
    application_error,
    check_key,
    completion,
    describe,
    parse_request,
)
from jina_standin.state import State

if TYPE_CHECKING:
    from jina_standin.reading import ImageReader

#: How often a request that hangs looks whether its client has left.
HANG_POLL_SECONDS = 0.05


_ORDER = re.compile(r"say this:(.+)", re.IGNORECASE)
#: What is said instead of the answer.
_FAULTY: dict[Kind | None, Callable[[Asked], str]] = {
    Kind.LOOPING: lambda asked: "The table shows the same again. " * asked.max_tokens,
    Kind.EMPTY: lambda _: "",
    Kind.REFUSING: lambda _: "I'm sorry, but I can't help with the content of this image.",
    Kind.ECHOING: lambda asked: asked.prompt,
    Kind.DRIFTING: lambda _: "Na stronie widać list napisany na maszynie i okrągłą pieczęć w prawym górnym rogu.",
}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    #: Whole fleets connect at once.
    request_queue_size = 512

    def __init__(self, port: int, key: str | None, model: str, reader: ImageReader | None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.key = key
        self.model = model
        self.reader = reader
        self.state = State()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        # Clients that leave are part of the tests; anything else is a mistake in here and is shown.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        state = self.server.state
        if self.path == "/_standin/counters":
            self._send(200, state.counters())
        elif self.path == "/_standin/requests":
            self._send(200, list(state.requests))
        elif self.path == "/v1/models":
            self._answer(self._models)
        else:
            self._send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        state = self.server.state
        if self.path == "/v1/chat/completions":
            self._answer(lambda: self._chat(body))
        elif self.path == "/_standin/tell":
            self._control(lambda: state.tell(json.loads(body)))
        elif self.path == "/_standin/release":
            self._control(state.release)
        elif self.path == "/_standin/reset_counters":
            self._control(state.reset_counters)
        else:
            self._send(404, {"detail": "Not Found"})

    def _control(self, act: Any) -> None:
        try:
            act()
        except (KeyError, TypeError, ValueError) as error:
            self._send(400, {"detail": f"{type(error).__name__}: {error}"})
        else:
            self._send(200, {})

    def _answer(self, act: Any) -> None:
        try:
            answer = act()
        except Refusal as refusal:
            self._send(refusal.status, refusal.body, refusal.headers)
        else:
            if answer is not None:
                self._send(200, answer)

    def _models(self) -> dict[str, Any]:
        check_key(self.headers.get("Authorization"), self.server.key)
        return {"object": "list", "data": [{"id": f"jina-ai/{self.server.model}", "object": "model"}]}

    def _chat(self, body: bytes) -> dict[str, Any] | None:
        """The answer, or None where a fault has dealt with the connection. The call ends before its answer is sent,
        so that the next one of the same client is never counted beside it."""
        state = self.server.state
        # Taken before the fault is decided: one that is released in between must not hang for good.
        released = state.released
        entry: dict[str, Any] = {}
        try:
            if (first := self._first(body)) is not None:
                return first
            with state.in_flight_call():
                check_key(self.headers.get("Authorization"), self.server.key)
                asked = parse_request(body, self.server.model, state.manners)
                entry, fault = state.enter(asked)
                time.sleep(state.latency_seconds)
                answer = self._completed(asked, fault, released)
        except Refusal as refusal:
            if entry:
                entry["status"] = refusal.status
            else:
                with state.lock:
                    state.refused[str(refusal.status)] += 1
            raise
        if answer is not None and self._client_left():
            # Killed or timed out meanwhile: nobody has this answer.
            answer, self.close_connection = None, True
        entry["status"] = 200 if answer is not None else 0
        return answer

    def _first(self, body: bytes) -> dict[str, Any] | None:
        """The answer to the question that a process asks before its first page; None for any other request."""
        state = self.server.state
        if FIRST_QUESTION.encode() not in body:
            return None
        check_key(self.headers.get("Authorization"), self.server.key)
        asked = parse_request(body, self.server.model, state.manners)
        with state.lock:
            state.first_questions.append({"image_sha256": asked.image_sha256, "max_tokens": asked.max_tokens})
        return completion(asked, "Yes", self.server.model, cut_off=False, says_length=False)

    def _completed(self, asked: Asked, fault: Fault | None, released: threading.Event) -> dict[str, Any] | None:
        content = self._content(asked)
        kind = fault.kind if fault else None
        if fault is not None:
            _refuse(fault)
        if kind in _FAULTY:
            content = _FAULTY[kind](asked)
        if kind is Kind.OBEYING:
            content = self._ordered(asked) or content
        if kind is Kind.CUT_OFF:
            content = content[: len(content) // 2]
        says_length = self.server.state.manners.says_length
        answer = completion(asked, content, self.server.model, cut_off=kind is Kind.CUT_OFF, says_length=says_length)
        if kind is Kind.GARBLED:
            self._send_bytes(200, b'{"id": "chatcmpl-1", "choices": [{"mess\x00', {})
        elif kind is Kind.CLOSING:
            self._close_half_way(json.dumps(answer).encode())
        elif kind is Kind.HANGING and not self._hang(released):
            self.close_connection = True
        elif kind is Kind.DEADLY:
            self._kill_client()
            self.close_connection = True
        else:
            return answer
        return None

    def _content(self, asked: Asked) -> str:
        known = self.server.state.answers.get(asked.image_sha256, {})
        for piece, content in known.items():
            if piece not in ("description", "text") and piece in asked.prompt:
                return content
        name = "description" if asked.wants_description else "text"
        if name in known and asked.wants_own_words is asked.wants_description:
            return known[name]
        short = asked.image_sha256[:8]
        if asked.wants_own_words:
            return describe(short, asked.languages)
        if self.server.reader is not None:
            return self.server.reader.text(asked.image) or "NO TEXT"
        return f"Stand-in text {short}"

    def _ordered(self, asked: Asked) -> str | None:
        """What the image orders to be said, in one line."""
        reader = self.server.reader
        found = _ORDER.search(reader.text(asked.image)) if reader is not None else None
        return found[1].strip() if found else None

    def _hang(self, released: threading.Event) -> bool:
        """Wait until released (True) or until the client has left (False)."""
        while not released.wait(HANG_POLL_SECONDS):
            if self._client_left():
                return False
        return True

    def _kill_client(self) -> None:
        port = self.client_address[1]
        for connection in psutil.net_connections("tcp4"):
            if connection.laddr.port == port and connection.pid not in (None, os.getpid()):
                psutil.Process(connection.pid).kill()

    def _client_left(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        try:
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return True

    def _close_half_way(self, body: bytes) -> None:
        self._send_bytes(200, body[: len(body) // 2], {}, length=len(body))
        self.close_connection = True

    def _send(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self._send_bytes(status, json.dumps(body).encode(), headers or {})

    def _send_bytes(self, status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        # Headers and body in one piece; two would wait for each other's acknowledgement.
        self._headers_buffer.append(b"\r\n" + body)  # type: ignore[attr-defined]
        self.flush_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: `/_standin/requests` tells."""


def _refuse(fault: Fault) -> None:
    if fault.kind is Kind.COLD:
        raise Refusal(503, {"message": "Service Unavailable"}, fault.headers)
    if fault.kind is Kind.LIMITED:
        raise Refusal(429, {"detail": "Rate limit exceeded"}, fault.headers)
    if fault.kind is Kind.BROKE:
        raise application_error(403, "AUTHZ_INSUFFICIENT_BALANCE", "Insufficient account balance")
    if fault.kind is Kind.BAD_KEY:
        raise application_error(401, "AUTH_INVALID_API_KEY", "Invalid API key")
    if fault.kind is Kind.STATUS:
        raise Refusal(fault.status, {"error": {"message": "stand-in fault"}}, fault.headers)

"""Translates the errors of a model's endpoint into `pipeline.core.errors`. This map has no other home.

    no connection, 5xx, 408, 425           ServiceUnavailable: wait
    timeout, connection cut, 500, 504      the same, and the request itself is suspect
    429                                    ServiceThrottled: all callers wait
    401, 402, 403, unknown model,
    wrong address, redirect, TLS           ServiceRefused: stop, with the setting to change
    any other 4xx                          AnswerRefused: this page only
    200 without an answer                  AnswerUnusable (`pipeline.vision.endpoint.client`)

Jina's application errors are `{"detail": {"message", "request_id", "code"}}`, and its 422 has `detail` as text.
Gateways and other OpenAI-compatible servers use `message`, `error` or `error.message`. All forms are parsed.
"""

from __future__ import annotations

import json
import math
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx2
from pydantic import SecretStr

from pipeline.core.errors import (
    AnswerRefused,
    AnswerUnusable,
    PagesightError,
    ServiceRefused,
    ServiceThrottled,
    ServiceUnavailable,
)
from pipeline.core.masking import masked

SERVICE = "jina-vlm"

#: Longest excerpt of a server's message in an error.
WORDS_MAX_CHARACTERS = 300
#: Upper bound of a wait that a server requests: one probe per hour costs nothing.
RETRY_AFTER_MAX_SECONDS = 3600.0

#: Jina's code, and the code of OpenAI-compatible servers.
UNKNOWN_MODEL_CODES = frozenset({"INPUT_MODEL_NOT_FOUND", "model_not_found"})
#: Comes with 403; Jina's Reader answers 402 instead.
NO_BALANCE_CODES = frozenset({"AUTHZ_INSUFFICIENT_BALANCE"})

#: A gateway's 504 and 524 are read timeouts; this image may cause a 500.
SUSPECT_STATUSES = frozenset({408, 500, 504, 524})
#: The two 4xx after which the same request may be sent again.
UNAVAILABLE_STATUSES = frozenset({408, 425})

_AGAIN = "Then run the same command again: it continues where it stopped."
KEY_REMEDY = f"Set PAGESIGHT_VLM_API_KEY (or JINA_API_KEY) to a valid key. {_AGAIN}"
BALANCE_REMEDY = f"Top up the balance of the key's account, or set PAGESIGHT_VLM_API_KEY to another key. {_AGAIN}"
MODEL_REMEDY = f"Set PAGESIGHT_VLM_MODEL to a model that this endpoint serves. {_AGAIN}"
URL_REMEDY = f"Set PAGESIGHT_VLM_URL to the endpoint's base URL, which usually ends in /v1. {_AGAIN}"
URL_OR_MODEL_REMEDY = (
    "Set PAGESIGHT_VLM_URL to the endpoint's base URL, which usually ends in /v1, and PAGESIGHT_VLM_MODEL to a model "
    f"it serves. {_AGAIN}"
)
REACH_REMEDY = "Check the network, and that PAGESIGHT_VLM_URL names the right host."
PROXY_REMEDY = "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY."
TLS_REMEDY = (
    "Check that PAGESIGHT_VLM_URL names the right host and scheme; if the endpoint's certificate is signed by an "
    f"authority of your own, name its bundle in SSL_CERT_FILE. {_AGAIN}"
)

#: Statuses that refuse every request.
REFUSALS: Mapping[int, str] = {
    401: KEY_REMEDY,
    402: BALANCE_REMEDY,
    403: KEY_REMEDY,
    404: URL_OR_MODEL_REMEDY,
    405: URL_REMEDY,
    407: PROXY_REMEDY,
    410: URL_REMEDY,
    501: URL_REMEDY,
    505: URL_REMEDY,
}


@dataclass(frozen=True, slots=True)
class TransportFault:
    """The meaning of an httpx2 exception."""

    message: str
    suspect_request: bool = False
    remedy: str | None = None


#: All exceptions that httpx2 raises for a request. A test checks that none is missing.
TRANSPORT_FAULTS: Mapping[type[httpx2.HTTPError], TransportFault] = {
    httpx2.ConnectTimeout: TransportFault("gave no connection in time", remedy=REACH_REMEDY),
    httpx2.ConnectError: TransportFault("cannot be reached", remedy=REACH_REMEDY),
    httpx2.PoolTimeout: TransportFault("has all our connections in use"),
    httpx2.WriteTimeout: TransportFault("did not take the request in time"),
    httpx2.ReadTimeout: TransportFault("did not answer in time", suspect_request=True),
    httpx2.WriteError: TransportFault("closed the connection while the request was sent", suspect_request=True),
    httpx2.ReadError: TransportFault("closed the connection in the middle of its answer", suspect_request=True),
    httpx2.CloseError: TransportFault("did not close the connection properly"),
    httpx2.RemoteProtocolError: TransportFault("broke off its answer", suspect_request=True),
    httpx2.LocalProtocolError: TransportFault("left the connection in an unknown state", suspect_request=True),
    httpx2.ProxyError: TransportFault("cannot be reached through the proxy", remedy=PROXY_REMEDY),
    # The client cannot raise the next three: it follows no redirects, accepts only http and https, and never calls
    # `raise_for_status`. They are here so that the map is complete.
    httpx2.UnsupportedProtocol: TransportFault("has an address of an unknown scheme", remedy=URL_REMEDY),
    httpx2.TooManyRedirects: TransportFault("redirects in a circle", remedy=URL_REMEDY),
    httpx2.HTTPStatusError: TransportFault("answers with an error"),
    httpx2.SSEError: TransportFault("sent events instead of an answer"),
    httpx2.DecodingError: TransportFault("sent an answer that cannot be unpacked"),
    httpx2.RequestError: TransportFault("cannot be called"),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The endpoint as messages name it. It holds the key only to remove it from messages."""

    host: str
    key: SecretStr | None

    def __str__(self) -> str:
        return f"{SERVICE} at {self.host}"

    def clean(self, text: str) -> str:
        """Return a foreign text on one line, bounded, without the key."""
        text = masked(text, [self.key.get_secret_value()] if self.key is not None else ())
        line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return line if len(line) <= WORDS_MAX_CHARACTERS else line[: WORDS_MAX_CHARACTERS - 1] + "…"


def error_from_transport(error: httpx2.HTTPError, endpoint: Endpoint) -> PagesightError:
    """Return the error for an httpx2 exception. Its own message is left out: it can quote a header."""
    fault = next(TRANSPORT_FAULTS[kind] for kind in type(error).__mro__ if kind in TRANSPORT_FAULTS)
    if isinstance(error, httpx2.DecodingError):
        return AnswerUnusable(f"{endpoint} {fault.message}")
    tls = _tls_failure(error)
    if tls is not None:
        return ServiceRefused(SERVICE, f"{endpoint}: TLS fails: {endpoint.clean(tls)}", remedy=TLS_REMEDY)
    cause = _os_message(error)
    return ServiceUnavailable(
        SERVICE,
        f"{endpoint} {fault.message}" + (f": {endpoint.clean(cause)}" if cause else ""),
        suspect_request=fault.suspect_request,
        remedy=fault.remedy,
    )


def error_from_status(status: int, headers: httpx2.Headers, body: bytes, endpoint: Endpoint) -> PagesightError:
    """Return the error for a response other than 2xx."""
    message, code = server_message(body)
    if 300 <= status < 400:
        message = f"moved to {headers.get('Location', 'nowhere')}"
    phrase = _phrase(status)
    detail = f": {endpoint.clean(message)}" if message != phrase.strip() else ""
    text = f"{endpoint} answers {status}{phrase}{detail}"
    if code in UNKNOWN_MODEL_CODES:
        return ServiceRefused(SERVICE, text, remedy=MODEL_REMEDY)
    if code in NO_BALANCE_CODES:
        return ServiceRefused(SERVICE, text, remedy=BALANCE_REMEDY)
    if status in REFUSALS or status < 400:
        return ServiceRefused(SERVICE, text, remedy=REFUSALS.get(status, URL_REMEDY))
    waits = retry_after_seconds(headers)
    if status == 429:
        return ServiceThrottled(SERVICE, text, retry_after_seconds=waits)
    if status >= 500 or status in UNAVAILABLE_STATUSES:
        suspect = status in SUSPECT_STATUSES
        return ServiceUnavailable(SERVICE, text, retry_after_seconds=waits, suspect_request=suspect)
    return AnswerRefused(text)


def server_message(body: bytes) -> tuple[str, str]:
    """Return a server's message and error code, each "" if there is none. The text of a web page is not a message."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        return ("", "") if text.startswith("<") else (text, "")
    message, code = "", ""
    for part in _parts(data):
        if isinstance(part, str):
            message = message or part
        elif isinstance(part, dict):
            message = message or _text(part, "message", "msg")
            code = code or _text(part, "code")
    return message, code


def retry_after_seconds(headers: httpx2.Headers) -> float | None:
    """Return the seconds of `Retry-After`, a number or a date (RFC 9110, 10.2.3); None if it cannot be parsed."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, headers.get("Date"))
    return None if math.isnan(seconds) else min(max(seconds, 0.0), RETRY_AFTER_MAX_SECONDS)


def _seconds_until(date: str, sent_at: str | None) -> float:
    # If the server sends its own date, both dates are the server's, and a wrong clock here does not matter.
    try:
        until = parsedate_to_datetime(date).timestamp()
        return until - (parsedate_to_datetime(sent_at).timestamp() if sent_at else time.time())
    except (ValueError, OverflowError):
        return math.nan


def _parts(data: object) -> list[object]:
    """Return the parts that can hold a message, the most specific first."""
    if not isinstance(data, dict):
        return [data]
    detail = data.get("detail")
    return [*(detail if isinstance(detail, list) else [detail]), data.get("error"), data]


def _text(part: Mapping[str, object], *names: str) -> str:
    return next((value for name in names if isinstance(value := part.get(name), str)), "")


def _phrase(status: int) -> str:
    try:
        return " " + HTTPStatus(status).phrase
    except ValueError:
        return ""


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain


def _tls_failure(error: httpx2.HTTPError) -> str | None:
    """Return the message of a failed handshake, or None if it was only cut off and may succeed next time."""
    if not isinstance(error, httpx2.ConnectError):
        return None
    transient = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, transient):
            return getattr(cause, "verify_message", "") or cause.reason or "handshake failed"
    return None


def _os_message(error: httpx2.HTTPError) -> str:
    return next((cause.strerror for cause in _causes(error) if isinstance(cause, OSError) and cause.strerror), "")

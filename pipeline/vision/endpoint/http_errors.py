"""What goes wrong between us and a model's endpoint, translated into `pipeline.core.errors`. The only home of this map.

    no connection, 5xx, 408, 425           ServiceUnavailable: wait
    timeout, connection cut, 500, 504      the same, and the request itself is suspect
    429                                    ServiceThrottled: everyone waits
    401, 402, 403, unknown model,
    wrong address, redirect, TLS           ServiceRefused: stop, with the setting to change
    any other 4xx                          AnswerRefused: this page only
    200 that holds no answer               AnswerUnusable (`pipeline.vision.endpoint.client`)

Jina's application errors are `{"detail": {"message", "request_id", "code"}}`, its 422 has `detail` as text; gateways
and other OpenAI-compatible servers use `message`, `error` or `error.message`. All of them are understood.
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

import httpx
from pydantic import SecretStr

from pipeline.core.errors import (
    AnswerRefused,
    AnswerUnusable,
    PagesightError,
    ServiceRefused,
    ServiceThrottled,
    ServiceUnavailable,
)

SERVICE = "jina-vlm"

#: Longest excerpt of a server's own words in a message.
WORDS_MAX_CHARACTERS = 300
#: However long a server asks us to stay away, we look again after this: a probe an hour costs nothing.
RETRY_AFTER_MAX_SECONDS = 3600.0

#: Jina's code, and the one that OpenAI and its likes use.
UNKNOWN_MODEL_CODES = frozenset({"INPUT_MODEL_NOT_FOUND", "model_not_found"})
#: Comes with 403; Jina's Reader answers 402 instead.
NO_BALANCE_CODES = frozenset({"AUTHZ_INSUFFICIENT_BALANCE"})

#: A gateway's 504 and 524 are read timeouts by another name, 500 may be this image's doing.
SUSPECT_STATUSES = frozenset({408, 500, 504, 524})
#: 408 and 425 are the 4xx that ask for the same request once more.
UNAVAILABLE_STATUSES = frozenset({408, 425})

_AGAIN = "Then run the same command again: it goes on where it stopped."
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
    "Check that PAGESIGHT_VLM_URL names the right host and scheme; where the endpoint's certificate is signed by an "
    f"authority of your own, name its bundle in SSL_CERT_FILE. {_AGAIN}"
)

#: Statuses that mean no to everything we could ask.
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
    """What an exception of httpx means to us."""

    says: str
    suspect_request: bool = False
    remedy: str | None = None


#: Every exception that httpx raises for a request; a test proves that none is missing.
TRANSPORT_FAULTS: Mapping[type[httpx.HTTPError], TransportFault] = {
    httpx.ConnectTimeout: TransportFault("gave no connection in time", remedy=REACH_REMEDY),
    httpx.ConnectError: TransportFault("cannot be reached", remedy=REACH_REMEDY),
    httpx.PoolTimeout: TransportFault("has all our connections in use"),
    httpx.WriteTimeout: TransportFault("did not take the request in time"),
    httpx.ReadTimeout: TransportFault("did not answer in time", suspect_request=True),
    httpx.WriteError: TransportFault("closed the connection while the request was sent", suspect_request=True),
    httpx.ReadError: TransportFault("closed the connection in the middle of its answer", suspect_request=True),
    httpx.CloseError: TransportFault("could not be parted from"),
    httpx.RemoteProtocolError: TransportFault("broke off its answer", suspect_request=True),
    httpx.LocalProtocolError: TransportFault("left the connection in an unknown state", suspect_request=True),
    httpx.ProxyError: TransportFault("cannot be reached through the proxy", remedy=PROXY_REMEDY),
    # The next three cannot happen as the client is built: no redirects are followed, only http and https are let in,
    # and nobody calls `raise_for_status`. They are named so that the map is whole.
    httpx.UnsupportedProtocol: TransportFault("has an address of an unknown scheme", remedy=URL_REMEDY),
    httpx.TooManyRedirects: TransportFault("redirects in a circle", remedy=URL_REMEDY),
    httpx.HTTPStatusError: TransportFault("answers with an error"),
    httpx.DecodingError: TransportFault("sent an answer that cannot be unpacked"),
    httpx.RequestError: TransportFault("cannot be asked"),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who is asked, for messages; the key is known only so that it can be struck out of them."""

    host: str
    key: SecretStr | None

    def __str__(self) -> str:
        return f"{SERVICE} at {self.host}"

    def clean(self, words: str) -> str:
        """Return foreign words on one line, bounded, without the key."""
        if self.key is not None and self.key.get_secret_value():
            words = words.replace(self.key.get_secret_value(), "…")
        line = " ".join("".join(char if char.isprintable() else " " for char in words).split())
        return line if len(line) <= WORDS_MAX_CHARACTERS else line[: WORDS_MAX_CHARACTERS - 1] + "…"


def error_from_transport(error: httpx.HTTPError, endpoint: Endpoint) -> PagesightError:
    """Return what an exception of httpx means. Its own words are left out: they can quote a header."""
    fault = next(TRANSPORT_FAULTS[kind] for kind in type(error).__mro__ if kind in TRANSPORT_FAULTS)
    if isinstance(error, httpx.DecodingError):
        return AnswerUnusable(f"{endpoint} {fault.says}")
    tls = _tls_failure(error)
    if tls is not None:
        return ServiceRefused(SERVICE, f"{endpoint}: TLS fails: {endpoint.clean(tls)}", remedy=TLS_REMEDY)
    cause = _os_words(error)
    return ServiceUnavailable(
        SERVICE,
        f"{endpoint} {fault.says}" + (f": {endpoint.clean(cause)}" if cause else ""),
        suspect_request=fault.suspect_request,
        remedy=fault.remedy,
    )


def error_from_status(status: int, headers: httpx.Headers, body: bytes, endpoint: Endpoint) -> PagesightError:
    """Return what an answer other than 2xx means."""
    words, code = server_words(body)
    if 300 <= status < 400:
        words = f"moved to {headers.get('Location', 'nowhere')}"
    phrase = _phrase(status)
    said = f"{endpoint} answers {status}{phrase}" + (f": {endpoint.clean(words)}" if words != phrase.strip() else "")
    if code in UNKNOWN_MODEL_CODES:
        return ServiceRefused(SERVICE, said, remedy=MODEL_REMEDY)
    if code in NO_BALANCE_CODES:
        return ServiceRefused(SERVICE, said, remedy=BALANCE_REMEDY)
    if status in REFUSALS or status < 400:
        return ServiceRefused(SERVICE, said, remedy=REFUSALS.get(status, URL_REMEDY))
    waits = retry_after_seconds(headers)
    if status == 429:
        return ServiceThrottled(SERVICE, said, retry_after_seconds=waits)
    if status >= 500 or status in UNAVAILABLE_STATUSES:
        suspect = status in SUSPECT_STATUSES
        return ServiceUnavailable(SERVICE, said, retry_after_seconds=waits, suspect_request=suspect)
    return AnswerRefused(said)


def server_words(body: bytes) -> tuple[str, str]:
    """Return a server's message and its error code, each empty where it gives none; a web page says nothing."""
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


def retry_after_seconds(headers: httpx.Headers) -> float | None:
    """Return what `Retry-After` asks for, in seconds or as a date (RFC 9110, 10.2.3); None where it is no use."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, headers.get("Date"))
    return None if math.isnan(seconds) else min(max(seconds, 0.0), RETRY_AFTER_MAX_SECONDS)


def _seconds_until(date: str, sent_at: str | None) -> float:
    # Both dates are the server's where it sends its own, so that a wrong clock here does not matter.
    try:
        until = parsedate_to_datetime(date).timestamp()
        return until - (parsedate_to_datetime(sent_at).timestamp() if sent_at else time.time())
    except (ValueError, OverflowError):
        return math.nan


def _parts(data: object) -> list[object]:
    """The places where a message can stand, the most telling first."""
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


def _tls_failure(error: httpx.HTTPError) -> str | None:
    """The words of a handshake that will fail the same way next time; one that was merely cut off will not."""
    if not isinstance(error, httpx.ConnectError):
        return None
    passing = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, passing):
            return getattr(cause, "verify_message", "") or cause.reason or "handshake failed"
    return None


def _os_words(error: httpx.HTTPError) -> str:
    return next((cause.strerror for cause in _causes(error) if isinstance(cause, OSError) and cause.strerror), "")

"""Translates the errors of a model's endpoint into `pipeline.core.errors`. This map has no other home.

    no connection, 5xx, 408, 425           ServiceUnavailable: wait
    timeout, connection cut, 500, 504      the same, and the request itself is suspect
    429                                    ServiceThrottled: all callers wait
    401, 402, 403, unknown model,
    wrong address, redirect, TLS           ServiceRefused: stop, with the setting to change
    a quota or balance that is used up     the same, whatever the status
    any other 4xx, and a 5xx whose words
    name images, context or memory         AnswerRefused: this page, unless a trivial question is refused as well
                                           (`pipeline.vision.endpoint.blame`)
    2xx                                    `pipeline.vision.endpoint.answers`

Jina's application errors are `{"detail": {"message", "request_id", "code"}}`, and its 422 has `detail` as text.
Gateways and other OpenAI-compatible servers use `message`, `error` or `error.message`. All forms are parsed.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
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
from pipeline.core.http_answers import WORDS_MAX_CHARACTERS, retry_after_seconds
from pipeline.core.masking import masked

SERVICE = "jina-vlm"

#: Jina's code, and the code of OpenAI-compatible servers.
UNKNOWN_MODEL_CODES = frozenset({"INPUT_MODEL_NOT_FOUND", "model_not_found"})
#: Codes of an account without means contain one of these words. Jina's comes with 403 (its Reader answers 402),
#: OpenAI's with 429, where waiting does not help.
NO_BALANCE_WORDS = (
    "insufficient_quota",
    "insufficient_balance",
    "insufficient_credit",
    "insufficient_funds",
    "billing",
)
LICENCE_CODES = frozenset({"license_error", "license_expired"})

#: A gateway's 504 and 524 are read timeouts; this image may cause a 500.
SUSPECT_STATUSES = frozenset({408, 500, 504, 524})
#: The two 4xx after which the same request may be sent again.
UNAVAILABLE_STATUSES = frozenset({408, 425})

#: Words of a server whose model was loaded without its image part, or has none. llama.cpp sends them with 500, LM
#: Studio with 200.
NO_IMAGES_WORDS = (
    "image input is not supported",
    "mmproj",
    "at most 0 image",
    "support image",
    "required for image input",
    "vision add-on is not loaded",
    "not a multimodal model",
    'content part type: "image_url"',
)
#: Words of a server whose model, or whose request, does not fit into its memory. Ollama and llama.cpp send them with
#: 500, TGI with 424.
MEMORY_WORDS = (
    "out of memory",
    "requires more system memory",
    "insufficient system resources",
    "insufficient memory",
    "unable to allocate",
    "failed to allocate",
)

_AGAIN = "Then run the same command again: it continues where it stopped."
KEY_REMEDY = f"Set PAGESIGHT_VLM_API_KEY (or JINA_API_KEY) to a valid key. {_AGAIN}"
BALANCE_REMEDY = f"Top up the balance of the key's account, or set PAGESIGHT_VLM_API_KEY to another key. {_AGAIN}"
MODEL_REMEDY = f"Set PAGESIGHT_VLM_MODEL to a model that this endpoint serves. {_AGAIN}"
URL_REMEDY = f"Set PAGESIGHT_VLM_URL to the endpoint's base URL, which usually ends in /v1. {_AGAIN}"
URL_OR_MODEL_REMEDY = (
    "Set PAGESIGHT_VLM_URL to the endpoint's base URL, which usually ends in /v1, and PAGESIGHT_VLM_MODEL to a model "
    f"it serves. {_AGAIN}"
)
LICENCE_REMEDY = (
    f"Give the model's server a valid licence: its operator has to do it. The key is not the cause. {_AGAIN}"
)
IMAGES_REMEDY = (
    "Serve a model that takes images, with images switched on: vLLM `--limit-mm-per-prompt image=1`, llama.cpp "
    f"`--mmproj FILE`; or set PAGESIGHT_VLM_MODEL to another model. {_AGAIN}"
)
CONTEXT_REMEDY = (
    "Start the model's server with a larger context (vLLM `--max-model-len`, SGLang `--context-length`, llama.cpp "
    '`--ctx-size`, TGI `--max-total-tokens`, Ollama `num_ctx`, LM Studio "context length"), or lower `max_tokens` of '
    f"the profile's questions. {_AGAIN}"
)
BODY_SIZE_REMEDY = (
    "Raise the largest request body that the endpoint or a proxy before it takes (nginx `client_max_body_size`): a "
    f"page image has up to 4 MB. {_AGAIN}"
)
MEMORY_REMEDY = (
    "Give the model's server more memory, or start it with a smaller model, a smaller context or fewer parallel "
    f"requests (vLLM `--gpu-memory-utilization`, `--max-num-seqs`; llama.cpp `--parallel`; Ollama `num_ctx`). {_AGAIN}"
)
REFUSED_REMEDY = f"Read the server's words in the message, and change its configuration or the settings. {_AGAIN}"
#: What the words of a refusal say about its cause, and what helps if every request is refused with them.
REMEDY_BY_WORDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (NO_IMAGES_WORDS, IMAGES_REMEDY),
    (MEMORY_WORDS, MEMORY_REMEDY),
    (
        (
            "context length",
            "context size",
            "context window",
            "n_ctx",
            "num_ctx",
            "max_model_len",
            "max_new_tokens",
            "`inputs` must have less than",
        ),
        CONTEXT_REMEDY,
    ),
    (("entity too large", "payload too large", "content too large", "body size"), BODY_SIZE_REMEDY),
    (
        (
            "model not found",
            "model does not exist",
            "unknown model",
            "no such model",
            "no models loaded",
            "invalid model identifier",
            "failed to load model",
        ),
        MODEL_REMEDY,
    ),
    (("unexpected endpoint", "unknown endpoint", "invalid url"), URL_REMEDY),
    (("license", "licence"), LICENCE_REMEDY),
)
#: Refusals of a request for what it is, also where the server sends them as an error of its own (5xx).
_REFUSED_REQUESTS = frozenset({IMAGES_REMEDY, CONTEXT_REMEDY, MEMORY_REMEDY, BODY_SIZE_REMEDY})
#: Refusals that no other request can escape: they halt without a further question.
_REFUSED_FOR_ALL = frozenset({MODEL_REMEDY, URL_REMEDY})

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
    detail = f": {endpoint.clean(message)}" if message and message != phrase.strip() else ""
    text = f"{endpoint} answers {status}{phrase}{detail}"
    if code in UNKNOWN_MODEL_CODES:
        return ServiceRefused(SERVICE, text, remedy=MODEL_REMEDY)
    if any(word in code.lower() for word in NO_BALANCE_WORDS):
        return ServiceRefused(SERVICE, text, remedy=BALANCE_REMEDY)
    if code in LICENCE_CODES:
        return ServiceRefused(SERVICE, text, remedy=LICENCE_REMEDY)
    remedy = remedy_by_words(text)
    if status in REFUSALS or status < 400:
        is_licence = remedy == LICENCE_REMEDY
        return ServiceRefused(SERVICE, text, remedy=remedy if is_licence else REFUSALS.get(status, URL_REMEDY))
    waits = retry_after_seconds(headers)
    if status == 429:
        return ServiceThrottled(SERVICE, text, retry_after_seconds=waits)
    if remedy in _REFUSED_FOR_ALL:
        return ServiceRefused(SERVICE, text, remedy=remedy)
    if remedy not in _REFUSED_REQUESTS and (status >= 500 or status in UNAVAILABLE_STATUSES):
        suspect = status in SUSPECT_STATUSES
        return ServiceUnavailable(SERVICE, text, retry_after_seconds=waits, suspect_request=suspect)
    return AnswerRefused(text)


def remedy_by_words(words: str) -> str:
    """Return what helps against a refusal with these words, if it concerns every request."""
    lowered = words.lower()
    found = (remedy for marks, remedy in REMEDY_BY_WORDS if any(mark in lowered for mark in marks))
    return next(found, REFUSED_REMEDY)


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

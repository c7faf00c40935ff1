"""The jina-vlm client: one request out, one completion or one named error back, without retries.

The protocol is the OpenAI-compatible `POST <base>/chat/completions` as Jina documents it for jina-vlm: one user turn
with the text part before the image part, the image as a data URI, no system role (the endpoint refuses it), and always
`max_tokens`, because the self-hosted build defaults to 256. Other endpoints of this protocol get the same requests.
`pipeline.vision.endpoint.probing` finds out what else an endpoint accepts.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from pydantic import BaseModel, SecretStr, ValidationError

from pipeline.core.errors import AnswerRefused, AnswerUnusable, PagesightError, SettingsError
from pipeline.core.http_answers import is_loopback, is_usable_key
from pipeline.vision.endpoint.answers import read_answer
from pipeline.vision.endpoint.http_errors import (
    PROXY_REMEDY,
    URL_REMEDY,
    Endpoint,
    error_from_status,
    error_from_transport,
)
from pipeline.vision.endpoint.trivial import CANARY_IMAGE, CANARY_MAX_TOKENS, CANARY_PROMPT

#: The model's whole context is 32,768 tokens; a longer body cannot be an answer.
ANSWER_MAX_BYTES = 2 << 20
#: Idle connections are closed before a server with the usual 5 s closes them under the next request.
KEEPALIVE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Completion:
    """The model's answer to one prompt about one image."""

    content: str
    truncated: bool
    """Whether the answer ended at `max_tokens`."""
    tokens_in: int
    tokens_out: int
    seconds: float
    is_counted: bool = True
    """Whether the endpoint reported the tokens. If it did not, both numbers are 0."""
    finish_reason: str | None = None
    """The endpoint's own reason for the end of the answer. Some endpoints report a wrong one."""


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


_IMAGE_URL = "data:image/jpeg;base64,"
#: The part of a turn that is replaced by the image.
IMAGE_PART: Mapping[str, Any] = {"type": "image_url", "image_url": {"url": _IMAGE_URL}}
#: Prefix of the names of jina-vlm's settings, with which remedies are written.
VLM_SETTINGS = "PAGESIGHT_VLM_"
#: The key of jina-vlm has a second name. The key of another endpoint has none.
_OTHER_KEY_NAME = " (or JINA_API_KEY)"
MAX_TOKENS = "max_tokens"
#: The name that OpenAI's newer models want.
MAX_COMPLETION_TOKENS = "max_completion_tokens"
#: An endpoint that refuses one of these by name gets its requests without it: TGI before 2 refuses a temperature of 0,
#: OpenAI's reasoning models refuse any, and a strict server refuses what OpenAI does not define.
OPTIONAL_PARAMETERS = ("temperature", "repetition_penalty")
#: Answers of an endpoint that has no list of models.
NO_LIST_STATUSES = frozenset({404, 405, 501})
LISTED_MODELS_SHOWN = 10
#: A multiple of 3, so that the base64 of the pieces can be concatenated.
_PIECE_BYTES = 3 << 14


class VlmClient:
    """The HTTP client of one endpoint. One per process; its threads share it.

    Args:
        base_url: for example `https://api-beta-vlm.jina.ai/v1`. A URL without a path gets `/v1`, the usual path of this
            protocol.
        api_key: None for an endpoint without authentication.
        connect_seconds: limit for opening a connection.
        read_seconds: limit for the whole answer, and for sending the request.
        concurrency: connections kept open; `pipeline.vision.endpoint.limits` bounds the calls in flight.
        settings: prefix of the settings' names in remedies.
        transport: for tests.

    Raises:
        SettingsError: the URL, the key or the proxy cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr | None,
        model: str,
        *,
        connect_seconds: float,
        read_seconds: float,
        concurrency: int,
        settings: str = VLM_SETTINGS,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        with _remedies_naming(settings):
            url = _checked_url(base_url)
            key = _checked_key(api_key)
        self.model = model
        self._settings = settings
        self._base = str(url).rstrip("/")
        self._endpoint = Endpoint(url.netloc.decode("ascii"), key)
        self._read_seconds = read_seconds
        self._refused: frozenset[str] = frozenset()
        """Parameters that the endpoint refuses by name."""
        headers = {"User-Agent": "pagesight", "Accept-Encoding": "identity"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key.get_secret_value()}"
        try:
            self._http = httpx2.Client(
                headers=headers,
                timeout=httpx2.Timeout(
                    connect=connect_seconds, read=read_seconds, write=read_seconds, pool=connect_seconds + read_seconds
                ),
                limits=httpx2.Limits(
                    max_connections=concurrency,
                    max_keepalive_connections=concurrency,
                    keepalive_expiry=KEEPALIVE_SECONDS,
                ),
                # A redirect would send page images, and on the same host the key, to an address outside the settings.
                follow_redirects=False,
                # Proxies and certificate bundles of the environment do not apply to this machine's own services.
                trust_env=not is_loopback(url.host),
                transport=transport,
            )
        except (ValueError, ImportError, OSError, httpx2.InvalidURL) as error:
            raise SettingsError(
                f"the HTTP client cannot be set up: {self._endpoint.clean(str(error))}",
                remedy=f"{PROXY_REMEDY} If SSL_CERT_FILE is set, it must name a PEM file.",
            ) from None

    def ask(
        self,
        prompt: str,
        jpeg: bytes,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        repetition_penalty: float | None = None,
    ) -> Completion:
        """Send one prompt and one page image (JPEG bytes). With an empty prompt, send the image alone.

        `repetition_penalty` is not an OpenAI parameter. It is sent only if it is given. A parameter that the endpoint
        refuses by name is renamed or left out, in this request and in all later ones of the process.

        Raises:
            ServiceUnavailable: the service is unavailable, or the request is suspect.
            ServiceThrottled: the service limits its callers.
            ServiceRefused: key, balance, model or URL are wrong.
            AnswerRefused: the service refuses this one request.
            AnswerUnusable: the response does not hold an answer.
        """
        text = [{"type": "text", "text": prompt}] if prompt else []
        request: dict[str, Any] = {
            "messages": [{"role": "user", "content": [*text, IMAGE_PART]}],
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        if repetition_penalty is not None:
            request["repetition_penalty"] = repetition_penalty
        while True:
            sent = self._accepted_form(request)
            try:
                return self._complete(sent, jpeg)
            except AnswerRefused as error:
                if not self._learn(str(error), sent):
                    raise

    def complete(self, request: Mapping[str, Any], jpeg: bytes) -> Completion:
        """Send a request with the model's name added and `IMAGE_PART` replaced by the image.

        The request must hold `max_tokens`. Parameters that `ask` found refused by name are renamed or left out.

        Raises:
            ServiceUnavailable, ServiceThrottled, ServiceRefused, AnswerRefused, AnswerUnusable: as `ask`.
        """
        return self._complete(self._accepted_form(request), jpeg)

    def _complete(self, request: Mapping[str, Any], jpeg: bytes) -> Completion:
        began = time.monotonic()
        body = self._call("POST", "/chat/completions", _body({"model": self.model, **request}, jpeg))
        seconds = time.monotonic() - began
        with _remedies_naming(self._settings):
            answer = read_answer(body, self._endpoint)
        tokens_out = answer.tokens_out or 0
        return Completion(
            content=answer.content,
            # The self-hosted build reports "stop" even for a cut answer, so the count decides too.
            truncated=answer.finish_reason == "length" or tokens_out >= _max_tokens(request),
            tokens_in=answer.tokens_in or 0,
            tokens_out=tokens_out,
            seconds=seconds,
            is_counted=answer.tokens_in is not None or answer.tokens_out is not None,
            finish_reason=answer.finish_reason,
        )

    def _accepted_form(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request with the parameters that this endpoint is known to accept."""
        form = {name: value for name, value in request.items() if name not in self._refused}
        if MAX_TOKENS in self._refused and MAX_TOKENS in request:
            form[MAX_COMPLETION_TOKENS] = request[MAX_TOKENS]
        return form

    def _learn(self, words: str, sent: Mapping[str, Any]) -> bool:
        """Note the parameter of a request that the endpoint refuses by name. Return whether another form may do."""
        if MAX_TOKENS in sent and MAX_COMPLETION_TOKENS in words:
            self._refused = self._refused | {MAX_TOKENS}
            return True
        named = [name for name in OPTIONAL_PARAMETERS if name in sent and name in words]
        self._refused = self._refused | set(named)
        return bool(named)

    def check(self) -> str:
        """Check that the endpoint answers and accepts the key, and return in one line which models it lists.

        jina-on-prem has no list of models. An endpoint without one is asked a trivial question instead.

        Raises:
            ServiceUnavailable, ServiceRefused, AnswerRefused, AnswerUnusable: as `ask`.
        """
        listed = self._listed_models()
        if listed is None:
            self.ask(CANARY_PROMPT, CANARY_IMAGE.read_bytes(), max_tokens=CANARY_MAX_TOKENS)
            return f"{self._endpoint} answers a question to {self.model}; it does not list its models"
        names = ", ".join(self._endpoint.clean(name) for name in listed[:LISTED_MODELS_SHOWN])
        # Jina's catalogue lists `jina-ai/jina-vlm`; requests name it `jina-vlm`.
        if any(name.rpartition("/")[2] == self.model or name == self.model for name in listed):
            among = f" among {len(listed)} models: {names}" if len(listed) > 1 else ""
            return f"{self._endpoint} answers and lists {self.model}{among}"
        served = f"{len(listed)} models: {names}" if listed else "0 models"
        return f"{self._endpoint} answers, but does not list {self.model} among its {served}"

    def _listed_models(self) -> list[str] | None:
        """Return the names of the models that are served; None from an endpoint without such a list."""
        with _remedies_naming(self._settings):
            status, headers, body = self._send("GET", "/models")
            if status in NO_LIST_STATUSES:
                return None
            if not 200 <= status < 300:
                raise error_from_status(status, headers, body, self._endpoint)
        try:
            return [model.id for model in _Models.model_validate_json(body).data]
        except ValidationError:
            return None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(self, method: str, path: str, body: _Body) -> bytes:
        with _remedies_naming(self._settings):
            status, headers, content = self._send(method, path, body)
            if not 200 <= status < 300:
                raise error_from_status(status, headers, content, self._endpoint)
        return content

    def _send(self, method: str, path: str, body: _Body | None = None) -> tuple[int, httpx2.Headers, bytes]:
        """Return status, headers and body of the response."""
        headers = {"Content-Type": "application/json", "Content-Length": str(body.length)} if body else None
        try:
            with self._http.stream(method, self._base + path, content=body, headers=headers) as response:
                return response.status_code, response.headers, self._read(response)
        except httpx2.HTTPError as error:
            raise error_from_transport(error, self._endpoint) from error

    def _read(self, response: httpx2.Response) -> bytes:
        """Return the body. The read timeout applies to each piece, so a slow answer needs a limit as a whole."""
        deadline = time.monotonic() + self._read_seconds
        content = bytearray()
        for piece in response.iter_bytes():
            content += piece
            if len(content) > ANSWER_MAX_BYTES:
                raise AnswerUnusable(f"{self._endpoint} sent more than {ANSWER_MAX_BYTES} bytes")
            if time.monotonic() > deadline:
                raise httpx2.ReadTimeout("the answer arrives too slowly", request=response.request)
        return bytes(content)


def _body(request: Mapping[str, Any], jpeg: bytes) -> _Body:
    # The marker cannot occur inside a JSON string: its last quote would be escaped there.
    head, marker, tail = json.dumps(request).partition(f'"{_IMAGE_URL}"')
    return _Body((head + marker[:-1]).encode(), jpeg, (marker[-1] + tail).encode())


def _max_tokens(request: Mapping[str, Any]) -> int:
    limit: int = request[MAX_TOKENS if MAX_TOKENS in request else MAX_COMPLETION_TOKENS]
    return limit


@contextmanager
def _remedies_naming(settings: str) -> Iterator[None]:
    """Replace the prefix of jina-vlm's settings in the remedies of errors by `settings`."""
    try:
        yield
    except PagesightError as error:
        if settings != VLM_SETTINGS:
            error.remedy = error.remedy.replace(_OTHER_KEY_NAME, "").replace(VLM_SETTINGS, settings)
        raise


@dataclass(frozen=True, slots=True)
class _Body:
    """A request's body, encoded piece by piece: with many calls in flight, whole bodies took 150 MB more."""

    head: bytes
    jpeg: bytes
    tail: bytes

    @property
    def length(self) -> int:
        return len(self.head) + 4 * ((len(self.jpeg) + 2) // 3) + len(self.tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self.head
        for start in range(0, len(self.jpeg), _PIECE_BYTES):
            yield base64.b64encode(self.jpeg[start : start + _PIECE_BYTES])
        yield self.tail


def _checked_url(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text.strip())
        url.host.encode("idna")
    except (httpx2.InvalidURL, UnicodeError):
        raise SettingsError("the model's URL cannot be parsed", remedy=URL_REMEDY) from None
    has_port = url.port is None or 0 < url.port < 65536
    if url.scheme not in ("http", "https") or not url.host or not has_port:
        raise SettingsError("the model's URL is not an http or https URL with a host", remedy=URL_REMEDY)
    if url.userinfo or url.query or url.fragment:
        raise SettingsError(
            "the model's URL has a user name, a password, a query or a fragment",
            remedy="Write only scheme, host and path in PAGESIGHT_VLM_URL; the key belongs in PAGESIGHT_VLM_API_KEY.",
        )
    return url if url.path.strip("/") else url.copy_with(path="/v1")


def _checked_key(key: SecretStr | None) -> SecretStr | None:
    """Return the key without surrounding whitespace, such as a pasted newline; None for an empty key."""
    value = key.get_secret_value().strip() if key is not None else ""
    if not value:
        return None
    if not is_usable_key(value):
        raise SettingsError(
            "the model's key has characters that a key cannot have",
            remedy="Copy PAGESIGHT_VLM_API_KEY (or JINA_API_KEY) again.",
        )
    return SecretStr(value)

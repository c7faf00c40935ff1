"""The jina-vlm client: one request out, one completion or one named error back. It never tries again by itself.

The protocol is the OpenAI-compatible `POST <base>/chat/completions` as Jina documents it for jina-vlm: one user turn
with the text part before the image part, the image as a data URI, no system role (the endpoint refuses it), and
`max_tokens` always sent, because the self-hosted build defaults to 256. Other endpoints that speak it are asked in the
same way; what else one of them takes `pipeline.vision.endpoint.probing` finds out.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from pydantic import AliasChoices, BaseModel, Field, SecretStr, ValidationError

from pipeline.core.errors import AnswerUnusable, PagesightError, ServiceRefused, SettingsError
from pipeline.vision.endpoint.http_errors import (
    PROXY_REMEDY,
    SERVICE,
    URL_REMEDY,
    Endpoint,
    error_from_status,
    error_from_transport,
)

#: The model's whole context is 32,768 tokens; a longer answer than this is none.
ANSWER_MAX_BYTES = 2 << 20
#: An idle connection is given up before servers with the usual 5 s close it under the next request.
KEEPALIVE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model said to one prompt about one image."""

    content: str
    truncated: bool
    """Whether the answer ended because `max_tokens` were used up."""
    tokens_in: int
    tokens_out: int
    seconds: float
    finish_reason: str | None = None
    """What the endpoint itself says of the answer's end; not every one tells the truth."""


class _Message(BaseModel):
    content: str


class _ChatChoice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    # The second names are those of mlx-vlm's server.
    prompt_tokens: int | None = Field(None, validation_alias=AliasChoices("prompt_tokens", "input_tokens"))
    completion_tokens: int | None = Field(None, validation_alias=AliasChoices("completion_tokens", "output_tokens"))


class _ChatCompletion(BaseModel):
    choices: list[_ChatChoice] = Field(min_length=1)
    usage: _Usage | None = None


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


Body = TypeVar("Body", bound=BaseModel)


_IMAGE_URL = "data:image/jpeg;base64,"
#: The part of a turn that the image of a request is put into.
IMAGE_PART: Mapping[str, Any] = {"type": "image_url", "image_url": {"url": _IMAGE_URL}}
#: How the names of this endpoint's settings begin; remedies are written with them.
VLM_SETTINGS = "PAGESIGHT_VLM_"
#: The key of jina-vlm has another name beside its setting's; no other endpoint's has.
_OTHER_KEY_NAME = " (or JINA_API_KEY)"
#: A multiple of 3, so that the pieces' base64 can be put together.
_PIECE_BYTES = 3 << 14


class VlmClient:
    """Speaks to one endpoint. One for a process; its threads share it.

    Args:
        base_url: for instance `https://api-beta-vlm.jina.ai/v1`; one without a path gets `/v1`, where servers of this
            protocol have it.
        api_key: None for an endpoint of one's own that wants none.
        connect_seconds: limit for a connection to stand.
        read_seconds: limit for the whole answer to arrive, and for the request to be taken.
        concurrency: connections kept; calls in flight are bounded by `pipeline.vision.endpoint.limits`.
        settings: how the names of the settings begin that remedies tell people to change.
        transport: for tests.

    Raises:
        SettingsError: the address, the key or the proxy cannot be used.
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        with _remedies_naming(settings):
            url = _checked_url(base_url)
            key = _checked_key(api_key)
        self.model = model
        self._settings = settings
        self._base = str(url).rstrip("/")
        self._endpoint = Endpoint(url.netloc.decode("ascii"), key)
        self._read_seconds = read_seconds
        headers = {"User-Agent": "pagesight", "Accept-Encoding": "identity"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key.get_secret_value()}"
        try:
            self._http = httpx.Client(
                headers=headers,
                timeout=httpx.Timeout(
                    connect=connect_seconds, read=read_seconds, write=read_seconds, pool=connect_seconds + read_seconds
                ),
                limits=httpx.Limits(
                    max_connections=concurrency,
                    max_keepalive_connections=concurrency,
                    keepalive_expiry=KEEPALIVE_SECONDS,
                ),
                # A redirect would carry page images, and on the same host the key, where nobody meant them to go.
                follow_redirects=False,
                # Proxies and certificate bundles of the environment are meant for the world, not for this machine.
                trust_env=not _is_loopback(url.host),
                transport=transport,
            )
        except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
            raise SettingsError(
                f"no connections can be made: {self._endpoint.clean(str(error))}",
                remedy=f"{PROXY_REMEDY} SSL_CERT_FILE, where it is set, must name a PEM file.",
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
        """Ask one question about one page image (JPEG bytes). With an empty prompt the image alone is sent.

        `repetition_penalty` is no parameter of OpenAI's: it is sent only where it is given.

        Raises:
            ServiceUnavailable: the service is away, or the request is suspect.
            ServiceThrottled: it limits its callers.
            ServiceRefused: key, balance, model or address are wrong.
            AnswerRefused: it refuses this one request.
            AnswerUnusable: what it sent is no answer.
        """
        question = [{"type": "text", "text": prompt}] if prompt else []
        request: dict[str, Any] = {
            "messages": [{"role": "user", "content": [*question, IMAGE_PART]}],
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        if repetition_penalty is not None:
            request["repetition_penalty"] = repetition_penalty
        return self.complete(request, jpeg)

    def complete(self, request: Mapping[str, Any], jpeg: bytes) -> Completion:
        """Send a request as it is given, with the model's name, and with the image where it has `IMAGE_PART`.

        It has to name `max_tokens`.

        Raises:
            ServiceUnavailable, ServiceThrottled, ServiceRefused, AnswerRefused, AnswerUnusable: as `ask`.
        """
        began = time.monotonic()
        body = self._call("POST", "/chat/completions", _body({"model": self.model, **request}, jpeg))
        seconds = time.monotonic() - began
        answer = self._parse(_ChatCompletion, body)
        choice, usage = answer.choices[0], answer.usage or _Usage()
        tokens_out = usage.completion_tokens or 0
        return Completion(
            content=choice.message.content,
            # The self-hosted build says "stop" even where it was cut off, so the count decides as well.
            truncated=choice.finish_reason == "length" or tokens_out >= request["max_tokens"],
            tokens_in=usage.prompt_tokens or 0,
            tokens_out=tokens_out,
            seconds=seconds,
            finish_reason=choice.finish_reason,
        )

    def check(self) -> str:
        """Return in one line whether the endpoint answers, takes the key and lists the model.

        Raises:
            ServiceUnavailable, ServiceRefused, AnswerRefused: as `ask`.
        """
        try:
            listed = [model.id for model in self._parse(_Models, self._call("GET", "/models")).data]
        except AnswerUnusable as error:
            with _remedies_naming(self._settings):
                raise ServiceRefused(SERVICE, f"{error} to a request for its models", remedy=URL_REMEDY) from None
        # Jina's catalogue has `jina-ai/jina-vlm` for the model that requests call `jina-vlm`.
        if any(name.rpartition("/")[2] == self.model or name == self.model for name in listed):
            return f"{self._endpoint} answers and lists {self.model}"
        return f"{self._endpoint} answers, but does not list {self.model} among its {len(listed)} models"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _call(self, method: str, path: str, body: _Body | None = None) -> bytes:
        headers = {"Content-Type": "application/json", "Content-Length": str(body.length)} if body else None
        with _remedies_naming(self._settings):
            try:
                with self._http.stream(method, self._base + path, content=body, headers=headers) as response:
                    content = self._read(response)
            except httpx.HTTPError as error:
                raise error_from_transport(error, self._endpoint) from error
            if not response.is_success:
                raise error_from_status(response.status_code, response.headers, content, self._endpoint)
        return content

    def _read(self, response: httpx.Response) -> bytes:
        """The body. httpx's read timeout is for each piece, so an answer that drips needs a limit for all of it."""
        deadline = time.monotonic() + self._read_seconds
        content = bytearray()
        for piece in response.iter_bytes():
            content += piece
            if len(content) > ANSWER_MAX_BYTES:
                raise AnswerUnusable(f"{self._endpoint} sent more than {ANSWER_MAX_BYTES} bytes")
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the answer drips", request=response.request)
        return bytes(content)

    def _parse(self, kind: type[Body], body: bytes) -> Body:
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in problem["loc"]) or "the body"
            raise AnswerUnusable(
                f"{self._endpoint} sent no usable answer: {where}: {self._endpoint.clean(problem['msg'])}"
            ) from None


def _body(request: Mapping[str, Any], jpeg: bytes) -> _Body:
    # Inside a JSON string this marker cannot occur: its last quote would be escaped.
    head, marker, tail = json.dumps(request).partition(f'"{_IMAGE_URL}"')
    return _Body((head + marker[:-1]).encode(), jpeg, (marker[-1] + tail).encode())


@contextmanager
def _remedies_naming(settings: str) -> Iterator[None]:
    """Let the remedies of errors name the settings that begin so: they are written for jina-vlm's."""
    try:
        yield
    except PagesightError as error:
        if settings != VLM_SETTINGS:
            error.remedy = error.remedy.replace(_OTHER_KEY_NAME, "").replace(VLM_SETTINGS, settings)
        raise


@dataclass(frozen=True, slots=True)
class _Body:
    """A request's body, encoded piece by piece: with many calls in flight, whole ones took 150 MB more."""

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


def _checked_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text.strip())
        url.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        raise SettingsError("the model's address cannot be understood", remedy=URL_REMEDY) from None
    has_port = url.port is None or 0 < url.port < 65536
    if url.scheme not in ("http", "https") or not url.host or not has_port:
        raise SettingsError("the model's address is no http or https URL with a host", remedy=URL_REMEDY)
    if url.userinfo or url.query or url.fragment:
        raise SettingsError(
            "the model's address holds a name, a password, a query or a fragment",
            remedy="Write only scheme, host and path in PAGESIGHT_VLM_URL; the key belongs in PAGESIGHT_VLM_API_KEY.",
        )
    return url if url.path.strip("/") else url.copy_with(path="/v1")


def _checked_key(key: SecretStr | None) -> SecretStr | None:
    """The key without the newline it was pasted with; None for an empty one."""
    value = key.get_secret_value().strip() if key is not None else ""
    if not value:
        return None
    if not value.isascii() or not value.isprintable() or " " in value:
        # Said here, because the HTTP library would quote the header, key and all.
        raise SettingsError(
            "the model's key holds characters that no key has",
            remedy="Copy PAGESIGHT_VLM_API_KEY (or JINA_API_KEY) again.",
        )
    return SecretStr(value)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""The client of `POST <base>/embeddings`, as Jina documents it and other servers of OpenAI's protocol take it.

Jina's parameters `task` and `dimensions` are left out for a server that refuses them. The client makes one request and
does not retry; its callers wait.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx2
from pydantic import BaseModel, SecretStr, ValidationError

from pipeline.core.errors import (
    AnswerRefused,
    PagesightError,
    ServiceRefused,
    ServiceThrottled,
    ServiceUnavailable,
    SettingsError,
)
from pipeline.core.http_answers import WORDS_MAX_CHARACTERS, is_loopback, is_usable_key, retry_after_seconds
from pipeline.embedding.model import SERVICE, Embedded, EmbeddingModel
from pipeline.embedding.vectors import Vector, checked

#: Values of Jina's parameter `task` for texts that are found, and for what they are found by.
PASSAGE, QUERY = "retrieval.passage", "retrieval.query"
#: Texts per request.
BATCH = 32
#: Largest answer: 32 vectors of 4,096 dimensions, with 25 characters for a number.
MAX_ANSWER_BYTES = 4 << 20
#: Limit for a connection, for each piece of an answer, and for the answer as a whole.
SECONDS = 60.0
#: A text that no server refuses for what it is: it tells a refused text from a refused request.
_TRIVIAL_TEXT = "page"
#: Parameters that servers other than Jina's may refuse.
_OPTIONAL = ("task", "dimensions")
#: Statuses that may be about one of the texts: too long, or of a content that the server refuses.
_ABOUT_TEXTS = frozenset({400, 413, 422})
_REMEDY = "Check PAGESIGHT_EMBED_URL, PAGESIGHT_EMBED_MODEL and PAGESIGHT_EMBED_API_KEY; `none` switches vectors off."


class _Item(BaseModel):
    index: int
    embedding: list[float]


class _Usage(BaseModel):
    total_tokens: int = 0


class _Answer(BaseModel):
    data: list[_Item]
    usage: _Usage = _Usage()


class RemoteEmbedder:
    """An endpoint for embeddings. Threads share it; its connections are closed when it is no longer used.

    Args:
        base_url: with its version, such as `https://api.jina.ai/v1`.
        api_key: None for an endpoint without authentication.
        model: its name there, and the dimensions that its vectors have or are cut to.
        transport: for tests.

    Raises:
        SettingsError: the URL cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr | None,
        model: EmbeddingModel,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.model = model
        self._left_out: frozenset[str] = frozenset()
        try:
            url = httpx2.URL(base_url.rstrip("/") + "/embeddings")
            trust_env = not is_loopback(url.host)
            self._client = httpx2.Client(
                timeout=SECONDS, headers=_authorization(api_key), trust_env=trust_env, transport=transport
            )
            weakref.finalize(self, self._client.close)
            self._url = str(url)
        except (httpx2.InvalidURL, ValueError) as error:
            raise SettingsError(
                f"embed_url: {base_url!r} is not a URL: {error}", remedy="Write https://api.jina.ai/v1, local or none."
            ) from None

    def embed_passages(self, texts: Sequence[str]) -> Embedded:
        """Return the vectors of texts of pages; see `Embedder`."""
        parts = [self._embed(texts[start : start + BATCH], PASSAGE) for start in range(0, len(texts), BATCH)]
        return Embedded(tuple(vector for part in parts for vector in part.vectors), sum(part.tokens for part in parts))

    def embed_query(self, text: str) -> Vector:
        """Return the vector of a query; see `Embedder`."""
        (vector,) = self._embed([text], QUERY).vectors
        if vector is None:
            raise AnswerRefused("the embedding endpoint refuses the words of this query, and takes others")
        return vector

    def _embed(self, texts: Sequence[str], task: str) -> Embedded:
        """Return the vectors of some texts. Where the endpoint refuses them together, each is sent alone."""
        answer = self._post_accepted(texts, task)
        if answer.status not in _ABOUT_TEXTS:
            return self._found(answer, len(texts))
        alone = [self._post_accepted([text], task) for text in texts] if len(texts) > 1 else [answer]
        if all(one.status in _ABOUT_TEXTS for one in alone):
            self._require_served(task, alone[-1])
        found = [Embedded((None,), 0) if one.status in _ABOUT_TEXTS else self._found(one, 1) for one in alone]
        return Embedded(tuple(one.vectors[0] for one in found), sum(one.tokens for one in found))

    def _require_served(self, task: str, refusal: _Received) -> None:
        """Send a trivial text. If that is refused too, the refusal is about every request, whatever its text."""
        if self._post_accepted([_TRIVIAL_TEXT], task).status in _ABOUT_TEXTS:
            raise _error(refusal)

    def _found(self, answer: _Received, count: int) -> Embedded:
        if answer.status != HTTPStatus.OK:
            raise _error(answer)
        return self._checked(answer, count)

    def _post_accepted(self, texts: Sequence[str], task: str) -> _Received:
        """Send a request, and again without a parameter that the server refuses by name."""
        answer = self._post(texts, task)
        for name in _OPTIONAL:
            refused = answer.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
            if refused and name in answer.words and name not in self._left_out:
                self._left_out |= {name}
                answer = self._post(texts, task)
        return answer

    def _post(self, texts: Sequence[str], task: str) -> _Received:
        body: Mapping[str, Any] = {
            "model": self.model.name,
            "input": list(texts),
            "task": task,
            "dimensions": self.model.dimensions,
        }
        sent = {name: value for name, value in body.items() if name not in self._left_out}
        try:
            with self._client.stream("POST", self._url, json=sent) as answer:
                return _Received(answer.status_code, _read(answer), retry_after_seconds(answer.headers))
        except httpx2.RequestError as error:  # a broken connection, or an answer that cannot be unpacked
            words = f"the embedding endpoint cannot be reached: {error}"
            raise ServiceUnavailable(SERVICE, words, remedy=_REMEDY) from error

    def _checked(self, answer: _Received, count: int) -> Embedded:
        try:
            found = _Answer.model_validate_json(answer.body)
            items = sorted(found.data, key=lambda item: item.index)
            if [item.index for item in items] != list(range(count)):
                raise ValueError(f"{len(items)} vectors for {count} texts")
            vectors = tuple(checked(item.embedding, self.model.dimensions) for item in items)
        except (ValidationError, ValueError) as error:
            words = " ".join(str(error).split())[:WORDS_MAX_CHARACTERS]
            raise ServiceRefused(SERVICE, f"the embedding endpoint sent {words}", remedy=_REMEDY) from error
        return Embedded(vectors, found.usage.total_tokens)


@dataclass(frozen=True, slots=True)
class _Received:
    """An answer of a bounded size."""

    status: int
    body: bytes
    retry_after_seconds: float | None

    @property
    def words(self) -> str:
        """The server's words on one line."""
        return " ".join(self.body[:10_000].decode(errors="replace").split())


def _read(answer: httpx2.Response) -> bytes:
    """Return the body. The client's limit applies to each piece, so a slow answer needs one as a whole."""
    deadline = time.monotonic() + SECONDS
    received = bytearray()
    for piece in answer.iter_bytes():
        received += piece
        if len(received) > MAX_ANSWER_BYTES:
            words = f"the embedding endpoint sent over {MAX_ANSWER_BYTES:,} bytes"
            raise ServiceRefused(SERVICE, words, remedy=_REMEDY)
        if time.monotonic() > deadline:
            raise httpx2.ReadTimeout("the answer arrives too slowly", request=answer.request)
    return bytes(received)


def _authorization(api_key: SecretStr | None) -> dict[str, str]:
    """Return the header with the key, without whitespace around it, such as a pasted newline."""
    key = api_key.get_secret_value().strip() if api_key is not None else ""
    if not is_usable_key(key):
        raise SettingsError(
            "the key for embeddings has characters that a key cannot have",
            remedy="Copy PAGESIGHT_EMBED_API_KEY (or JINA_API_KEY) again.",
        )
    return {"Authorization": f"Bearer {key}"} if key else {}


def _error(answer: _Received) -> PagesightError:
    words = f"the embedding endpoint answers {answer.status}: {answer.words[:WORDS_MAX_CHARACTERS]}"
    wait = answer.retry_after_seconds
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return ServiceThrottled(SERVICE, words, retry_after_seconds=wait, remedy=_REMEDY)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.REQUEST_TIMEOUT:
        return ServiceUnavailable(SERVICE, words, retry_after_seconds=wait, remedy=_REMEDY)
    return ServiceRefused(SERVICE, words, remedy=_REMEDY)

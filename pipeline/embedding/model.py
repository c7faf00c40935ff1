"""The interface of embedding models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.embedding.vectors import Vector

#: Name of the service in errors and waits.
SERVICE = "embeddings"
#: Characters of a page that are embedded. The local model takes 0.2 s of CPU time for them (measured); what describes a
#: page as a whole is at its beginning.
MAX_CHARACTERS = 800


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A model. Vectors of different models, or of different dimensions, cannot be compared."""

    name: str
    dimensions: int
    least_cosine: float | None = None
    """Cosine below which texts are unrelated, where that is known of the model."""

    @property
    def id(self) -> str:
        """Name and dimensions, as records and keys of the archive have them."""
        return f"{self.name}:{self.dimensions}"


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of texts, in their order."""

    vectors: tuple[Vector | None, ...]
    """None for a text that the endpoint refuses."""
    tokens: int
    """Tokens that the endpoint counted; 0 for a local model."""


class Embedder(Protocol):
    """Turns texts into vectors. Threads share it."""

    model: EmbeddingModel

    def embed_passages(self, texts: Sequence[str]) -> Embedded:
        """Return the vectors of texts of pages.

        Raises:
            ServiceUnavailable: the model cannot be reached, or answers with something else.
            ServiceRefused: it refuses every request.
        """
        ...

    def embed_query(self, text: str) -> Vector:
        """Return the vector of a query; raises as `embed_passages`."""
        ...


def embedded_text(description: str | None, text: str | None) -> str:
    """Return what is embedded of a page: its description, then the beginning of its text."""
    words = " ".join(" ".join(part.split()) for part in (description, text) if part)
    return words[:MAX_CHARACTERS]

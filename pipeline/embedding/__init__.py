"""Vectors of texts, by a model on this machine or an endpoint: pages and queries are compared by their meaning."""

from pipeline.embedding.model import Embedded, Embedder, EmbeddingModel
from pipeline.embedding.vectors import Vector, pack, unpack

__all__ = ["Embedded", "Embedder", "EmbeddingModel", "Vector", "pack", "unpack"]

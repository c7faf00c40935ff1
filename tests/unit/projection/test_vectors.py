"""Vectors of pages: what is archived, and when it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store
from pipeline.embedding import Embedded, EmbeddingModel, Vector
from pipeline.pages.deletion import request_deletion
from pipeline.projection.vectors import PageVectors
from support.readings import full_reading

READING = full_reading()


class Embedder:
    """Gives every text the same vector; `meanwhile` is what happens while it is asked."""

    model = EmbeddingModel("fixed", 2)

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self._meanwhile = meanwhile
        self.asked = 0

    def embed_passages(self, texts: Sequence[str]) -> Embedded:
        self.asked += len(texts)
        self._meanwhile()
        return Embedded(((1.0, 0.0),) * len(texts), 3)

    def embed_query(self, text: str) -> Vector:
        raise NotImplementedError


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path / "archive")))


def kept(archive: Archive) -> int:
    assert READING.image is not None
    return len(archive.answers.keys(READING.image.sha256))


def test_a_vector_is_archived_and_costs_one_call(archive: Archive):
    embedder = Embedder()
    vectors = PageVectors(archive, embedder)
    assert vectors.of([READING]) == vectors.of([READING])
    assert embedder.asked == 1
    assert kept(archive) == 1


@pytest.mark.parametrize("document", [READING.document.id, None], ids=["document", "collection"])
def test_a_vector_that_arrives_after_a_purge_is_not_kept(archive: Archive, document: str | None):
    def purge() -> None:
        request_deletion(archive, "works", document, purge=True)

    PageVectors(archive, Embedder(purge)).of([READING])
    assert kept(archive) == 0


def test_a_deletion_that_keeps_answers_keeps_the_vector(archive: Archive):
    def hide() -> None:
        request_deletion(archive, "works", None, purge=False)

    PageVectors(archive, Embedder(hide)).of([READING])
    assert kept(archive) == 1

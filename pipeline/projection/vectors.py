"""Vectors of pages: from the archive, else from the embedding model, whose answers are archived before they are used.

A vector is archived as an answer about the page's image, under a key of the model and the embedded text. So a re-index,
another name or path, and a second copy of the page cost no call, and `delete --purge` removes it with the image's other
answers. A model that fails never keeps a record from being written: the page is searched by its words until
`pagesight embed` has made up for it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from pipeline.archive import Archive
from pipeline.core.errors import PagesightError
from pipeline.core.models import Answer, PageStatus, Reading
from pipeline.core.retry import MODEL_WAITS_SECONDS, CancelToken, retry_until_available
from pipeline.embedding import Embedder, Vector, pack, unpack
from pipeline.embedding.model import embedded_text

log = logging.getLogger(__name__)

#: `question` of archived vectors.
QUESTION = "embedding"
#: Seconds for which a model is left alone after it failed, so that it delays no further records.
PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PageVector:
    """The vector of a page, as its record has it."""

    model: str
    words: Vector


class PageVectors:
    """Looks up and makes the vectors of pages. Threads share it."""

    def __init__(self, archive: Archive, embedder: Embedder) -> None:
        self.embedder = embedder
        self._archive = archive
        self._lock = threading.Lock()
        self._paused_until = 0.0
        self.tokens = 0
        """Tokens that the endpoint has counted so far."""

    def of(self, readings: Sequence[Reading], cancel: CancelToken | None = None) -> dict[int, PageVector]:
        """Return the vectors of readings by their position. A page without words or image has none.

        Args:
            readings: of pages.
            cancel: where it is given, wait for a model that is away, and raise what refuses; else leave vectors out.

        Raises:
            ServiceRefused: only with `cancel`: the model refuses every request.
            Stopped: only with `cancel`.
        """
        texts = {at: text for at, reading in enumerate(readings) if (text := _text(reading))}
        keys = {at: self._key(readings[at], text) for at, text in texts.items()}
        found = self._archived(keys)
        missing = {at: text for at, text in texts.items() if at not in found}
        made = self._embedded(missing, keys, cancel)
        self._remove_purged({keys[at]: readings[at] for at in made})
        return found | made

    def _remove_purged(self, added: Mapping[str, Reading]) -> None:
        """Remove the archived vectors of documents that were purged meanwhile: the purge cannot have seen them."""
        for key, reading in added.items():
            requests = self._archive.deletions[reading.collection].after(reading.deletions_seen)
            if any(request.purge and request.document_id in (None, reading.document.id) for request in requests):
                self._archive.answers.delete(key)

    def _key(self, reading: Reading, text: str) -> str:
        assert reading.image is not None  # a reading without image has no text here
        digest = hashlib.sha256(f"{QUESTION}\n{self.embedder.model.id}\n{text}".encode()).hexdigest()
        return f"{reading.image.sha256}-{digest}"

    def _archived(self, keys: Mapping[int, str]) -> dict[int, PageVector]:
        answers = self._archive.answers.get_many(list(keys.values()))
        model = self.embedder.model
        found = {at: answer for at, answer in zip(keys, answers, strict=True) if answer is not None}
        unpacked = {at: unpack(answer.content, model.dimensions) for at, answer in found.items()}
        return {at: PageVector(model.id, vector) for at, vector in unpacked.items() if vector is not None}

    def _embedded(
        self, texts: Mapping[int, str], keys: Mapping[int, str], cancel: CancelToken | None
    ) -> dict[int, PageVector]:
        if not texts or (cancel is None and time.monotonic() < self._paused_until):
            return {}
        distinct = list(dict.fromkeys(texts.values()))
        embed = partial(self.embedder.embed_passages, distinct)
        begun = time.monotonic()
        try:
            made = embed() if cancel is None else retry_until_available(embed, cancel, MODEL_WAITS_SECONDS)
        except PagesightError as error:
            if cancel is not None:
                raise
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            log.warning("pages are indexed without vectors: %s. %s", error, error.remedy)
            return {}
        with self._lock:
            self.tokens += made.tokens
        vectors = dict(zip(distinct, made.vectors, strict=True))
        seconds = (time.monotonic() - begun) / len(distinct)
        found: dict[int, PageVector] = {}
        for at, text in texts.items():
            vector = vectors[text]
            if vector is not None:
                self._archive.answers.add(self._answer(keys[at], vector, made.tokens // len(distinct), seconds))
                found[at] = PageVector(self.embedder.model.id, vector)
        return found

    def _answer(self, key: str, vector: Vector, tokens: int, seconds: float) -> Answer:
        return Answer(
            key=key,
            question=QUESTION,
            model=self.embedder.model.id,
            content=pack(vector),
            tokens_in=tokens,
            seconds=seconds,
            asked_at=datetime.now(UTC),
        )


def _text(reading: Reading) -> str:
    """Return what is embedded of a page; nothing of a page without image, description and text."""
    if reading.image is None or reading.status not in (PageStatus.DESCRIBED, PageStatus.TEXT_ONLY):
        return ""
    return embedded_text(reading.description, reading.text)

"""The interface of all page readers, and the answer cache, which asks each question about an image at most once."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.core.leases import LEASE_WAITS_SECONDS, Lease, Leases
from pipeline.core.models import Answer, RenderedCrop, RenderedPage, TextSource, Value
from pipeline.core.retry import CancelToken, Waiting, retry_until_available
from pipeline.vision.budget import Budget
from pipeline.vision.profile import Profile

#: Interval at which a caller that waits for another caller's answer looks for it.
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class PageAnswers:
    """The result of reading one page."""

    description: str | None
    """None if it was not requested; an empty description is "". The same holds for `caption`, `text`, `translation`."""
    text: str | None
    text_source: TextSource | None
    caption: str | None = None
    translation: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    """Answers to the profile's own questions, by name."""
    answers: tuple[Answer, ...] = ()
    """The archived answers from which this result was made."""
    cached: int = 0
    """Number of answers that were archived before."""
    description_language: str | None = None
    """BCP 47 tag of the description's language, if the reader knows it."""
    read_by: str | None = None
    """Engine and revision that read this page, if the reader has several engines."""
    doubts: tuple[str, ...] = ()
    """Reasons to check the page, as in `Trust.reasons`."""
    rungs: tuple[str, ...] = ()
    """Further attempts, as `<question>:<rung>`, in order."""
    agreement: float | None = None
    """Overlap of the text's words with the words of a sound text layer, 0 to 1."""
    repetition: float = 0.0
    """Largest share of an answer that is repetition, 0 to 1."""
    truncated: bool = False
    """Whether a stored answer is cut off."""
    language_ok: bool | None = None
    """Whether all answers that must be in the requested language are; None if there are none."""


@dataclass(frozen=True, slots=True)
class OcrText:
    """The text of a page by OCR."""

    text: str
    answers: tuple[Answer, ...]
    """The archived OCR results."""
    cached: int


@dataclass(slots=True)
class Usage:
    """Calls that a reader made to a model. Archived answers do not count. Threads share it."""

    calls: int = 0
    """Requests that the model answered, without the first question of a process."""
    tokens_in: int = 0
    tokens_out: int = 0
    not_climbed: int = 0
    """Questions that were asked once, because further attempts did not help other pages."""
    stopped_climbing: dict[str, str] = field(default_factory=dict)
    """Questions that most pages are asked once, for this reason at present, and the faults of the answers."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def tokens(self) -> int:
        """Tokens sent and received."""
        return self.tokens_in + self.tokens_out

    def include(self, other: Usage) -> None:
        """Add the counts of another usage."""
        with self._lock:
            self.calls += other.calls
            self.tokens_in += other.tokens_in
            self.tokens_out += other.tokens_out

    def add(self, tokens_in: int, tokens_out: int) -> None:
        """Count one answered call."""
        with self._lock:
            self.calls += 1
        self.add_tokens(tokens_in, tokens_out)

    def add_tokens(self, tokens_in: int, tokens_out: int) -> None:
        """Count the tokens of a call that is not about a page."""
        with self._lock:
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out


class Rerenderer(Protocol):
    """Renders a page again from its source file."""

    def crops(self, bands: int) -> tuple[RenderedCrop, ...]:
        """Return the page as `bands` overlapping bands, each sharper than the page image.

        Raises:
            OutcomeError: the file has changed, or rendering fails.
            Stopped: the token was cancelled.
        """
        ...

    def pixels(self) -> RenderedPage:
        """Return the page with its pixels; raises the same errors as `crops`."""
        ...


class Reader(Protocol):
    """Reads one page at a time. Threads share one reader."""

    name: str
    """Name in records: `jina-vlm`, `local-reader`."""
    revision: str
    profile: str
    prompt_revision: str
    describes: bool
    """True if a vision model describes pages; False if there are only text and measurements."""
    wants_pixels: bool
    """Whether `RenderedPage.rgb` must be filled."""

    @property
    def usage(self) -> Usage:
        """All zero for a reader without a model."""
        ...

    def with_profile(self, profile: Profile) -> Reader:
        """Return a reader that asks the questions of a profile and shares this one's connections and counts.

        Close only the original reader.
        """
        ...

    def within(self, budget: Budget) -> Reader:
        """Return a reader whose calls count against a budget and which shares this one's connections and counts."""
        ...

    def read(
        self, page: RenderedPage, language: str, cancel: CancelToken, rerenderer: Rerenderer | None = None
    ) -> PageAnswers:
        """Read a page that is not blank.

        Args:
            language: BCP 47 tag of the language of descriptions.
            rerenderer: renders the page again if that helps.

        Raises:
            OutcomeError: this page cannot be read.
            ServiceRefused: no page can be read.
            Stopped: the token was cancelled.
        """
        ...

    def close(self) -> None:
        """Release connections and processes."""
        ...


class AnswerStore(Protocol):
    """Stores answers: `pipeline.archive.content.Answers`."""

    def get(self, key: str) -> Answer | None:
        """Return the answer of this key, or None."""
        ...

    def add(self, answer: Answer) -> None:
        """Store an answer. An answer that is already stored stays."""
        ...


def answer_key(pixels_sha256: str, request: Mapping[str, object]) -> str:
    """Return the key of an answer: the hash of the pixels, and a hash of the request.

    `request` holds everything that can change the answer: model, revision, prompt text, decoding parameters. It does
    not hold the document, its name or its collection.
    """
    canonical = json.dumps(request, sort_keys=True, ensure_ascii=False)
    return f"{pixels_sha256}-{hashlib.sha256(canonical.encode()).hexdigest()}"


class AnswerCache:
    """Looks up answers in the archive before a model is called, with a single flight per image."""

    def __init__(self, store: AnswerStore, leases: Leases) -> None:
        self._store = store
        self._leases = leases

    @contextmanager
    def for_image(self, pixels_sha256: str, cancel: CancelToken) -> Iterator[ImageAnswers]:
        """Yield the answers about one image; its lease, if taken, is released at the end of the block."""
        with ExitStack() as held:
            yield ImageAnswers(self._store, self._leases, pixels_sha256, cancel, held)


class ImageAnswers:
    """The answers about one image. The first caller that misses one takes the image's lease and keeps it to the end.

    One lease covers all questions about an image, because they follow one another: a lease per question took a
    sixteenth of a worker's CPU time.
    """

    def __init__(
        self, store: AnswerStore, leases: Leases, pixels_sha256: str, cancel: CancelToken, held: ExitStack
    ) -> None:
        self._store = store
        self._leases = leases
        self._image = pixels_sha256
        self._cancel = cancel
        self._held = held
        self._is_leased = False

    def find(self, key: str) -> Answer | None:
        """Return the answer of this key, or None: then this caller holds the image's lease, asks, and saves the answer.

        Raises:
            Stopped: the token was cancelled while another caller asked, or while the leases were unavailable.
        """
        found = self._store.get(key)
        if found is None and not self._is_leased:
            found = self._wait_for_lease(key)
        return found

    def has(self, key: str) -> bool:
        """Whether the answer of this key is archived."""
        return self._store.get(key) is not None

    def save(self, answer: Answer) -> None:
        """Archive an answer."""
        self._store.add(answer)

    @contextmanager
    def apart(self, work: str) -> Iterator[ImageAnswers]:
        """Release the image's lease, and yield the answers under a lease for this work alone.

        It is for slow work without the model: others who ask about the same image do not wait for it.
        """
        self._held.close()
        self._is_leased = False
        with ExitStack() as held:
            yield ImageAnswers(self._store, self._leases, f"{self._image}-{work}", self._cancel, held)

    def _wait_for_lease(self, key: str) -> Answer | None:
        """Take the lease, or return the answer if the caller that holds it archives that first."""
        waiting = Waiting("an answer", "another caller asks about the same image at present", time.time())
        while (lease := retry_until_available(self._take, self._cancel, LEASE_WAITS_SECONDS)) is None:
            self._cancel.wait(POLL_SECONDS, waiting)
            if (found := self._store.get(key)) is not None:
                return found
        self._held.enter_context(lease)
        self._is_leased = True
        return self._store.get(key)  # it may have been archived between the look and the lease

    def _take(self) -> Lease | None:
        return self._leases.take(self._image)

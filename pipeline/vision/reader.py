"""What every reader of pages is, and the cache that makes no question be asked twice."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.core.leases import LEASE_WAITS_SECONDS, Lease, Leases
from pipeline.core.models import Answer, RenderedCrop, RenderedPage, TextSource, Value
from pipeline.core.retry import CancelToken, Waiting, retry_until_available
from pipeline.vision.budget import Budget
from pipeline.vision.profile import Profile

#: How often one who waits for another's answer looks for it.
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class PageAnswers:
    """What a reader found out about one page."""

    description: str | None
    """None where it was not asked for; an empty one is "", and so with `caption`, `text` and `translation`."""
    text: str | None
    text_source: TextSource | None
    caption: str | None = None
    translation: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    """Answers to the profile's own questions, by name."""
    answers: tuple[Answer, ...] = ()
    """The archived answers that all this rests on."""
    cached: int = 0
    """How many of the answers were there already."""
    description_language: str | None = None
    """BCP 47 tag of the language that `description` is in, where the reader knows it."""
    read_by: str | None = None
    """What read this page, with its revision, where the reader has several ways."""
    doubts: tuple[str, ...] = ()
    """Why the page is to be looked at, in the words of `Trust.reasons`."""
    rungs: tuple[str, ...] = ()
    """How it was asked again, as `<question>:<rung>`, in order."""
    agreement: float | None = None
    """Overlap of the text's words with those of a sound layer, 0 to 1."""
    repetition: float = 0.0
    """The largest share of an answer that repeats itself, 0 to 1."""
    truncated: bool = False
    """Whether an answer that was kept is cut off."""
    language_ok: bool | None = None
    """Whether what was to be in the language asked for is; None where nothing was."""


@dataclass(frozen=True, slots=True)
class OcrText:
    """The text of a page by OCR."""

    text: str
    answers: tuple[Answer, ...]
    """What it rests on."""
    cached: int


@dataclass(slots=True)
class Usage:
    """What a reader has really asked of a model; answers from the archive are not in it. Threads share it."""

    calls: int = 0
    """Requests that the model answered."""
    tokens_in: int = 0
    tokens_out: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def tokens(self) -> int:
        """Tokens sent and received."""
        return self.tokens_in + self.tokens_out

    def include(self, other: Usage) -> None:
        """Count what another one has counted."""
        with self._lock:
            self.calls += other.calls
            self.tokens_in += other.tokens_in
            self.tokens_out += other.tokens_out

    def add(self, tokens_in: int, tokens_out: int) -> None:
        """Count one answered call."""
        with self._lock:
            self.calls += 1
            self.tokens_in += tokens_in
            self.tokens_out += tokens_out


class Rerenderer(Protocol):
    """Shows a page anew, from its source."""

    def crops(self, bands: int) -> tuple[RenderedCrop, ...]:
        """Return the page in so many overlapping bands, each sharper than the page image.

        Raises:
            OutcomeError: its file has changed, or rendering fails.
            Stopped: the patience has ended meanwhile.
        """
        ...

    def pixels(self) -> RenderedPage:
        """Return the page with its pixels; raises as `crops` does."""
        ...


class Reader(Protocol):
    """Reads one page at a time; threads share one reader."""

    name: str
    """As records show it: `jina-vlm`, `local-reader`."""
    revision: str
    profile: str
    prompt_revision: str
    describes: bool
    """True where a vision model speaks; False where only text and measurements are had."""
    wants_pixels: bool
    """Whether `RenderedPage.rgb` must be filled."""

    @property
    def usage(self) -> Usage:
        """All zero for a reader that asks no model."""
        ...

    def with_profile(self, profile: Profile) -> Reader:
        """Return a reader with this one's connections and counts that asks the questions of a profile.

        The one who closes it is still the one who made this one.
        """
        ...

    def within(self, budget: Budget) -> Reader:
        """Return likewise a reader whose calls a budget bounds."""
        ...

    def read(
        self, page: RenderedPage, language: str, cancel: CancelToken, sharper: Rerenderer | None = None
    ) -> PageAnswers:
        """Read a page that is not blank, in the language of a BCP 47 tag; `sharper` shows it anew where that helps.

        Raises:
            OutcomeError: this page cannot be read.
            ServiceRefused: no page can.
            Stopped: the patience has ended meanwhile.
        """
        ...

    def close(self) -> None:
        """Release connections and processes."""
        ...


class AnswerStore(Protocol):
    """Stores answers by key: `pipeline.archive.content.Answers`."""

    def get(self, key: str) -> Answer | None:
        """Return the answer of a key, None without one."""
        ...

    def add(self, answer: Answer) -> None:
        """Store an answer; the first answer of a key stays."""
        ...


def answer_key(pixels_sha256: str, asked: Mapping[str, object]) -> str:
    """Return the key of an answer: which pixels, and a hash of what was really asked about them.

    `asked` holds everything that could change the answer: model, revision, prompt text, decoding parameters. The
    document, its name and its collection are no part of it.
    """
    canonical = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return f"{pixels_sha256}-{hashlib.sha256(canonical.encode()).hexdigest()}"


class AnswerCache:
    """Looks in the archive before anything is asked, and lets one ask where several want the same."""

    def __init__(self, store: AnswerStore, leases: Leases) -> None:
        self._store = store
        self._leases = leases

    @contextmanager
    def about(self, pixels_sha256: str, cancel: CancelToken) -> Iterator[ImageAnswers]:
        """The answers about one image, for as long as a reader works on it."""
        with ExitStack() as held:
            yield ImageAnswers(self._store, self._leases, pixels_sha256, cancel, held)


class ImageAnswers:
    """The answers about one image. Who first misses one takes the lease on the image, and keeps it to the end.

    One lease for all that is asked about an image: its questions follow one another, and a lease for each of them
    cost a worker a sixteenth of its CPU time.
    """

    def __init__(
        self, store: AnswerStore, leases: Leases, pixels_sha256: str, cancel: CancelToken, held: ExitStack
    ) -> None:
        self._store = store
        self._leases = leases
        self._image = pixels_sha256
        self._cancel = cancel
        self._held = held
        self._is_mine = False

    def get_or_ask(self, key: str, ask: Callable[[], Answer]) -> tuple[Answer, bool]:
        """Return the answer of this key, and whether it was there already. What `ask` returns is archived at once.

        Raises:
            Stopped: the patience has ended while another one asked, or while leases could not be had.
        """
        found = self._store.get(key)
        if found is None and not self._is_mine:
            found = self._take_turn(key)
        if found is not None:
            return found, True
        answer = ask()
        self._store.add(answer)
        return answer, False

    def _take_turn(self, key: str) -> Answer | None:
        """Take the lease, unless the answer comes from who holds it."""
        waiting = Waiting("an answer", "someone else asks about the same image at present", time.time())
        while (lease := retry_until_available(self._take, self._cancel, LEASE_WAITS_SECONDS)) is None:
            self._cancel.wait(POLL_SECONDS, waiting)
            if (found := self._store.get(key)) is not None:
                return found
        self._held.enter_context(lease)
        self._is_mine = True
        return self._store.get(key)  # it may have come between the look and the lease

    def _take(self) -> Lease | None:
        return self._leases.take(self._image)

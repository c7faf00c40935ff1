"""Pages and an answer store for tests of the readers."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from PIL import Image

from pipeline.core.models import Answer, OriginalImage, PageFacts, RenderedPage
from pipeline.core.retry import CancelToken
from pipeline.vision.endpoint.asking import Asker, Model, Models
from pipeline.vision.model.model_reader import ModelReader
from pipeline.vision.profile import Profile
from pipeline.vision.reader import AnswerCache


def page_image(seed: int, width: int = 40, height: int = 56) -> bytes:
    """A small JPEG that differs for each seed."""
    colour = (seed % 256, seed // 256 % 256, 128)
    stream = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(stream, "JPEG", quality=90, comment=str(seed).encode())
    return stream.getvalue()


def rendered_page(seed: int) -> RenderedPage:
    """A page as the sandbox hands it over; the same seed gives the same pixels."""
    return RenderedPage(
        page_number=seed + 1,
        label=None,
        section=None,
        hidden=False,
        jpeg=page_image(seed),
        thumbnail=b"",
        width_px=40,
        height_px=56,
        dpi=None,
        pixels_sha256=hashlib.sha256(str(seed).encode()).hexdigest(),
        phash="0" * 16,
        blank=False,
        layer_text=None,
        notes=None,
        original=OriginalImage(format="JPEG"),
        exif={},
        facts=PageFacts(ink_share=0.2, picture_share=None, colours=(), is_vector=True),
    )


class AnswersInMemory:
    """An archive's answers, kept in a dictionary."""

    def __init__(self) -> None:
        self.by_key: dict[str, Answer] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> Answer | None:
        return self.by_key.get(key)

    def add(self, answer: Answer) -> None:
        with self._lock:
            self.by_key.setdefault(answer.key, answer)


class LeasesInMemory:
    """Leases among threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[str] = set()

    def take(self, key: str) -> AbstractContextManager[None] | None:
        with self._lock:
            if key in self._held:
                return None
            self._held.add(key)
        return self._given_back(key)

    @contextmanager
    def _given_back(self, key: str) -> Iterator[None]:
        try:
            yield
        finally:
            with self._lock:
                self._held.remove(key)


def answer_cache(store: AnswersInMemory | None = None) -> AnswerCache:
    """A cache that keeps nothing beyond the test."""
    return AnswerCache(store or AnswersInMemory(), LeasesInMemory())


def get_or_ask(cache: AnswerCache, key: str, ask: Callable[[], Answer], cancel: CancelToken) -> tuple[Answer, bool]:
    """One answer about an image that nothing else is asked about."""
    with cache.for_image("image", cancel) as answers:
        found = answers.find(key)
        if found is not None:
            return found, True
        asked = ask()
        answers.save(asked)
        return asked, False


def model_reader(asker: Asker, cache: AnswerCache, profile: Profile) -> ModelReader:
    """A reader that asks one model everything."""
    return ModelReader(Models(Model(asker.model, asker.revision)), asker, cache, profile)

"""Reads pages by asking a vision model the questions of a profile, each at most once for the same pixels."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files

from pipeline.errors import AnswerTimeout, AnswerUnusable, ServiceThrottled, ServiceUnavailable
from pipeline.models import Answer, RenderedPage, TextSource
from pipeline.retry import MODEL_WAITS_SECONDS, Patience, persist, wait_seconds
from pipeline.vision.client import Completion, VlmClient
from pipeline.vision.limits import Limiter
from pipeline.vision.profile import Profile, Question
from pipeline.vision.reader import AnswerCache, ImageAnswers, PageAnswers, Usage, answer_key

#: An answer that cannot be understood is asked for again at once, so often in all.
UNUSABLE_ATTEMPTS = 3
#: The most likely answer, and the same one each time.
TEMPERATURE = 0.0

#: A white square of 64 pixels, the smallest that Jina's own services describe, asked about where no other page is left
#: that could tell a page that cannot be answered from a model that is away.
CANARY_IMAGE = files("pipeline.vision") / "canary.jpg"
CANARY_PROMPT = "Is this image blank? Answer yes or no."
CANARY_MAX_TOKENS = 8

_FENCED = re.compile(r"\A```[\w-]*[ \t]*\n(?P<inside>.*?)\n?```\Z", re.DOTALL)


class ModelReader:
    """The reader that asks jina-vlm. One for a process; its threads share it.

    Args:
        revision: the name given to the model's present weights (`vlm_model_revision`).
        waits_seconds: the schedule of `pipeline.retry.persist`.
    """

    describes = True
    wants_pixels = False

    def __init__(
        self,
        client: VlmClient,
        cache: AnswerCache,
        limiter: Limiter,
        profile: Profile,
        *,
        revision: str,
        waits_seconds: tuple[float, ...] = MODEL_WAITS_SECONDS,
    ) -> None:
        self.name = client.model
        self.revision = revision
        self.profile = profile.name
        self.prompt_revision = profile.revision
        self.usage = Usage()
        self._client = client
        self._cache = cache
        self._limiter = limiter
        self._questions = profile.questions
        self._waits_seconds = waits_seconds

    def read(self, page: RenderedPage, language: str, patience: Patience) -> PageAnswers:
        """Ask the profile's questions about a page. An empty description is returned as it is, as "".

        Raises:
            AnswerTimeout: the model answers others, but not this page.
            AnswerUnusable: its answers cannot be understood.
            AnswerRefused: it refuses this page.
            ServiceRefused: it refuses every page.
            Stopped: the patience has ended meanwhile.
        """
        contents: dict[str, str] = {}
        answers: list[Answer] = []
        cached = 0
        with self._cache.about(page.pixels_sha256, patience) as known:
            for question in self._questions:
                answer, found = self._answer(page, question, language, known, patience)
                contents[question.name] = clean_answer(answer.content, question.empty_answer)
                answers.append(answer)
                cached += found
        return PageAnswers(
            description=contents.get("description"),
            description_language=language if "description" in contents else None,
            text=contents.get("text"),
            text_source=TextSource.MODEL if "text" in contents else None,
            answers=tuple(answers),
            cached=cached,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _answer(
        self, page: RenderedPage, question: Question, language: str, known: ImageAnswers, patience: Patience
    ) -> tuple[Answer, bool]:
        prompt = question.prompt_in(language)
        asked = {
            "model": self.name,
            "revision": self.revision,
            "prompt": prompt,
            "language": language,
            "max_tokens": question.max_tokens,
            "temperature": TEMPERATURE,
        }
        key = answer_key(page.pixels_sha256, asked)
        return known.get_or_ask(key, lambda: self._ask(key, question, prompt, page.jpeg, patience))

    def _ask(self, key: str, question: Question, prompt: str, jpeg: bytes, patience: Patience) -> Answer:
        answered_before = self.usage.calls
        attempts = 0

        def attempt() -> Completion:
            nonlocal attempts
            attempts += 1
            return self._call(prompt, jpeg, question.max_tokens, attempts, patience)

        try:
            completion = persist(
                lambda: _until_understood(attempt),
                patience,
                self._waits_seconds,
                others_answered=lambda: self._answers_others(answered_before, patience),
            )
        except ServiceUnavailable as error:
            raise AnswerTimeout(f"{error}; tried {attempts} times while others were answered") from error
        return Answer(
            key=key,
            question=question.name,
            model=self.name,
            content=completion.content,
            truncated=completion.truncated,
            tokens_in=completion.tokens_in,
            tokens_out=completion.tokens_out,
            seconds=completion.seconds,
            attempts=attempts,
            asked_at=datetime.now(UTC),
        )

    def _answers_others(self, answered_before: int, patience: Patience) -> bool:
        """Whether the model answers anyone: another page meanwhile, or, where this is the last one, a trivial one."""
        if self.usage.calls > answered_before:
            return True
        try:
            self._call(CANARY_PROMPT, CANARY_IMAGE.read_bytes(), CANARY_MAX_TOKENS, 1, patience)
        except ServiceUnavailable:
            return False
        return True

    def _call(self, prompt: str, jpeg: bytes, max_tokens: int, attempt: int, patience: Patience) -> Completion:
        with self._limiter.slot(patience):
            try:
                completion = self._client.ask(prompt, jpeg, max_tokens=max_tokens, temperature=TEMPERATURE)
            except ServiceThrottled as error:
                self._limiter.pause(wait_seconds(error, attempt, self._waits_seconds, jitter=0.0))
                raise
        self.usage.add(completion.tokens_in, completion.tokens_out)
        self._limiter.spent(completion.tokens_in + completion.tokens_out)
        return completion


def clean_answer(content: str, empty_answer: str | None) -> str:
    """Return an answer without a code fence around it; the agreed word for nothing becomes the empty text."""
    text = content.strip()
    if fenced := _FENCED.match(text):
        text = fenced["inside"].strip()
    if empty_answer is not None and _letters(text) == _letters(empty_answer):
        return ""
    return text


def _letters(text: str) -> str:
    # Small models add a full stop, quotes or capitals of their own to the word they were told.
    return "".join(char for char in text.casefold() if char.isalnum())


def _until_understood(attempt: Callable[[], Completion]) -> Completion:
    for _ in range(UNUSABLE_ATTEMPTS - 1):
        try:
            return attempt()
        except AnswerUnusable:
            continue
    return attempt()

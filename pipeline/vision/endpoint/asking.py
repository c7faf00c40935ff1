"""Asks a vision model one thing about one image, at most once for the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

from pipeline.core.errors import AnswerTimeout, AnswerUnusable, ServiceThrottled, ServiceUnavailable
from pipeline.core.models import Answer
from pipeline.core.retry import MODEL_WAITS_SECONDS, CancelToken, retry_until_available, wait_seconds
from pipeline.vision.budget import Budget
from pipeline.vision.endpoint.client import Completion, VlmClient
from pipeline.vision.endpoint.cost import MAX_IMAGE_TOKENS
from pipeline.vision.endpoint.limits import Limiter
from pipeline.vision.profile import TEXT_QUESTION, Question
from pipeline.vision.reader import ImageAnswers, Usage, answer_key

#: An answer that cannot be understood is asked for again at once, so often in all.
UNUSABLE_ATTEMPTS = 3
#: The most likely answer, and the same one each time.
TEMPERATURE = 0.0

#: A white square of 64 pixels, the smallest that Jina's own services describe, asked about where no other page is left
#: that could tell a page that cannot be answered from a model that is away.
CANARY_IMAGE = files("pipeline.vision.endpoint") / "canary.jpg"
CANARY_PROMPT = "Is this image blank? Answer yes or no."


@dataclass(frozen=True, slots=True)
class ImageInput:
    """What a question is about: a page image, or a part of one."""

    pixels_sha256: str
    """Of the whole page: its answers lie, are leased and are purged together."""
    jpeg: bytes
    crop_sha256: str | None = None
    """Of the raw pixels of a part; None for the page image."""


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """What is sent beside the picture: everything that could change the answer."""

    question: str
    """The question's name, for people; no part of the key."""
    prompt: str
    language: str
    """BCP 47 tag that the prompt names."""
    max_tokens: int
    temperature: float = TEMPERATURE
    repetition_penalty: float | None = None

    @property
    def most_tokens(self) -> int:
        """The most that a call may cost, sent and received: a token is a byte at least."""
        return MAX_IMAGE_TOKENS + len(self.prompt.encode()) + self.max_tokens


def asked_key(
    model: str, revision: str, pixels_sha256: str, asked: PromptRequest, crop_sha256: str | None = None
) -> str:
    """Return the key under which what a model says to this, about these pixels or a part of them, is archived."""
    what = {
        "model": model,
        "revision": revision,
        "prompt": asked.prompt,
        "language": asked.language,
        "max_tokens": asked.max_tokens,
        "temperature": asked.temperature,
    }
    if asked.repetition_penalty is not None:
        what["repetition_penalty"] = asked.repetition_penalty
    if crop_sha256 is not None:
        what["crop"] = crop_sha256
    return answer_key(pixels_sha256, what)


CANARY = PromptRequest("canary", CANARY_PROMPT, language="", max_tokens=8)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that answers, and whether it is told what is asked: one that only transcribes takes the image alone."""

    name: str
    revision: str
    takes_prompt: bool = True

    def asked(self, question: Question, language: str) -> PromptRequest:
        """Return what this model is sent for a question."""
        prompt = question.prompt_in(language) if self.takes_prompt else ""
        return PromptRequest(question.name, prompt, question.language_in(language), question.max_tokens)


@dataclass(frozen=True, slots=True)
class Models:
    """Who is asked what: the vision model, or for the text of a page a model of its own."""

    vision: Model
    text: Model | None = None

    def of(self, question: Question) -> Model:
        """Return the model that answers a question."""
        return self.text if self.text is not None and question.name == TEXT_QUESTION else self.vision

    @property
    def names(self) -> frozenset[str]:
        """Their names, as answers hold them."""
        return frozenset(model.name for model in (self.vision, self.text) if model is not None)

    @property
    def revision(self) -> str:
        """What readings name: another revision of either makes them stale."""
        if self.text is None:
            return self.vision.revision
        alone = "" if self.text.takes_prompt else ", image alone"
        return f"{self.vision.revision}; text: {self.text.name} {self.text.revision}{alone}"


class Asker:
    """One for a process; its threads share it.

    Args:
        revision: the name given to the model's present weights (`vlm_model_revision`).
        waits_seconds: the schedule of `pipeline.core.retry.persist`.
        budget: what all calls together may cost; any number of tokens when None.
    """

    def __init__(
        self,
        client: VlmClient,
        limiter: Limiter,
        *,
        revision: str,
        waits_seconds: tuple[float, ...] = MODEL_WAITS_SECONDS,
        budget: Budget | None = None,
    ) -> None:
        self.model = client.model
        self.revision = revision
        self.usage = Usage()
        self._client = client
        self._limiter = limiter
        self._waits_seconds = waits_seconds
        self._budget = budget or Budget()

    def within(self, budget: Budget) -> Asker:
        """Return this asker, with its connections and counts, for calls that a budget bounds."""
        bounded = copy(self)
        bounded._budget = budget
        return bounded

    def key(self, picture: ImageInput, asked: PromptRequest) -> str:
        """Return the key under which the answer is archived."""
        return asked_key(self.model, self.revision, picture.pixels_sha256, asked, picture.crop_sha256)

    def ask(
        self, picture: ImageInput, asked: PromptRequest, known: ImageAnswers, cancel: CancelToken
    ) -> tuple[Answer, bool]:
        """Return the answer, and whether it was archived already.

        Raises:
            AnswerTimeout: the model answers others, but not this.
            AnswerUnusable: its answers cannot be understood.
            AnswerRefused: it refuses this picture.
            ServiceRefused: it refuses every one.
            Stopped: the patience has ended meanwhile.
        """
        key = self.key(picture, asked)
        return known.get_or_ask(key, lambda: self._ask(key, picture.jpeg, asked, cancel))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, key: str, jpeg: bytes, asked: PromptRequest, cancel: CancelToken) -> Answer:
        answered_before = self.usage.calls
        attempts = 0

        def attempt() -> Completion:
            nonlocal attempts
            attempts += 1
            return self._call(asked, jpeg, attempts, cancel)

        try:
            completion = retry_until_available(
                lambda: _until_understood(attempt),
                cancel,
                self._waits_seconds,
                others_answered=lambda: self._answers_others(answered_before, cancel),
            )
        except ServiceUnavailable as error:
            raise AnswerTimeout(f"{error}; tried {attempts} times while others were answered") from error
        return Answer(
            key=key,
            question=asked.question,
            model=self.model,
            content=completion.content,
            truncated=completion.truncated,
            tokens_in=completion.tokens_in,
            tokens_out=completion.tokens_out,
            seconds=completion.seconds,
            attempts=attempts,
            asked_at=datetime.now(UTC),
        )

    def _answers_others(self, answered_before: int, cancel: CancelToken) -> bool:
        """Whether the model answers anyone: another page meanwhile, or, where this is the last one, a trivial one."""
        if self.usage.calls > answered_before:
            return True
        try:
            self._call(CANARY, CANARY_IMAGE.read_bytes(), 1, cancel)
        except ServiceUnavailable:
            return False
        return True

    def _call(self, asked: PromptRequest, jpeg: bytes, attempt: int, cancel: CancelToken) -> Completion:
        with self._limiter.slot(cancel), self._budget.share(asked.most_tokens, cancel) as share:
            try:
                completion = self._client.ask(
                    asked.prompt,
                    jpeg,
                    max_tokens=asked.max_tokens,
                    temperature=asked.temperature,
                    repetition_penalty=asked.repetition_penalty,
                )
            except ServiceThrottled as error:
                self._limiter.pause(wait_seconds(error, attempt, self._waits_seconds, jitter=0.0))
                raise
            share.spent = completion.tokens_in + completion.tokens_out
        self.usage.add(completion.tokens_in, completion.tokens_out)
        self._limiter.spent(completion.tokens_in + completion.tokens_out)
        return completion


def _until_understood(attempt: Callable[[], Completion]) -> Completion:
    for _ in range(UNUSABLE_ATTEMPTS - 1):
        try:
            return attempt()
        except AnswerUnusable:
            continue
    return attempt()

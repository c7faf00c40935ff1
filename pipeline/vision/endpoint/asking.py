"""Calls a model with one prompt and one image, and archives the answer: one call for equal pixels and prompts."""

from __future__ import annotations

import logging
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pipeline.core.errors import (
    AnswerRefused,
    AnswerTimeout,
    AnswerUnusable,
    ServiceRefused,
    ServiceThrottled,
    ServiceUnavailable,
)
from pipeline.core.models import Answer
from pipeline.core.retry import MODEL_WAITS_SECONDS, CancelToken, retry_until_available, wait_seconds
from pipeline.vision.budget import Budget
from pipeline.vision.endpoint.blame import Blame
from pipeline.vision.endpoint.client import Completion, VlmClient
from pipeline.vision.endpoint.cost import MAX_IMAGE_TOKENS
from pipeline.vision.endpoint.first_question import FIRST_PROMPT, FirstQuestion
from pipeline.vision.endpoint.limits import Limiter
from pipeline.vision.endpoint.trivial import CANARY_IMAGE, CANARY_MAX_TOKENS, CANARY_PROMPT, PAGE_IMAGE
from pipeline.vision.profile import TEXT_QUESTION, Question
from pipeline.vision.reader import ImageAnswers, Usage, answer_key

log = logging.getLogger(__name__)

#: Attempts in all, without a wait, if the answer cannot be parsed.
UNUSABLE_ATTEMPTS = 3
#: The most likely answer, and the same one each time.
TEMPERATURE = 0.0


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The image of a request: a page image, or a part of one."""

    pixels_sha256: str
    """Of the whole page. All answers about a page are stored, leased and purged under this hash."""
    jpeg: bytes
    crop_sha256: str | None = None
    """Of the raw pixels of a part; None for the page image."""


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """The request without the image: everything else that can change the answer."""

    question: str
    """The question's name, for people. It is not part of the key."""
    prompt: str
    language: str
    """BCP 47 tag of the language that the prompt names."""
    max_tokens: int
    temperature: float = TEMPERATURE
    repetition_penalty: float | None = None

    @property
    def most_tokens(self) -> int:
        """Upper bound of a call's tokens, sent and received. A token is at least one byte."""
        return MAX_IMAGE_TOKENS + len(self.prompt.encode()) + self.max_tokens


CANARY = PromptRequest("canary", CANARY_PROMPT, language="", max_tokens=CANARY_MAX_TOKENS)
FIRST = PromptRequest("first", FIRST_PROMPT, language="", max_tokens=CANARY_MAX_TOKENS)


def request_key(
    model: str, revision: str, pixels_sha256: str, request: PromptRequest, crop_sha256: str | None = None
) -> str:
    """Return the key under which the answer to a request about these pixels, or a part of them, is archived."""
    sent: dict[str, object] = {
        "model": model,
        "revision": revision,
        "prompt": request.prompt,
        "language": request.language,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
    }
    if request.repetition_penalty is not None:
        sent["repetition_penalty"] = request.repetition_penalty
    if crop_sha256 is not None:
        sent["crop"] = crop_sha256
    return answer_key(pixels_sha256, sent)


@dataclass(frozen=True, slots=True)
class Model:
    """A model, and whether it takes a prompt. A model that only transcribes gets the image alone."""

    name: str
    revision: str
    takes_prompt: bool = True

    def request(self, question: Question, language: str) -> PromptRequest:
        """Return the request that this model gets for a question."""
        prompt = question.prompt_in(language) if self.takes_prompt else ""
        return PromptRequest(question.name, prompt, question.language_in(language), question.max_tokens)


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a reader: the vision model and, if configured, a separate model for the text of a page."""

    vision: Model
    text: Model | None = None

    def of(self, question: Question) -> Model:
        """Return the model that answers a question."""
        return self.text if self.text is not None and question.name == TEXT_QUESTION else self.vision

    @property
    def names(self) -> frozenset[str]:
        """Their names as stored with answers."""
        return frozenset(model.name for model in (self.vision, self.text) if model is not None)

    @property
    def revision(self) -> str:
        """The revision stored with readings. A new revision of either model makes them stale."""
        if self.text is None:
            return self.vision.revision
        alone = "" if self.text.takes_prompt else ", image alone"
        return f"{self.vision.revision}; text: {self.text.name} {self.text.revision}{alone}"


class Asker:
    """Calls one model within limits and budget, with retries. One for a process; its threads share it.

    Args:
        revision: the name given to the model's present weights (`vlm_model_revision`).
        waits_seconds: the schedule of `pipeline.core.retry.retry_until_available`.
        budget: bounds the tokens of all calls together; without a bound if None.
        first_question: is asked before the first page; None for callers that do not read pages.
    """

    def __init__(
        self,
        client: VlmClient,
        limiter: Limiter,
        *,
        revision: str,
        waits_seconds: tuple[float, ...] = MODEL_WAITS_SECONDS,
        budget: Budget | None = None,
        first_question: FirstQuestion | None = None,
    ) -> None:
        self.model = client.model
        self.revision = revision
        self.usage = Usage()
        self._client = client
        self._limiter = limiter
        self._waits_seconds = waits_seconds
        self._budget = budget or Budget()
        self._blame = Blame()
        self._has_noted_counts = False
        self._first_question = first_question
        self._largest_max_tokens = 0

    def within(self, budget: Budget) -> Asker:
        """Return an asker whose calls count against a budget, with this one's connections and counts."""
        bounded = copy(self)
        bounded._budget = budget
        return bounded

    def expecting(self, max_tokens: int) -> Asker:
        """Return an asker that will be asked questions of up to this `max_tokens`, with this one's connections."""
        expecting = copy(self)
        expecting._largest_max_tokens = max_tokens
        return expecting

    def key(self, image: ImageInput, request: PromptRequest) -> str:
        """Return the key under which the answer is archived."""
        return request_key(self.model, self.revision, image.pixels_sha256, request, image.crop_sha256)

    def ask(
        self, image: ImageInput, request: PromptRequest, answers: ImageAnswers, cancel: CancelToken
    ) -> tuple[Answer, bool]:
        """Return the answer, and whether it was archived already.

        Raises:
            AnswerTimeout: the model answers other requests, but not this one.
            AnswerUnusable: its answers cannot be parsed.
            AnswerRefused: it refuses this image.
            ServiceRefused: it refuses every image.
            Stopped: the token was cancelled.
        """
        key = self.key(image, request)
        found = answers.find(key)
        if found is not None:
            return found, True
        call = _Call(self, request, image.jpeg, cancel)
        try:
            completion = call.complete(self._waits_seconds)
        except ServiceRefused as refusal:
            self._blame.note_refusal(refusal)
            raise
        answer = _answer(key, request, self.model, completion, call.attempts)
        answers.save(answer)
        return answer, False

    def send(self, request: PromptRequest, jpeg: bytes, attempt: int, cancel: CancelToken) -> Completion:
        """Make one HTTP request within the limits and the budget, and count its tokens.

        `attempt`, 1-based, decides for how long all callers pause if the service throttles them.

        Raises:
            ServiceUnavailable, ServiceRefused, AnswerRefused, AnswerUnusable: as `VlmClient.ask` raises them.
            Stopped: the token was cancelled, or the budget is used up.
        """
        completion = self._send(request, jpeg, attempt, cancel, request.most_tokens)
        self.usage.add(completion.tokens_in, completion.tokens_out)
        return completion

    def ask_first_question(self, jpeg: bytes, cancel: CancelToken) -> None:
        """Before the first page of a process, ask a short question about its image with the largest `max_tokens`.

        An answer that cannot be read is accepted: the page's own question decides.

        Raises:
            AnswerRefused: the endpoint refuses this image, but not a trivial question.
            ServiceRefused: it refuses every request.
            ServiceUnavailable, Stopped: as `send` raises them.
        """
        if self._first_question is not None:
            self._first_question.ensure_accepted(
                self._largest_max_tokens, lambda: self._ask_first(jpeg, cancel), cancel
            )

    def _ask_first(self, jpeg: bytes, cancel: CancelToken) -> None:
        request = replace(FIRST, max_tokens=self._largest_max_tokens)
        try:
            # Yes or no: the answer uses a few of the tokens that it may use, so the budget reserves only those.
            completion = self._send(request, jpeg, 1, cancel, FIRST.most_tokens)
        except AnswerRefused as error:
            self.check_blame(error, request, cancel)
            raise
        except AnswerUnusable:
            return
        self.usage.add_tokens(completion.tokens_in, completion.tokens_out)

    def _send(
        self, request: PromptRequest, jpeg: bytes, attempt: int, cancel: CancelToken, most_tokens: int
    ) -> Completion:
        """Make one HTTP request within the limits, and a budget that has room for `most_tokens`."""
        self._blame.raise_refusal()
        with self._limiter.slot(cancel), self._budget.reserve(most_tokens, cancel) as reservation:
            try:
                completion = self._client.ask(
                    request.prompt,
                    jpeg,
                    max_tokens=request.max_tokens,
                    temperature=request.temperature,
                    repetition_penalty=request.repetition_penalty,
                )
            except ServiceThrottled as error:
                self._limiter.pause(wait_seconds(error, attempt, self._waits_seconds, jitter=0.0))
                raise
            reservation.spent = self._tokens(completion, most_tokens)
        self._limiter.count_tokens(reservation.spent)
        return completion

    def answered(self) -> None:
        """Note an answer about a page."""
        self._blame.answered()

    def check_blame(self, failure: AnswerRefused | AnswerUnusable, request: PromptRequest, cancel: CancelToken) -> None:
        """Return if a failure is the page's own.

        Raises:
            ServiceRefused: the endpoint refuses every request of this size.
            ServiceUnavailable, Stopped: as `send` raises them.
        """
        trivial = replace(CANARY, max_tokens=request.max_tokens)
        self._blame.failed(failure, lambda: self.send(trivial, PAGE_IMAGE.read_bytes(), 1, cancel))

    def _tokens(self, completion: Completion, most_tokens: int) -> int:
        """Return the tokens that a call counts for: without a report by the endpoint, the most that it can cost."""
        if completion.is_counted:
            return completion.tokens_in + completion.tokens_out
        if not self._has_noted_counts:
            self._has_noted_counts = True
            log.warning("the endpoint reports no tokens: budgets and limits count the most that a call can cost")
        return most_tokens

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class _Call:
    """One request and its attempts."""

    def __init__(self, asker: Asker, request: PromptRequest, jpeg: bytes, cancel: CancelToken) -> None:
        self.attempts = 0
        self._asker = asker
        self._request = request
        self._jpeg = jpeg
        self._cancel = cancel
        self._answered_before = asker.usage.calls

    def complete(self, waits_seconds: tuple[float, ...]) -> Completion:
        """Return the completion. Retry while the service is unavailable."""
        try:
            return retry_until_available(
                self._try, self._cancel, waits_seconds, others_answered=self._are_others_answered
            )
        except ServiceUnavailable as error:
            raise AnswerTimeout(f"{error}; tried {self.attempts} times while others were answered") from error

    def _try(self) -> Completion:
        """Send until an answer can be read, at most `UNUSABLE_ATTEMPTS` times."""
        before = self.attempts
        self._asker.ask_first_question(self._jpeg, self._cancel)
        while True:
            self.attempts += 1
            try:
                completion = self._asker.send(self._request, self._jpeg, self.attempts, self._cancel)
            except (AnswerRefused, AnswerUnusable) as error:
                if self.attempts == before + 1:
                    self._asker.check_blame(error, self._request, self._cancel)
                if isinstance(error, AnswerRefused) or self.attempts == before + UNUSABLE_ATTEMPTS:
                    raise
            else:
                self._asker.answered()
                return completion

    def _are_others_answered(self) -> bool:
        """Whether the model answered another page meanwhile or, if this is the last page, answers the canary."""
        if self._asker.usage.calls > self._answered_before:
            return True
        try:
            self._asker.send(CANARY, CANARY_IMAGE.read_bytes(), 1, self._cancel)
        except ServiceUnavailable:
            return False
        return True


def _answer(key: str, request: PromptRequest, model: str, completion: Completion, attempts: int) -> Answer:
    return Answer(
        key=key,
        question=request.question,
        model=model,
        content=completion.content,
        truncated=completion.truncated,
        tokens_in=completion.tokens_in,
        tokens_out=completion.tokens_out,
        seconds=completion.seconds,
        attempts=attempts,
        asked_at=datetime.now(UTC),
    )

"""The conversation with the models about one page: its requests, the models that get them, and their limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.errors import AnswerUnusable, OutcomeError, ServiceRefused
from pipeline.core.models import Answer, RenderedPage
from pipeline.core.retry import CancelToken
from pipeline.vision.budget import Budget
from pipeline.vision.endpoint.asking import Asker, ImageInput, Models, PromptRequest
from pipeline.vision.model.ladder_breaker import LadderBreaker
from pipeline.vision.ocr.local_reader import LocalReader
from pipeline.vision.ocr.process import SERVICE as OCR_SERVICE
from pipeline.vision.profile import Question
from pipeline.vision.reader import ImageAnswers, OcrText, Rerenderer


@dataclass(frozen=True, slots=True)
class EscalationPolicy:
    """Limits and means of further attempts at an answer that cannot be trusted."""

    tokens: int = 50_000
    """Tokens that further attempts may use for one page, sent plus received."""
    penalty: float | None = None
    """`repetition_penalty` of further attempts, for endpoints that take one."""
    ocr: LocalReader | None = None
    """Reads a text that the model cannot read. It is closed with the reader."""


class RerenderFailed(Exception):
    """A page could not be rendered again. `code` is the code of the error."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class ModelAskers:
    """The models of a reader, each with its connections."""

    models: Models
    vision: Asker
    text: Asker
    """The same object as `vision` without a separate model for the text."""

    def of(self, question: Question) -> Asker:
        """Return the asker of the model that answers a question."""
        return self.vision if self.models.of(question) is self.models.vision else self.text

    @property
    def distinct(self) -> tuple[Asker, ...]:
        """One or two askers."""
        return (self.vision,) if self.text is self.vision else (self.vision, self.text)

    def expecting(self, questions: Sequence[Question]) -> ModelAskers:
        """Return askers for these questions, with the same connections.

        A model that takes no prompt is not asked a first question, because it would transcribe the page.
        """
        largest = {
            asker: max((question.max_tokens for question in questions if self.of(question) is asker), default=0)
            for asker in self.distinct
        }
        vision = self.vision.expecting(largest[self.vision])
        if self.text is self.vision:
            return ModelAskers(self.models, vision, vision)
        takes_prompt = self.models.text is not None and self.models.text.takes_prompt
        return ModelAskers(self.models, vision, self.text.expecting(largest[self.text] if takes_prompt else 0))

    def within(self, budget: Budget) -> ModelAskers:
        """Return askers whose calls count against a budget, with the same connections."""
        vision = self.vision.within(budget)
        return ModelAskers(self.models, vision, vision if self.text is self.vision else self.text.within(budget))


@dataclass(slots=True)
class PageConversation:
    """Everything that the questions about one page share. Used by one thread."""

    page: RenderedPage
    language: str
    """BCP 47 tag of the requested language."""
    askers: ModelAskers
    answers: ImageAnswers
    """Archived answers about the page image; its lease is held while answers are missing."""
    cancel: CancelToken
    policy: EscalationPolicy
    breaker: LadderBreaker
    rerenderer: Rerenderer | None = None
    """None rules out crops and OCR."""
    escalation_tokens: int = 0
    """Tokens that further attempts have used, archived answers included."""

    def request(self, question: Question) -> PromptRequest:
        """Return the first request for a question."""
        return self.askers.models.of(question).request(question, self.language)

    def ask(self, question: Question, request: PromptRequest, image: ImageInput) -> tuple[Answer, bool]:
        """Return the answer, and whether it was archived already. Raises as `Asker.ask`."""
        return self.askers.of(question).ask(image, request, self.answers, self.cancel)

    def is_archived(self, question: Question, request: PromptRequest) -> bool:
        """Whether the answer to a request about the page image is archived."""
        image = ImageInput(self.page.pixels_sha256, self.page.jpeg)
        return self.answers.has(self.askers.of(question).key(image, request))

    def images(self, bands: int) -> list[ImageInput]:
        """Return the page image, or the page as two or more overlapping bands.

        Raises:
            RerenderFailed: the page cannot be rendered again.
            Stopped: the token was cancelled.
        """
        pixels_sha256 = self.page.pixels_sha256
        if bands == 1:
            return [ImageInput(pixels_sha256, self.page.jpeg)]
        assert self.rerenderer is not None
        try:
            crops = self.rerenderer.crops(bands)
        except OutcomeError as error:
            raise RerenderFailed(error.code) from error
        return [ImageInput(pixels_sha256, crop.jpeg, crop.pixels_sha256) for crop in crops]

    def affords(self, tokens: int) -> bool:
        """Whether the policy allows further attempts of this many tokens."""
        return self.escalation_tokens + tokens <= self.policy.tokens

    def read_by_ocr(self) -> OcrText | None:
        """Return the page's text by OCR; None without OCR, or if OCR cannot read most of it.

        An engine that does not work fails on this page only and does not stop the run: OCR is the last resort here.

        Raises:
            RerenderFailed: the page cannot be rendered again.
            OutcomeError: OCR failed.
            ServiceRefused: the archive refuses the result.
            Stopped: the token was cancelled.
        """
        if self.policy.ocr is None or self.rerenderer is None:
            return None
        try:
            pixels = self.rerenderer.pixels()
        except OutcomeError as error:
            raise RerenderFailed(error.code) from error
        try:
            with self.answers.apart("ocr") as answers:
                return self.policy.ocr.read_text(pixels, answers)
        except ServiceRefused as error:
            if error.service != OCR_SERVICE:
                raise
            raise AnswerUnusable(str(error), remedy=error.remedy) from error

"""The reader that asks a vision model the questions of a profile, each at most once for equal pixels."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field

from pipeline.core.models import NOT_CLIMBED, RenderedPage, Value
from pipeline.core.retry import CancelToken
from pipeline.vision.budget import Budget
from pipeline.vision.endpoint.asking import Asker, Models
from pipeline.vision.model.conversation import EscalationPolicy, ModelAskers, PageConversation
from pipeline.vision.model.ladder import QuestionResult, answer_question, answer_type
from pipeline.vision.model.ladder_breaker import LadderBreaker
from pipeline.vision.profile import RECORD_FIELDS, Profile
from pipeline.vision.profile.conditions import Known, page_facts
from pipeline.vision.profile.parsing import condition_values, parse_answer
from pipeline.vision.quality.checks import LANGUAGE, AnswerType, Fault
from pipeline.vision.reader import AnswerCache, PageAnswers, Rerenderer, Usage

#: Prefixes of reasons in `PageAnswers.doubts`. The answer is not of the requested kind; the question's name follows.
UNPARSABLE = "unparsable:"
#: The page could not be rendered again; the class of the error follows.
RERENDER_FAILED = "not_shown:"
#: OCR was the last resort and failed; the class of the error follows.
OCR_FAILED = "ocr_failed:"


class ModelReader:
    """The reader that asks jina-vlm. One per process and profile; its threads share it.

    Args:
        text: asks the separate model for the text of a page, if there is one (`models.text`).
        policy: limits and means of further attempts.
        breaker: that of a reader with the same connections; a new one if None.
    """

    describes = True
    wants_pixels = False

    def __init__(
        self,
        models: Models,
        asker: Asker,
        cache: AnswerCache,
        profile: Profile,
        text: Asker | None = None,
        policy: EscalationPolicy | None = None,
        breaker: LadderBreaker | None = None,
    ) -> None:
        self.name = models.vision.name
        self.revision = models.revision
        self.profile = profile.name
        self.prompt_revision = profile.revision
        self._askers = ModelAskers(models, asker, text or asker).expecting(profile.questions)
        self._cache = cache
        self._questions = profile.questions
        self._policy = policy or EscalationPolicy()
        self._breaker = breaker or LadderBreaker()

    def with_profile(self, profile: Profile) -> ModelReader:
        """Return a reader for the questions of another profile, with the same connections."""
        askers = self._askers
        return ModelReader(askers.models, askers.vision, self._cache, profile, askers.text, self._policy, self._breaker)

    def within(self, budget: Budget) -> ModelReader:
        """Return a reader whose calls count against a budget, with the same connections."""
        bounded = copy(self)
        bounded._askers = self._askers.within(budget)
        return bounded

    @property
    def usage(self) -> Usage:
        """Usage of all models together."""
        total = Usage()
        for asker in self._askers.distinct:
            total.include(asker.usage)
        total.not_climbed = self._breaker.not_climbed
        total.stopped_climbing = dict(self._breaker.stopped)
        return total

    def read(
        self, page: RenderedPage, language: str, cancel: CancelToken, rerenderer: Rerenderer | None = None
    ) -> PageAnswers:
        """Ask the questions whose conditions hold, and ask again if an answer cannot be trusted.

        Raises:
            OutcomeError, ServiceRefused, Stopped: as `Asker.ask` raises them.
        """
        results = _PageResults(page_facts(page, language))
        with self._cache.for_image(page.pixels_sha256, cancel) as answers:
            conversation = PageConversation(
                page, language, self._askers, answers, cancel, self._policy, self._breaker, rerenderer
            )
            for question in self._questions:
                if question.is_asked(results.known):
                    results.add(answer_question(conversation, question))
        return results.page_answers(language)

    def close(self) -> None:
        """Close the connections, and end OCR."""
        for asker in self._askers.distinct:
            asker.close()
        if self._policy.ocr is not None:
            self._policy.ocr.close()


@dataclass(slots=True)
class _PageResults:
    """The results of the questions asked so far about a page."""

    known: dict[str, Known]
    """Values that conditions can name: facts of the page, and answers."""
    results: list[QuestionResult] = field(default_factory=list)

    def add(self, result: QuestionResult) -> None:
        """Add the result of a question."""
        self.results.append(result)
        self.known |= condition_values(result.content, result.question)

    def page_answers(self, language: str) -> PageAnswers:
        """Return all results as one value."""
        fields = {result.question.name: result for result in self.results if result.question.name in RECORD_FIELDS}
        texts = {name: result.content for name, result in fields.items()}
        return PageAnswers(
            description=texts.get("description"),
            description_language=language if "description" in texts else None,
            caption=texts.get("caption"),
            text=texts.get("text"),
            text_source=fields["text"].source if "text" in fields else None,
            translation=texts.get("translation"),
            values={name: value for name, value in self._values().items() if value is not None},
            doubts=tuple(self._doubts()),
            answers=tuple(answer for result in self.results for answer in result.answers),
            cached=sum(result.cached for result in self.results),
            rungs=tuple(f"{result.question.name}:{rung}" for result in self.results for rung in result.rungs),
            agreement=fields["text"].checked.agreement if "text" in fields else None,
            repetition=max((result.checked.repetition for result in self.results), default=0.0),
            truncated=any(Fault.CUT_OFF in result.reasons for result in self.results),
            language_ok=self._language_ok(),
        )

    def _values(self) -> dict[str, Value | None]:
        """Return the answers to the profile's own questions by name; None for an answer of another kind."""
        return {
            result.question.name: _value(result)
            for result in self.results
            if result.question.name not in RECORD_FIELDS and not result.checked.said_empty
        }

    def _doubts(self) -> Iterator[str]:
        for result in self.results:
            yield from (f"{fault}:{result.question.name}" for fault in result.reasons)
            if result.is_left_out:
                yield NOT_CLIMBED + result.question.name
            if result.rerender_error is not None:
                yield f"{RERENDER_FAILED}{result.rerender_error}"
            if result.ocr_error is not None:
                yield f"{OCR_FAILED}{result.ocr_error}"
        yield from (UNPARSABLE + name for name, value in self._values().items() if value is None)

    def _language_ok(self) -> bool | None:
        prose = [result for result in self.results if answer_type(result.question) is AnswerType.PROSE]
        return not any({*result.reasons} & LANGUAGE for result in prose) if prose else None


def _value(result: QuestionResult) -> Value | None:
    value = parse_answer(result.content, result.question)
    return None if value is None else Value(kind=result.question.kind, value=value)

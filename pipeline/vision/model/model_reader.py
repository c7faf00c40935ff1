"""Reads pages by asking a vision model the questions of a profile, each at most once for the same pixels."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import partial

from pipeline.core.errors import AnswerUnusable, ServiceRefused
from pipeline.core.models import Answer, RenderedPage, Value
from pipeline.core.retry import CancelToken
from pipeline.vision.budget import Budget
from pipeline.vision.endpoint.asking import Asker, ImageInput, Models, PromptRequest
from pipeline.vision.model.ladder import Ladder, Settled, kind_of
from pipeline.vision.ocr.local_reader import LocalReader
from pipeline.vision.ocr.process import SERVICE as OCR_SERVICE
from pipeline.vision.profile import RECORD_FIELDS, Profile, Question
from pipeline.vision.profile.conditions import Known, page_facts
from pipeline.vision.profile.parsing import parse_answer, told
from pipeline.vision.quality.checks import LANGUAGE, AnswerType, Fault
from pipeline.vision.reader import AnswerCache, ImageAnswers, OcrText, PageAnswers, Rerenderer, Usage

#: The beginning of the reason for an answer that is none of what was asked for; the question's name follows.
UNPARSABLE = "unparsable:"
#: Likewise where a page could not be shown again; the class of the error follows.
NOT_SHOWN = "not_shown:"
#: Likewise where OCR was the last resort, and failed.
OCR_FAILED = "ocr_failed:"


@dataclass(frozen=True, slots=True)
class EscalationPolicy:
    """How it is asked again where an answer cannot be trusted."""

    tokens: int = 50_000
    """What that may cost a page, sent and received."""
    penalty: float | None = None
    """`repetition_penalty`, for endpoints that take one."""
    ocr: LocalReader | None = None
    """Reads what the model cannot; it is closed with the reader."""


class ModelReader:
    """The reader that asks jina-vlm. One for a process and a profile; its threads share it.

    Args:
        text: who is asked for the text of a page, where that is another; as `models.text` says.
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
        again: EscalationPolicy | None = None,
    ) -> None:
        self.name = models.vision.name
        self.revision = models.revision
        self.profile = profile.name
        self.prompt_revision = profile.revision
        self._models = models
        self._asker = asker
        self._text = text or asker
        self._cache = cache
        self._questions = profile.questions
        self._again = again or EscalationPolicy()

    def with_profile(self, profile: Profile) -> ModelReader:
        """Return the reader that asks the questions of another profile, by the same connections."""
        return ModelReader(self._models, self._asker, self._cache, profile, self._text, self._again)

    def within(self, budget: Budget) -> ModelReader:
        """Return the reader whose calls a budget bounds, by the same connections."""
        bounded = copy(self)
        bounded._asker = self._asker.within(budget)
        bounded._text = bounded._asker if self._text is self._asker else self._text.within(budget)
        return bounded

    @property
    def usage(self) -> Usage:
        """What all models together were asked."""
        askers = {id(asker): asker.usage for asker in (self._asker, self._text)}
        total = Usage()
        for usage in askers.values():
            total.include(usage)
        return total

    def read(
        self, page: RenderedPage, language: str, cancel: CancelToken, sharper: Rerenderer | None = None
    ) -> PageAnswers:
        """Ask those questions of the profile whose conditions hold, and again where an answer cannot be trusted.

        Raises:
            OutcomeError, ServiceRefused, Stopped: as `Asker.ask` raises them.
        """
        found = _Findings(page_facts(page, language))
        with self._cache.about(page.pixels_sha256, cancel) as known:
            ladder = self._ladder(page, known, cancel, sharper)
            for question in self._questions:
                if question.is_asked(found.known):
                    found.add(ladder.settle(question, self._models.of(question).asked(question, language)))
        return found.page_answers(language)

    def close(self) -> None:
        """Close the connections, and end OCR."""
        self._asker.close()
        self._text.close()
        if self._again.ocr is not None:
            self._again.ocr.close()

    def _ladder(
        self, page: RenderedPage, known: ImageAnswers, cancel: CancelToken, sharper: Rerenderer | None
    ) -> Ladder:
        def ask(question: Question, picture: ImageInput, asked: PromptRequest) -> tuple[Answer, bool]:
            asker = self._asker if self._models.of(question) is self._models.vision else self._text
            return asker.ask(picture, asked, known, cancel)

        again = self._again
        ocr = partial(_read_text, again.ocr, known) if again.ocr is not None else None
        return Ladder(page, ask, sharper=sharper, ocr=ocr, tokens=again.tokens, penalty=again.penalty)


@dataclass(slots=True)
class _Findings:
    """What the questions asked so far have told of a page."""

    known: dict[str, Known]
    """What conditions can name: facts of the page, and answers."""
    settled: list[Settled] = field(default_factory=list)

    def add(self, settled: Settled) -> None:
        """Take in what a question came to."""
        self.settled.append(settled)
        self.known |= told(settled.content, settled.question)

    def page_answers(self, language: str) -> PageAnswers:
        """Return all of it."""
        fields = {settled.question.name: settled for settled in self.settled if settled.question.name in RECORD_FIELDS}
        texts = {name: settled.content for name, settled in fields.items()}
        values = {name: value for name, value in self._values().items() if value is not None}
        checked = [settled.checked for settled in self.settled]
        return PageAnswers(
            description=texts.get("description"),
            description_language=language if "description" in texts else None,
            caption=texts.get("caption"),
            text=texts.get("text"),
            text_source=fields["text"].source if "text" in fields else None,
            translation=texts.get("translation"),
            values=values,
            doubts=tuple(self._doubts()),
            answers=tuple(answer for settled in self.settled for answer in settled.answers),
            cached=sum(settled.cached for settled in self.settled),
            rungs=tuple(f"{settled.question.name}:{rung}" for settled in self.settled for rung in settled.rungs),
            agreement=fields["text"].checked.agreement if "text" in fields else None,
            repetition=max((one.repetition for one in checked), default=0.0),
            truncated=any(Fault.CUT_OFF in settled.reasons for settled in self.settled),
            language_ok=self._language_ok(),
        )

    def _values(self) -> dict[str, Value | None]:
        """Return the answers to questions of one's own by name; None where one is none of what was asked for."""
        return {
            settled.question.name: _value(settled)
            for settled in self.settled
            if settled.question.name not in RECORD_FIELDS and not settled.checked.said_empty
        }

    def _doubts(self) -> Iterator[str]:
        for settled in self.settled:
            name = settled.question.name
            yield from (f"{fault}:{name}" for fault in settled.reasons)
            if settled.missing is not None:
                yield f"{NOT_SHOWN}{settled.missing}"
            if settled.unread is not None:
                yield f"{OCR_FAILED}{settled.unread}"
        yield from (UNPARSABLE + name for name, value in self._values().items() if value is None)

    def _language_ok(self) -> bool | None:
        faults = [{*settled.reasons} for settled in self.settled if kind_of(settled.question) is AnswerType.PROSE]
        return not any(found & LANGUAGE for found in faults) if faults else None


def _read_text(ocr: LocalReader, known: ImageAnswers, page: RenderedPage) -> OcrText | None:
    """Read a page by OCR. As a last resort an engine that does not work has failed on the page, and stops no run."""
    try:
        return ocr.read_text(page, known)
    except ServiceRefused as error:
        if error.service != OCR_SERVICE:
            raise
        raise AnswerUnusable(str(error), remedy=error.remedy) from error


def _value(settled: Settled) -> Value | None:
    value = parse_answer(settled.content, settled.question)
    return None if value is None else Value(kind=settled.question.kind, value=value)

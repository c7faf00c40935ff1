"""The ladder of attempts: a question is asked again, in other ways, until its answer can be trusted.

    first ─▶ hotter, twice ─▶ in halves, in thirds, sharper ─▶ the file's text layer, OCR ─▶ the sound prefix

Bands, text layer and OCR apply only to the question for the text of a page. On a dense page this question starts with
bands, and the whole page comes last. Each call is archived as an answer of its own, so a page whose ladder was
interrupted continues at the same rung. Where climbing does not help page after page, most pages are asked once
(`pipeline.vision.model.ladder_breaker`). A closed question is asked once, because its answer is either understood or
not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.core.errors import OutcomeError
from pipeline.core.models import Answer, AnswerKind, PageKind, RenderedPage, TextSource
from pipeline.vision.endpoint.asking import PromptRequest
from pipeline.vision.endpoint.cost import first_bands
from pipeline.vision.model.conversation import PageConversation, RerenderFailed
from pipeline.vision.profile import TEXT_QUESTION, Question
from pipeline.vision.quality.checks import LOOPS, AnswerType, Checked, Context, Fault, check
from pipeline.vision.quality.stitching import merge
from pipeline.vision.quality.text_layer import stands_for_page
from pipeline.vision.reader import OcrText

#: Faults that leave the beginning of an answer usable.
_FAULTS_AT_END = frozenset({Fault.CUT_OFF, *LOOPS})
#: Faults that are not counted in a band: a band may be empty, and its own ink is not measured.
_NOT_FAULTS_OF_BAND = frozenset({Fault.EMPTY_ON_INK, Fault.TOO_LONG_FOR_INK})


@dataclass(frozen=True, slots=True)
class Rung:
    """One way of asking."""

    name: str
    """Name in `model.rungs` of a record."""
    temperature: float = 0.0
    bands: int = 1
    """Number of overlapping bands into which the page is cut."""


FIRST = Rung("first")
#: A model that loops on the most likely words can leave the loop at a higher temperature. olmOCR's pipeline also raises
#: the temperature with each attempt.
HOTTER = (Rung("temperature_0.3", temperature=0.3), Rung("temperature_0.6", temperature=0.6))
CROPS = (Rung("halves", bands=2), Rung("thirds", bands=3))
#: Names of the fallbacks, which make no model call.
LAYER, OCR, PREFIX = "layer", "ocr", "prefix"


@dataclass(frozen=True, slots=True)
class QuestionResult:
    """The result of a question: the answer that is kept, and all attempts."""

    question: Question
    checked: Checked
    """The answer that is kept."""
    answers: tuple[Answer, ...]
    """All answers to the question, in order."""
    cached: int
    """Number of answers that were archived before."""
    rungs: tuple[str, ...]
    """Rungs other than `first`, and fallbacks, in order."""
    reasons: tuple[Fault, ...] = ()
    """Faults because of which the kept answer cannot be trusted."""
    source: TextSource = TextSource.MODEL
    rerender_error: str | None = None
    """Code of the error with which rendering the page again failed."""
    ocr_error: str | None = None
    """Code of the error with which OCR failed."""
    is_left_out: bool = False
    """Whether further attempts were left out, because they did not help other pages."""

    @property
    def content(self) -> str:
        """The cleaned answer."""
        return self.checked.content


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A rung and its answers."""

    rung: Rung
    checked: Checked
    answers: tuple[Answer, ...]
    cached: int

    @property
    def tokens(self) -> int:
        return sum(answer.tokens_in + answer.tokens_out for answer in self.answers)

    @property
    def worth(self) -> tuple[bool, int]:
        """Sort key by which the best of several faulty attempts is kept."""
        return set(self.checked.faults) <= _FAULTS_AT_END, len(self.checked.clean_prefix)


def answer_question(conversation: PageConversation, question: Question) -> QuestionResult:
    """Ask a question until its answer can be trusted or no rung is left.

    Raises:
        OutcomeError, ServiceRefused, Stopped: as `Asker.ask` raises them.
    """
    request = conversation.request(question)
    if answer_type(question) is AnswerType.CLOSED:
        attempt = _try(conversation, question, request, FIRST)
        return _result(question, [attempt], attempt)
    climbed = _ask(conversation, question, request)
    if climbed.faults:
        result = _fall_back(conversation, question, request, climbed.attempts)
    else:
        result = _result(question, climbed.attempts, climbed.attempts[-1])
    error = result.rerender_error or climbed.rerender_error
    return replace(result, rerender_error=error, is_left_out=climbed.is_left_out)


@dataclass(slots=True)
class _Climbed:
    """The attempts at a question."""

    attempts: list[_Attempt] = field(default_factory=list)
    rerender_error: str | None = None
    is_left_out: bool = False

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults of the last answer."""
        return self.attempts[-1].checked.faults


def _ask(conversation: PageConversation, question: Question, request: PromptRequest) -> _Climbed:
    """Try the first rung, and the others up to the first answer without faults, unless the breaker is open."""
    climbed = _Climbed()
    first, *others = _rungs(conversation, question)
    _climb(conversation, question, request, [first], climbed)
    if not climbed.attempts:  # a dense page that cannot be rendered again
        climbed.attempts.append(_try(conversation, question, request, FIRST))
    if not climbed.faults:
        conversation.breaker.passed(question.name)
    elif climbed.rerender_error is not None or not conversation.affords(request.most_tokens):
        return climbed
    elif _is_climbed_before(conversation, question, request, others):
        _climb(conversation, question, request, others, climbed)
    else:
        with conversation.breaker.climb(question.name, conversation.cancel) as climb:
            climbed.is_left_out = not climb.is_allowed
            if climb.is_allowed:
                _climb(conversation, question, request, others, climbed)
            climb.passed, climb.faults = not climbed.faults, climbed.faults
    return climbed


def _is_climbed_before(
    conversation: PageConversation, question: Question, request: PromptRequest, rungs: Iterable[Rung]
) -> bool:
    """Whether a further attempt is archived. Such a page costs few calls, and must not become worse."""
    whole = (_request_of(conversation, request, rung) for rung in rungs if rung.bands == 1)
    return any(conversation.is_archived(question, asked) for asked in whole)


def _climb(
    conversation: PageConversation,
    question: Question,
    request: PromptRequest,
    rungs: Iterable[Rung],
    climbed: _Climbed,
) -> None:
    """Try rungs up to the first answer without faults. Stop where the page cannot be rendered again."""
    attempts = climbed.attempts
    for rung in rungs:
        affordable = not attempts or conversation.affords(rung.bands * request.most_tokens)
        if not affordable or _is_pointless(rung, question, attempts):
            continue
        try:
            attempts.append(_try(conversation, question, request, rung))
        except RerenderFailed as error:
            climbed.rerender_error = error.code
            return
        if not climbed.faults:
            return


def _rungs(conversation: PageConversation, question: Question) -> tuple[Rung, ...]:
    if question.name != TEXT_QUESTION or conversation.rerenderer is None:
        return (FIRST, *HOTTER)
    return (*CROPS, FIRST) if first_bands(question, conversation.page) > 1 else (FIRST, *HOTTER, *CROPS)


def _is_pointless(rung: Rung, question: Question, attempts: Iterable[_Attempt]) -> bool:
    """Whether a rung cannot help: a text too long for one answer is too long at any temperature."""
    is_long = any(attempt.checked.faults == (Fault.CUT_OFF,) for attempt in attempts)
    return rung in HOTTER and is_long and answer_type(question) is AnswerType.VERBATIM


def _try(conversation: PageConversation, question: Question, request: PromptRequest, rung: Rung) -> _Attempt:
    request = _request_of(conversation, request, rung)
    asked = [conversation.ask(question, request, image) for image in conversation.images(rung.bands)]
    answers = tuple(answer for answer, _ in asked)
    contexts = [context_of(question, request, conversation.page, answer) for answer in answers]
    if rung.bands == 1:
        checked = check(answers[0].content, contexts[0])
    else:
        parts = [check(answer.content, _of_band(context)) for answer, context in zip(answers, contexts, strict=True)]
        checked = _check_bands(parts, context_of(question, request, conversation.page))
    attempt = _Attempt(rung, checked, answers, sum(cached for _, cached in asked))
    if rung is not FIRST:
        conversation.escalation_tokens += attempt.tokens
    return attempt


def _request_of(conversation: PageConversation, request: PromptRequest, rung: Rung) -> PromptRequest:
    penalty = conversation.policy.penalty if rung.temperature > 0 else None
    return replace(request, temperature=rung.temperature, repetition_penalty=penalty)


def _of_band(context: Context) -> Context:
    """Return the context of a band, without the text layer: it is for the whole page."""
    return replace(context, layer_text=None)


def _check_bands(parts: Sequence[Checked], page_context: Context) -> Checked:
    """Stitch the answers of bands and check the result. A fault of a band is a fault of the page."""
    whole = check(merge([part.clean_prefix for part in parts]).text, page_context)
    of_bands = {fault for part in parts for fault in part.faults} - _NOT_FAULTS_OF_BAND
    faults = tuple(sorted(of_bands | {*whole.faults}))
    return replace(whole, faults=faults, repetition=max(part.repetition for part in (*parts, whole)))


def _fall_back(
    conversation: PageConversation, question: Question, request: PromptRequest, attempts: Sequence[_Attempt]
) -> QuestionResult:
    """Take the text from layer or OCR, else keep the sound prefix of the best answer. Faults become the reasons."""
    if question.name != TEXT_QUESTION:
        return _keep_best(question, attempts)
    context = context_of(question, request, conversation.page)
    layer = _layer_of(conversation.page)
    if layer is not None:
        return _replace_text(question, attempts, OcrText(layer, (), 0), TextSource.LAYER, context)
    try:
        found = conversation.read_by_ocr()
    except RerenderFailed as error:
        return replace(_keep_best(question, attempts), rerender_error=error.code)
    except OutcomeError as error:
        return replace(_keep_best(question, attempts), ocr_error=error.code)
    if found is not None and found.text:
        return _replace_text(question, attempts, found, TextSource.OCR, context)
    return _keep_best(question, attempts)


def _layer_of(page: RenderedPage) -> str | None:
    is_usable = page.layer_text and stands_for_page(page.layer_text, page.facts)
    return (page.layer_text or "").strip() if is_usable else None


def _replace_text(
    question: Question, attempts: Sequence[_Attempt], found: OcrText, source: TextSource, context: Context
) -> QuestionResult:
    """Return a result whose text comes from layer or OCR instead of the model."""
    result = _result(question, attempts, attempts[0])
    return replace(
        result,
        checked=check(found.text, context),
        answers=(*result.answers, *found.answers),
        cached=result.cached + found.cached,
        rungs=(*result.rungs, LAYER if source is TextSource.LAYER else OCR),
        reasons=attempts[0].checked.faults,
        source=source,
    )


def _keep_best(question: Question, attempts: Sequence[_Attempt]) -> QuestionResult:
    """Return a result with the sound prefix of the best answer."""
    best = max(attempts, key=lambda attempt: attempt.worth)
    kept = replace(best.checked, content=best.checked.clean_prefix)
    result = _result(question, attempts, replace(best, checked=kept))
    is_cut = kept.content != best.checked.content
    return replace(result, rungs=(*result.rungs, PREFIX) if is_cut else result.rungs, reasons=best.checked.faults)


def _result(question: Question, attempts: Sequence[_Attempt], kept: _Attempt) -> QuestionResult:
    return QuestionResult(
        question=question,
        checked=kept.checked,
        answers=tuple(answer for attempt in attempts for answer in attempt.answers),
        cached=sum(attempt.cached for attempt in attempts),
        rungs=tuple(attempt.rung.name for attempt in attempts if attempt.rung is not FIRST),
    )


def answer_type(question: Question) -> AnswerType:
    """Return the type of answer that a question requests."""
    if question.kind is AnswerKind.TEXT:
        return AnswerType.PROSE if question.is_in_requested_language else AnswerType.VERBATIM
    # A list without choices can loop as prose does. A list of choices is closed, as a single choice is.
    return AnswerType.PROSE if question.kind is AnswerKind.LIST and not question.choices else AnswerType.CLOSED


def context_of(question: Question, request: PromptRequest, page: RenderedPage, answer: Answer | None = None) -> Context:
    """Return the facts that an answer is checked against; `answer` is None for a text stitched from several answers."""
    in_language = question.kind is AnswerKind.TEXT and question.is_in_requested_language
    return Context(
        kind=answer_type(question),
        prompt=request.prompt,
        language=request.language if in_language else None,
        max_tokens=request.max_tokens,
        tokens_out=answer.tokens_out if answer else 0,
        truncated=answer.truncated if answer else False,
        blank=page.blank,
        ink_share=page.facts.ink_share,
        width_px=page.width_px,
        height_px=page.height_px,
        glyph_px=page.facts.glyph_px,
        layer_text=reference_layer(page) if question.name == TEXT_QUESTION else None,
        empty_answer=question.empty_answer,
    )


def reference_layer(page: RenderedPage) -> str | None:
    """Return the text layer that the page's text is compared with, or None.

    The layer must be sound and must contain all text of the page. If pictures or a scan cover part of the page, the
    text in these is missing from the layer.
    """
    is_complete = page.kind is PageKind.BORN_DIGITAL and stands_for_page(page.layer_text, page.facts)
    return page.layer_text if is_complete else None

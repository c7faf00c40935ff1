"""What is done where an answer cannot be trusted: it is asked for again, otherwise, until one can be.

    as usual ─▶ hotter, twice ─▶ in halves, in thirds, sharper ─▶ the file's own layer, OCR ─▶ what of it is sound

The middle is for the text of a page alone. Every call is an archived answer of its own, so that a page whose ladder
was cut off goes on where it was. Closed questions are asked once: their answers are understood or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from pipeline.core.errors import OutcomeError
from pipeline.core.models import Answer, AnswerKind, PageKind, RenderedCrop, RenderedPage, TextSource
from pipeline.vision.endpoint.asking import ImageInput, PromptRequest
from pipeline.vision.endpoint.cost import first_bands
from pipeline.vision.profile import TEXT_QUESTION, Question
from pipeline.vision.quality.checks import LOOPS, AnswerType, Checked, Context, Fault, check
from pipeline.vision.quality.stitching import merge
from pipeline.vision.quality.text_layer import stands_for_page
from pipeline.vision.reader import OcrText, Rerenderer

#: Faults after which what was said before them is still worth having.
_SPOILT_AT_THE_END = frozenset({Fault.CUT_OFF, *LOOPS})
#: What a part of a page may rightly do: a band may be empty, and its ink is not known by itself.
_NO_FAULT_OF_A_PART = frozenset({Fault.EMPTY_ON_INK, Fault.TOO_LONG_FOR_INK})


@dataclass(frozen=True, slots=True)
class Rung:
    """One way of asking."""

    name: str
    """As `model.rungs` of a record shows it."""
    temperature: float = 0.0
    bands: int = 1
    """Into how many overlapping parts the page is cut."""


FIRST = Rung("first")
#: A model that loops at the most likely words leaves the loop at others, as olmOCR's pipeline found: it raises the
#: temperature with each attempt.
HOTTER = (Rung("temperature_0.3", temperature=0.3), Rung("temperature_0.6", temperature=0.6))
CROPS = (Rung("halves", bands=2), Rung("thirds", bands=3))
#: Not asked for: taken.
LAYER, OCR, PREFIX = "layer", "ocr", "prefix"

ReadText = Callable[[RenderedPage], OcrText | None]
"""Reads a page, with its pixels, by OCR; None where most of it cannot be read. Raises OutcomeError where OCR fails."""
Ask = Callable[[Question, ImageInput, PromptRequest], tuple[Answer, bool]]
"""Asks once for the same key; returns the answer, and whether it was there already."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a question came to."""

    question: Question
    checked: Checked
    """What is kept."""
    answers: tuple[Answer, ...]
    """All that were had for it, in order."""
    cached: int
    rungs: tuple[str, ...]
    """What was done beside asking as usual, in order."""
    reasons: tuple[Fault, ...] = ()
    """Why what is kept is not to be trusted; none where it is."""
    source: TextSource = TextSource.MODEL
    missing: str | None = None
    """Class of the error for which the page could not be shown again."""
    unread: str | None = None
    """Class of the error for which OCR could not read it either."""

    @property
    def content(self) -> str:
        """The cleaned answer."""
        return self.checked.content


@dataclass(frozen=True, slots=True)
class _Tried:
    """A rung that was gone to, and what was said there."""

    rung: Rung
    checked: Checked
    answers: tuple[Answer, ...]
    cached: int

    @property
    def worth(self) -> tuple[bool, int]:
        """What decides which of several that are not to be trusted is kept."""
        return set(self.checked.faults) <= _SPOILT_AT_THE_END, len(self.checked.clean_prefix)


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """The text of a page as others than the model have it, or why it could not be had."""

    found: OcrText | None = None
    source: TextSource = TextSource.OCR
    missing: str | None = None
    unread: str | None = None
    """As in `Settled`."""


class Ladder:
    """The ladder of one page. Used by one thread.

    Args:
        sharper: shows the page anew; without it there are no crops and no OCR.
        ocr: without it there is no OCR.
        tokens: what asking again may cost this page, sent and received.
        penalty: `repetition_penalty` of second and third askings, for endpoints that take one.
    """

    def __init__(
        self,
        page: RenderedPage,
        ask: Ask,
        *,
        sharper: Rerenderer | None,
        ocr: ReadText | None,
        tokens: int,
        penalty: float | None,
    ) -> None:
        self._page = page
        self._ask = ask
        self._sharper = sharper
        self._ocr = ocr
        self._tokens = tokens
        self._penalty = penalty

    def settle(self, question: Question, asked: PromptRequest) -> Settled:
        """Ask a question until its answer can be trusted, or nothing is left to be tried.

        `asked` is what is sent as usual.

        Raises:
            OutcomeError, ServiceRefused, Stopped: as `Asker.ask` raises them.
        """
        if kind_of(question) is AnswerType.CLOSED:
            return _settled(question, [one := self._try(FIRST, question, asked)], one)
        tried: list[_Tried] = []
        missing = None
        for rung in self._rungs(question):
            if _is_pointless(rung, question, tried) or not self._is_affordable(rung, asked, again=bool(tried)):
                continue
            try:
                one = self._try(rung, question, asked)
            except _NotShown as error:
                missing = error.code
                break
            tried.append(one)
            if not one.checked.faults:
                return _settled(question, tried, one)
        if not tried:  # a dense page that cannot be shown again
            tried.append(self._try(FIRST, question, asked))
            if not tried[0].checked.faults:
                return replace(_settled(question, tried, tried[0]), missing=missing)
        settled = self._fall_back(question, asked, tried)
        return replace(settled, missing=settled.missing or missing)

    def _rungs(self, question: Question) -> tuple[Rung, ...]:
        if question.name != TEXT_QUESTION or self._sharper is None:
            return (FIRST, *HOTTER)
        return (*CROPS, FIRST) if first_bands(question, self._page) > 1 else (FIRST, *HOTTER, *CROPS)

    def _is_affordable(self, rung: Rung, asked: PromptRequest, *, again: bool) -> bool:
        """Whether a rung's longest answers still fit; the first one always does."""
        return not again or rung.bands * asked.most_tokens <= self._tokens

    def _try(self, rung: Rung, question: Question, asked: PromptRequest) -> _Tried:
        again = rung.temperature > 0
        sent = replace(asked, temperature=rung.temperature, repetition_penalty=self._penalty if again else None)
        one = self._whole(rung, question, sent) if rung.bands == 1 else self._in_bands(rung, question, sent)
        if rung is not FIRST:
            self._tokens -= sum(answer.tokens_in + answer.tokens_out for answer in one.answers)
        return one

    def _whole(self, rung: Rung, question: Question, asked: PromptRequest) -> _Tried:
        answer, cached = self._ask(question, ImageInput(self._page.pixels_sha256, self._page.jpeg), asked)
        checked = check(answer.content, context_of(question, asked, self._page, answer))
        return _Tried(rung, checked, (answer,), int(cached))

    def _in_bands(self, rung: Rung, question: Question, asked: PromptRequest) -> _Tried:
        """Ask about each band, join what is said, and look at each band's answer and at the whole."""
        asking = []
        for crop in self._crops(rung.bands):
            picture = ImageInput(self._page.pixels_sha256, crop.jpeg, crop.pixels_sha256)
            answer, cached = self._ask(question, picture, asked)
            context = replace(context_of(question, asked, self._page, answer), layer_text=None)
            asking.append((answer, cached, check(answer.content, context)))
        answers = tuple(answer for answer, _, _ in asking)
        parts = [checked for _, _, checked in asking]
        whole = check(merge([part.clean_prefix for part in parts]).text, context_of(question, asked, self._page))
        spoilt = {fault for part in parts for fault in part.faults} - _NO_FAULT_OF_A_PART
        faults = tuple(sorted(spoilt | {*whole.faults}))
        checked = replace(whole, faults=faults, repetition=max(part.repetition for part in (*parts, whole)))
        return _Tried(rung, checked, answers, sum(cached for _, cached, _ in asking))

    def _fall_back(self, question: Question, asked: PromptRequest, tried: Sequence[_Tried]) -> Settled:
        """Take the text from elsewhere, or else what is sound of the best answer; all of it is marked."""
        elsewhere = self._elsewhere() if question.name == TEXT_QUESTION else _Elsewhere()
        if elsewhere.found is not None:
            settled, found = _settled(question, tried, tried[0]), elsewhere.found
            return replace(
                settled,
                checked=check(found.text, context_of(question, asked, self._page)),
                answers=(*settled.answers, *found.answers),
                cached=settled.cached + found.cached,
                rungs=(*settled.rungs, LAYER if elsewhere.source is TextSource.LAYER else OCR),
                reasons=tried[0].checked.faults,
                source=elsewhere.source,
            )
        best = max(tried, key=lambda one: one.worth)
        kept = replace(best.checked, content=best.checked.clean_prefix)
        settled = _settled(question, tried, replace(best, checked=kept))
        is_cut = kept.content != best.checked.content
        return replace(
            settled,
            rungs=(*settled.rungs, PREFIX) if is_cut else settled.rungs,
            reasons=best.checked.faults,
            missing=elsewhere.missing,
            unread=elsewhere.unread,
        )

    def _elsewhere(self) -> _Elsewhere:
        """Return the page's text as others than the model have it; where none has, what the model said is kept."""
        page = self._page
        if page.layer_text and stands_for_page(page.layer_text, page.facts):
            return _Elsewhere(OcrText(page.layer_text.strip(), (), 0), TextSource.LAYER)
        if self._ocr is None or self._sharper is None:
            return _Elsewhere()
        try:
            pixels = self._sharper.pixels()
        except OutcomeError as error:
            return _Elsewhere(missing=error.code)
        try:
            read = self._ocr(pixels)
        except OutcomeError as error:
            return _Elsewhere(unread=error.code)
        return _Elsewhere(read if read is not None and read.text else None)

    def _crops(self, bands: int) -> tuple[RenderedCrop, ...]:
        assert self._sharper is not None
        try:
            return self._sharper.crops(bands)
        except OutcomeError as error:
            raise _NotShown(error.code) from error


class _NotShown(Exception):
    """A page could not be shown again."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def kind_of(question: Question) -> AnswerType:
    """Return what sort of answer a question wants."""
    if question.kind is AnswerKind.TEXT:
        return AnswerType.PROSE if question.is_in_requested_language else AnswerType.VERBATIM
    # A list of one's own goes on and on as prose does; one of choices is as closed as one choice.
    return AnswerType.PROSE if question.kind is AnswerKind.LIST and not question.choices else AnswerType.CLOSED


def context_of(question: Question, asked: PromptRequest, page: RenderedPage, answer: Answer | None = None) -> Context:
    """Return what an answer is held against; None stands for one that is put together from several."""
    return Context(
        kind=kind_of(question),
        prompt=asked.prompt,
        language=asked.language if question.kind is AnswerKind.TEXT and question.is_in_requested_language else None,
        max_tokens=asked.max_tokens,
        tokens_out=answer.tokens_out if answer else 0,
        truncated=answer.truncated if answer else False,
        blank=page.blank,
        ink_share=page.facts.ink_share,
        width_px=page.width_px,
        height_px=page.height_px,
        layer_text=evidence(page) if question.name == TEXT_QUESTION else None,
        empty_answer=question.empty_answer,
    )


def evidence(page: RenderedPage) -> str | None:
    """Return the layer that a page's text is held against: a sound one, of a page on which nothing else is written.

    Where pictures or a scan take part of the page, what is written on them is not in its layer.
    """
    whole = page.kind is PageKind.BORN_DIGITAL and stands_for_page(page.layer_text, page.facts)
    return page.layer_text if whole else None


def _is_pointless(rung: Rung, question: Question, tried: Iterable[_Tried]) -> bool:
    """Whether it is known what a rung would come to: a page too long for one answer is so at any temperature."""
    is_long = any(one.checked.faults == (Fault.CUT_OFF,) for one in tried)
    return rung in HOTTER and is_long and kind_of(question) is AnswerType.VERBATIM


def _settled(question: Question, tried: Sequence[_Tried], kept: _Tried) -> Settled:
    return Settled(
        question=question,
        checked=kept.checked,
        answers=tuple(answer for one in tried for answer in one.answers),
        cached=sum(one.cached for one in tried),
        rungs=tuple(one.rung.name for one in tried if one.rung is not FIRST),
    )

"""Reads pages on this machine if no vision model is configured: their text, and measurements."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import TypeAdapter
from rapidfuzz.fuzz import partial_ratio

from pipeline.core.child_process import TimeLimit
from pipeline.core.models import Answer, LayerState, PageKind, RenderedPage, TextSource
from pipeline.core.retry import CancelToken
from pipeline.vision.budget import Budget
from pipeline.vision.ocr.measured_description import DESCRIPTION_REVISION, TextMeasures, describe
from pipeline.vision.ocr.process import Ocr, open_rapidocr
from pipeline.vision.ocr.tesseract import find_tesseract
from pipeline.vision.ocr.text_lines import FoundLines, TextLine, arrange, is_legible, unread_share
from pipeline.vision.profile import Profile
from pipeline.vision.quality.text_layer import stands_for_page
from pipeline.vision.quality.tokens import letters
from pipeline.vision.reader import AnswerCache, ImageAnswers, OcrText, PageAnswers, Rerenderer, Usage, answer_key

NAME = "local-reader"
#: Raise it by hand if a change below changes the text of the same lines or the same layer.
TEXT_REVISION = 3
QUESTION = "text"
#: Share of unread text from which Tesseract reads the page. On 92 pages in scripts that RapidOCR knows, at most 0.20 of
#: the text is unread, except for one bad scan (0.46); on 19 pages in other scripts, 0.72 or more (measured on a
#: corpus). Tesseract should also read a page that is half in another script.
MAX_UNREAD_SHARE = 0.3
#: A line in a picture has this many letters or more, and resembles no part of the layer: 0 to 100, where 100 is equal.
#: A misread line of the layer resembles it by 80 and more.
PICTURE_LINE_LETTERS = 4
PICTURE_LINE_RESEMBLANCE = 70
#: In `trust.reasons`: most text of the page was detected but not read.
UNREAD = "text_unread"

_FOUND = TypeAdapter(FoundLines)


def open_engines(limit: TimeLimit) -> tuple[Ocr, Ocr | None]:
    """Return RapidOCR, and Tesseract for other scripts if it is installed, with a limit for each page.

    Raises:
        SettingsError: the packages of the extra `local` are missing.
    """
    tesseract = find_tesseract()
    return open_rapidocr(limit), tesseract.open(limit) if tesseract else None


class LocalReader:
    """The reader that makes no model calls. One per process; its threads share it.

    RapidOCR reads first. If it detects lines that it cannot read, Tesseract reads them, if it is installed. The lines
    and boxes of each engine are archived as separate answers. So no page is read twice, and an engine that is installed
    later reads only the pages that need it. Text and description are derived from the lines each time.

    Args:
        ocr: finds the lines of text.
        other_scripts: reads pages that `ocr` cannot read; it returns no lines if it cannot read them either.
    """

    name = NAME
    profile = "local"
    prompt_revision = DESCRIPTION_REVISION
    describes = False
    wants_pixels = True

    def __init__(self, cache: AnswerCache, ocr: Ocr, other_scripts: Ocr | None = None) -> None:
        self._cache = cache
        self._ocr = ocr
        self._other_scripts = other_scripts
        self.usage = Usage()
        engines = (ocr,) if other_scripts is None else (ocr, other_scripts)
        self.revision = "-".join((str(TEXT_REVISION), *(engine.revision for engine in engines)))

    def read(
        self, page: RenderedPage, language: str, cancel: CancelToken, rerenderer: Rerenderer | None = None
    ) -> PageAnswers:
        """Return the page's text, from its layer or by OCR, and a description of its measurements.

        Raises:
            AnswerTimeout: OCR took too long.
            AnswerUnusable: OCR failed on this page.
            ServiceRefused: OCR does not work.
        """
        if stands_for_page(page.layer_text, page.facts):
            return self._read_layer(page, language, cancel)
        reading = self._read_pixels(page, cancel)
        if reading.unread and page.layer_text and page.facts.layer is LayerState.SOUND:
            # Of unknown quality, but the engines lack the page's script, and its characters are sound.
            return _page_answers(page, language, TextMeasures(page.layer_text.strip()), TextSource.LAYER, reading)
        arranged = arrange(reading.found.lines)
        share = arranged.area_px / (page.width_px * page.height_px)
        text = arranged.text if letters(arranged.text) else ""
        unread = reading.unread or text != arranged.text
        measures = TextMeasures(text, arranged.columns, share, unread)
        return _page_answers(page, language, measures, TextSource.OCR, reading)

    def _read_layer(self, page: RenderedPage, language: str, cancel: CancelToken) -> PageAnswers:
        """Return the layer's text and, on a page with pictures, the words within these."""
        layer = (page.layer_text or "").strip()
        if page.kind is not PageKind.MIXED or page.rgb is None:
            return _page_answers(page, language, TextMeasures(layer), TextSource.LAYER)
        reading = self._read_pixels(page, cancel)
        measures = TextMeasures(_with_pictures(layer, reading.found.lines))
        return _page_answers(page, language, measures, TextSource.LAYER, reading)

    def with_profile(self, profile: Profile) -> LocalReader:
        """Return this reader: it asks no questions."""
        return self

    def within(self, budget: Budget) -> LocalReader:
        """Return this reader: it uses no tokens."""
        return self

    def close(self) -> None:
        """End the OCR processes."""
        self._ocr.close()
        if self._other_scripts is not None:
            self._other_scripts.close()

    def read_text(self, page: RenderedPage, answers: ImageAnswers) -> OcrText | None:
        """Return a page's text by OCR alone, for a caller that holds the image's answers; None if most of it is unread.

        Raises:
            AnswerTimeout, AnswerUnusable, ServiceRefused: as `read` raises them.
        """
        reading = self._read_with(page, answers)
        text = arrange(reading.found.lines).text
        return None if reading.unread or not letters(text) else OcrText(text, reading.answers, reading.cached)

    def _read_pixels(self, page: RenderedPage, cancel: CancelToken) -> _OcrReading:
        """Read a page with the engine that knows its script, or keep its legible lines."""
        with self._cache.for_image(page.pixels_sha256, cancel) as answers:
            return self._read_with(page, answers)

    def _read_with(self, page: RenderedPage, answers: ImageAnswers) -> _OcrReading:
        answer, known = _answer(self._ocr, page, answers)
        found = _FOUND.validate_json(answer.content)
        if unread_share(found.lines) <= MAX_UNREAD_SHARE:
            return _OcrReading(found, (answer,), int(known))
        legible = FoundLines(found.engine, tuple(filter(is_legible, found.lines)))
        if self._other_scripts is None:
            return _OcrReading(legible, (answer,), int(known), unread=True)
        second, second_known = _answer(self._other_scripts, page, answers)
        other = _FOUND.validate_json(second.content)
        cached = known + second_known
        return _OcrReading(other if other.lines else legible, (answer, second), cached, unread=not other.lines)


def _with_pictures(layer: str, lines: Sequence[TextLine]) -> str:
    """Return a layer and, below it, the lines that only the pictures on the page show."""
    known = letters(layer)
    shown = [line for line in lines if is_legible(line) and _is_new(letters(line.text), known)]
    return "\n\n".join(filter(None, (layer, arrange(shown).text)))


def _is_new(line: str, known: str) -> bool:
    return len(line) >= PICTURE_LINE_LETTERS and partial_ratio(line, known) < PICTURE_LINE_RESEMBLANCE


@dataclass(frozen=True, slots=True)
class _OcrReading:
    found: FoundLines
    answers: tuple[Answer, ...]
    cached: int
    unread: bool = False
    """Whether most of the page's text was detected but not read."""


def _answer(engine: Ocr, page: RenderedPage, answers: ImageAnswers) -> tuple[Answer, bool]:
    key = answer_key(page.pixels_sha256, {"model": NAME, "revision": engine.revision, "question": QUESTION})
    found = answers.find(key)
    if found is not None:
        return found, True
    answer = _ask(engine, key, page)
    answers.save(answer)
    return answer, False


def _ask(engine: Ocr, key: str, page: RenderedPage) -> Answer:
    if page.rgb is None:
        raise ValueError("the page was rendered without its pixels")
    started = time.monotonic()
    found = engine.find_lines(page.rgb, page.width_px, page.height_px)
    return Answer(
        key=key,
        question=QUESTION,
        model=found.engine,
        content=_FOUND.dump_json(found).decode(),
        seconds=round(time.monotonic() - started, 3),
        asked_at=datetime.now(UTC),
    )


def _page_answers(
    page: RenderedPage, language: str, measures: TextMeasures, source: TextSource, reading: _OcrReading | None = None
) -> PageAnswers:
    description, description_language = describe(page, measures, language)
    return PageAnswers(
        description=description,
        text=measures.text or None,
        text_source=source if measures.text else None,
        answers=reading.answers if reading else (),
        cached=reading.cached if reading else 0,
        description_language=description_language,
        read_by=reading.found.engine if reading else None,
        doubts=(UNREAD,) if measures.unread else (),
    )

"""Reads pages on this machine, where no vision model is configured: their text, and what can be measured."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from pydantic import TypeAdapter

from pipeline.models import Answer, RenderedPage, TextSource
from pipeline.retry import Patience
from pipeline.vision.measured import DESCRIPTION_REVISION, TextMeasures, describe
from pipeline.vision.ocr import Ocr, OcrProcess
from pipeline.vision.reader import AnswerCache, PageAnswers, Usage, answer_key
from pipeline.vision.text_layer import is_sound
from pipeline.vision.text_lines import TextLine, arrange

NAME = "local-reader"
#: Raised by hand whenever the same lines or the same layer would give another text.
TEXT_REVISION = 1
QUESTION = "text"

_LINES = TypeAdapter(tuple[TextLine, ...])


class LocalReader:
    """The reader that asks nobody. One for a process; its threads share it.

    What OCR found is archived as an answer, as JSON lines with their boxes, so that no page is read twice; text and
    description are derived from it each time.

    Args:
        ocr: finds the lines of text; RapidOCR in a process of its own when none is given.

    Raises:
        SettingsError: the packages of the extra `local` are missing.
    """

    name = NAME
    profile = "local"
    prompt_revision = DESCRIPTION_REVISION
    describes = False
    wants_pixels = True

    def __init__(self, cache: AnswerCache, ocr: Ocr | None = None) -> None:
        self._cache = cache
        self._ocr = OcrProcess() if ocr is None else ocr
        self.usage = Usage()
        self.revision = f"{TEXT_REVISION}-{self._ocr.revision}"

    def read(self, page: RenderedPage, language: str, patience: Patience) -> PageAnswers:
        """Return the page's text, from its layer or by OCR, and a description of what was measured.

        Raises:
            AnswerTimeout: OCR took too long.
            AnswerUnusable: OCR failed on this page.
            ServiceRefused: OCR does not work at all.
        """
        if is_sound(page.layer_text, page.facts):
            return _page_answers(page, language, TextMeasures((page.layer_text or "").strip()), TextSource.LAYER)
        key = answer_key(page.pixels_sha256, {"model": NAME, "revision": self._ocr.revision, "question": QUESTION})
        answer, found = self._cache.get_or_ask(key, lambda: self._ask(key, page), patience)
        arranged = arrange(_LINES.validate_json(answer.content))
        share = arranged.area_px / (page.width_px * page.height_px)
        measures = TextMeasures(arranged.text, arranged.columns, share)
        return _page_answers(page, language, measures, TextSource.OCR, (answer,), cached=int(found))

    def close(self) -> None:
        """End the OCR process."""
        self._ocr.close()

    def _ask(self, key: str, page: RenderedPage) -> Answer:
        if page.rgb is None:
            raise ValueError("the page was rendered without its pixels")
        started = time.monotonic()
        lines = self._ocr.find_lines(page.rgb, page.width_px, page.height_px)
        return Answer(
            key=key,
            question=QUESTION,
            model=NAME,
            content=_LINES.dump_json(lines).decode(),
            seconds=round(time.monotonic() - started, 3),
            asked_at=datetime.now(UTC),
        )


def _page_answers(
    page: RenderedPage,
    language: str,
    measures: TextMeasures,
    source: TextSource,
    answers: tuple[Answer, ...] = (),
    *,
    cached: int = 0,
) -> PageAnswers:
    description, description_language = describe(page, measures, language)
    return PageAnswers(
        description=description,
        text=measures.text or None,
        text_source=source if measures.text else None,
        answers=answers,
        cached=cached,
        description_language=description_language,
    )

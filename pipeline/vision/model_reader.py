"""Reads pages by asking a vision model the questions of a profile, each at most once for the same pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pipeline.models import Answer, RenderedPage, TextSource, Value
from pipeline.retry import Patience
from pipeline.vision.asking import Asker, Models, Picture
from pipeline.vision.conditions import Known, page_facts
from pipeline.vision.parsing import parse_answer, told
from pipeline.vision.profile import RECORD_FIELDS, Profile, Question
from pipeline.vision.reader import AnswerCache, ImageAnswers, PageAnswers, Usage
from pipeline.vision.words import letters

#: The beginning of the reason for an answer that is none of what was asked for; the question's name follows.
UNPARSABLE = "unparsable:"

_FENCED = re.compile(r"\A```[\w-]*[ \t]*\n(?P<inside>.*?)\n?```\Z", re.DOTALL)


class ModelReader:
    """The reader that asks jina-vlm. One for a process and a profile; its threads share it.

    Args:
        text: who is asked for the text of a page, where that is another; as `models.text` says.
    """

    describes = True
    wants_pixels = False

    def __init__(
        self, models: Models, asker: Asker, cache: AnswerCache, profile: Profile, text: Asker | None = None
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

    def with_profile(self, profile: Profile) -> ModelReader:
        """Return the reader that asks the questions of another profile, by the same connections."""
        return ModelReader(self._models, self._asker, self._cache, profile, self._text)

    @property
    def usage(self) -> Usage:
        """What all models together were asked."""
        askers = {id(asker): asker.usage for asker in (self._asker, self._text)}
        total = Usage()
        for usage in askers.values():
            total.include(usage)
        return total

    def read(self, page: RenderedPage, language: str, patience: Patience) -> PageAnswers:
        """Ask those questions of the profile whose conditions hold. An empty description is returned as it is, as "".

        Raises:
            OutcomeError, ServiceRefused, Stopped: as `Asker.ask` raises them.
        """
        picture = Picture(page.pixels_sha256, page.jpeg)
        found = _Findings(page_facts(page, language))
        with self._cache.about(page.pixels_sha256, patience) as known:
            for question in self._questions:
                if question.is_asked(found.known):
                    answer, cached = self._ask(question, picture, language, known, patience)
                    found.add(question, answer, cached=cached)
        return found.page_answers(language)

    def close(self) -> None:
        """Close the connections."""
        self._asker.close()
        self._text.close()

    def _ask(
        self, question: Question, picture: Picture, language: str, known: ImageAnswers, patience: Patience
    ) -> tuple[Answer, bool]:
        """Ask one question; return its answer, and whether that was there already."""
        model = self._models.of(question)
        asker = self._asker if model is self._models.vision else self._text
        return asker.ask(picture, model.asked(question, language), known, patience)


@dataclass(slots=True)
class _Findings:
    """What the questions asked so far have told of a page."""

    known: dict[str, Known]
    """What conditions can name: facts of the page, and answers."""
    fields: dict[str, str] = field(default_factory=dict)
    """Answers that are fields of a record by themselves."""
    values: dict[str, Value] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    cached: int = 0

    def add(self, question: Question, answer: Answer, *, cached: bool) -> None:
        """Take in the answer to a question."""
        self.answers.append(answer)
        self.cached += cached
        text = clean_answer(answer.content, question.empty_answer)
        self.known |= told(text, question)
        if question.name in RECORD_FIELDS:
            self.fields[question.name] = text
        elif text or not _is_empty(answer.content, question.empty_answer):
            self._add_value(question, text)

    def _add_value(self, question: Question, text: str) -> None:
        value = parse_answer(text, question)
        if value is None:
            self.doubts.append(UNPARSABLE + question.name)
        else:
            self.values[question.name] = Value(kind=question.kind, value=value)

    def page_answers(self, language: str) -> PageAnswers:
        """Return all of it."""
        fields = self.fields
        return PageAnswers(
            description=fields.get("description"),
            description_language=language if "description" in fields else None,
            caption=fields.get("caption"),
            text=fields.get("text"),
            text_source=TextSource.MODEL if "text" in fields else None,
            translation=fields.get("translation"),
            values=self.values,
            doubts=tuple(self.doubts),
            answers=tuple(self.answers),
            cached=self.cached,
        )


def clean_answer(content: str, empty_answer: str | None) -> str:
    """Return an answer without a code fence around it; the agreed word for nothing becomes the empty text."""
    text = content.strip()
    if fenced := _FENCED.match(text):
        text = fenced["inside"].strip()
    return "" if _is_empty(text, empty_answer) else text


def _is_empty(text: str, empty_answer: str | None) -> bool:
    # Small models add a full stop, quotes or capitals of their own to the word they were told.
    return empty_answer is not None and letters(text) == letters(empty_answer)

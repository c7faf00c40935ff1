"""Reads pages by asking a vision model the questions of a profile, each at most once for the same pixels."""

from __future__ import annotations

import re

from pipeline.models import Answer, RenderedPage, TextSource
from pipeline.retry import Patience
from pipeline.vision.asking import Asked, Asker, Picture
from pipeline.vision.profile import Profile
from pipeline.vision.reader import AnswerCache, PageAnswers

_FENCED = re.compile(r"\A```[\w-]*[ \t]*\n(?P<inside>.*?)\n?```\Z", re.DOTALL)


class ModelReader:
    """The reader that asks jina-vlm. One for a process; its threads share it."""

    describes = True
    wants_pixels = False

    def __init__(self, asker: Asker, cache: AnswerCache, profile: Profile) -> None:
        self.name = asker.model
        self.revision = asker.revision
        self.profile = profile.name
        self.prompt_revision = profile.revision
        self.usage = asker.usage
        self._asker = asker
        self._cache = cache
        self._questions = profile.questions

    def read(self, page: RenderedPage, language: str, patience: Patience) -> PageAnswers:
        """Ask the profile's questions about a page. An empty description is returned as it is, as "".

        Raises:
            OutcomeError, ServiceRefused, Stopped: as `Asker.ask` raises them.
        """
        picture = Picture(page.pixels_sha256, page.jpeg)
        contents: dict[str, str] = {}
        answers: list[Answer] = []
        cached = 0
        with self._cache.about(page.pixels_sha256, patience) as known:
            for question in self._questions:
                asked = Asked(question.name, question.prompt_in(language), language, question.max_tokens)
                answer, found = self._asker.ask(picture, asked, known, patience)
                contents[question.name] = clean_answer(answer.content, question.empty_answer)
                answers.append(answer)
                cached += found
        return PageAnswers(
            description=contents.get("description"),
            description_language=language if "description" in contents else None,
            text=contents.get("text"),
            text_source=TextSource.MODEL if "text" in contents else None,
            answers=tuple(answers),
            cached=cached,
        )

    def close(self) -> None:
        """Close the connections."""
        self._asker.close()


def clean_answer(content: str, empty_answer: str | None) -> str:
    """Return an answer without a code fence around it; the agreed word for nothing becomes the empty text."""
    text = content.strip()
    if fenced := _FENCED.match(text):
        text = fenced["inside"].strip()
    if empty_answer is not None and _letters(text) == _letters(empty_answer):
        return ""
    return text


def _letters(text: str) -> str:
    # Small models add a full stop, quotes or capitals of their own to the word they were told.
    return "".join(char for char in text.casefold() if char.isalnum())

"""Planning: what a run would ask and what that would take, with nothing indexed and nobody asked.

    inspect, with what the archive knows ──▶ pages to be worked ──▶ answers that are missing ──▶ tokens and time

The sums are those of the measured answers of the model. A question whose condition names an answer that is not there
yet may be asked, and counts.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from pipeline.analysis.inspect import Asking, Crops
from pipeline.archive import Archive, source_id
from pipeline.core.errors import OutcomeError
from pipeline.core.models import Answer, Document, FileState, Reading, RenderedPage, Source
from pipeline.pages.plan import plan
from pipeline.pages.recipe import Request
from pipeline.pages.registration import still_holds
from pipeline.vision.endpoint.asking import Model, Models, PromptRequest, request_key
from pipeline.vision.endpoint.cost import MAX_IMAGE_TOKENS, NO_COST, Cost, call_cost, first_bands
from pipeline.vision.profile import Profile, Question
from pipeline.vision.profile.conditions import page_facts
from pipeline.vision.profile.parsing import condition_values
from pipeline.vision.quality.cleanup import clean_answer
from pipeline.vision.quality.stitching import merge

#: Documents, and pages of them, whose answers are looked at to measure what these take: they lie evenly among all.
SAMPLE_DOCUMENTS = 60
SAMPLE_PAGES = 180
#: Of their answers, so many of the newest count: an endpoint is not always equally quick.
SAMPLE_ANSWERS = 300
_MINUTE_SECONDS = 60.0


class ArchiveMemory:
    """What the archive knows of files, pages and answers; see `pipeline.analysis.inspect.Memory`. Threads share it.

    Args:
        request: what would be asked for; its batch is none that there is.
        profile: the questions; they are those of the request's recipe.
        models: who would be asked; nobody when None.
    """

    def __init__(self, archive: Archive, request: Request, profile: Profile, models: Models | None) -> None:
        self._archive = archive
        self._request = request
        self._profile = profile
        self._models = models
        self._images: set[int] = set()
        self._lock = threading.Lock()

    def source(self, url: str, state: FileState) -> Source | None:
        """Return what was archived of a place, where that still holds."""
        known = self._archive.source(self._request.collection, source_id(url))
        return known if known is not None and still_holds(known, state, self._request) else None

    def due(self, document: Document) -> Collection[int]:
        """Return the numbers of the pages that would be worked."""
        return plan(document, self._request, self._archive).due

    def asking(self, page: RenderedPage, crops: Crops) -> Asking:
        """Return what would be asked about a page. Of pages with the same image, the first one is asked about."""
        if self._models is None:
            return Asking()
        is_first = self._is_first(page.pixels_sha256)
        language = self._request.recipe.language
        known = page_facts(page, language)
        cost, archived, calls, complete = NO_COST, 0, Counter[str](), True
        for question in self._profile.questions:
            if not (question.is_asked(known) if complete else question.may_be_asked(known)):
                continue
            model = self._models.of(question)
            prompt_request = model.request(question, language)
            found = self._first_answers(question, model, prompt_request, page, crops)
            there = [answer for answer in found if answer is not None]
            if len(there) == len(found):
                parts = [clean_answer(answer.content, question.empty_answer)[0] for answer in there]
                known |= condition_values(parts[0] if len(parts) == 1 else merge(parts).text, question)
            else:
                complete = False
            missing = len(found) - len(there) if is_first else 0
            archived += len(found) - missing
            if missing:
                each = call_cost(prompt_request.prompt, prompt_request.max_tokens, page.width_px, page.height_px)
                cost = sum([each] * missing, cost)
                calls[question.name] += missing
        return Asking(cost, archived, calls)

    def _first_answers(
        self, question: Question, model: Model, prompt_request: PromptRequest, page: RenderedPage, crops: Crops
    ) -> list[Answer | None]:
        """Return the archived answers of the calls with which a question is first asked; None for each that is missing.

        The crops of a dense page are made only where something was asked about the page before.
        """
        bands = first_bands(question, page)
        parts: list[str | None] = [None]
        if bands > 1:
            if not self._archive.answer_keys(page.pixels_sha256):
                return [None] * bands
            with suppress(OutcomeError):  # one that cannot be shown in parts is asked about as a whole
                parts = [crop.pixels_sha256 for crop in crops(bands)]
        keys = (request_key(model.name, model.revision, page.pixels_sha256, prompt_request, part) for part in parts)
        return [self._archive.answer(key) for key in keys]

    def _is_first(self, pixels_sha256: str) -> bool:
        identifier = int(pixels_sha256[:15], 16)
        with self._lock:
            is_first = identifier not in self._images
            self._images.add(identifier)
        return is_first


@dataclass(frozen=True, slots=True)
class Measured:
    """What an answer took on average."""

    answers: int
    """How many were measured."""
    seconds: float
    tokens_in: float
    tokens_out: float


@dataclass(frozen=True, slots=True)
class Rates:
    """What archived answers took."""

    overall: Measured
    by_question: Mapping[str, Measured]
    newest: datetime
    """When the last one of them was asked for."""

    def of(self, question: str) -> Measured:
        """Return what the answers to a question took, or all where none to it was measured."""
        return self.by_question.get(question, self.overall)


@dataclass(frozen=True, slots=True)
class Pace:
    """What bounds how fast calls follow one another. A rate of 0 is no limit."""

    in_flight: int
    requests_per_minute: int
    tokens_per_minute: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What calls will take."""

    calls: int
    tokens_in: int
    tokens_out: int | None
    """None where nothing was measured: only a bound is known, `Cost.tokens_out_max`."""
    seconds: float | None
    """Of calls, at the rate that the limits allow; likewise."""


def forecast(calls: Counter[str], cost: Cost, rates: Rates | None, pace: Pace) -> Forecast:
    """Return what calls, counted by question, will take."""
    count = calls.total()
    if not count:
        return Forecast(0, 0, 0, 0.0)
    if rates is None:
        return Forecast(count, cost.tokens_in, None, None)
    tokens_in = sum(number * rates.of(question).tokens_in for question, number in calls.items())
    tokens_out = sum(number * rates.of(question).tokens_out for question, number in calls.items())
    seconds = sum(number * rates.of(question).seconds for question, number in calls.items()) / pace.in_flight
    if pace.requests_per_minute:
        seconds = max(seconds, count / pace.requests_per_minute * _MINUTE_SECONDS)
    if pace.tokens_per_minute:
        seconds = max(seconds, (tokens_in + tokens_out) / pace.tokens_per_minute * _MINUTE_SECONDS)
    return Forecast(count, round(tokens_in), round(tokens_out), seconds)


def page_tokens(profile: Profile, language: str, rates: Rates | None) -> int:
    """Return the tokens of a page that is asked every question of a profile.

    Where nothing was measured, those of the largest image and the longest answers.
    """
    if rates is None:
        bounds = (call_cost(question.prompt_in(language), question.max_tokens, 1, 1) for question in profile.questions)
        return sum(MAX_IMAGE_TOKENS + bound.tokens_in + bound.tokens_out_max for bound in bounds)
    measured = [rates.of(question.name) for question in profile.questions]
    return math.ceil(sum(answer.tokens_in + answer.tokens_out for answer in measured))


def measure(archive: Archive, collection: str, models: Models) -> Rates | None:
    """Return what answers of these models took in a collection, else anywhere; None where there are none."""
    answers = _sample(archive, [collection], models) or _sample(archive, archive.collections(), models)
    if not answers:
        return None
    questions: dict[str, list[Answer]] = {}
    for answer in answers:
        questions.setdefault(answer.question, []).append(answer)
    return Rates(
        overall=_mean(answers),
        by_question={question: _mean(some) for question, some in questions.items()},
        newest=answers[-1].asked_at,
    )


def _sample(archive: Archive, collections: Iterable[str], models: Models) -> list[Answer]:
    """Return answers of these models in these collections, oldest first."""
    names = [(name, document) for name in collections for document in archive.documents(name)]
    chosen = names[:: max(1, len(names) // SAMPLE_DOCUMENTS)][:SAMPLE_DOCUMENTS]
    pages = SAMPLE_PAGES // max(1, len(chosen))
    keys = chain.from_iterable(_keys(archive, *document, pages) for document in chosen)
    answers = (archive.answer(key) for key in dict.fromkeys(keys))
    found = [answer for answer in answers if answer is not None and answer.model in models.names]
    return sorted(found, key=lambda answer: answer.asked_at)[-SAMPLE_ANSWERS:]


def _keys(archive: Archive, collection: str, document: str, pages: int) -> Iterator[str]:
    """Yield the keys of the answers that the last pages of a document rest on."""
    numbers = sorted(archive.revisions(collection, document))[-pages:]
    for reading in archive.readings(collection, document, numbers):
        if isinstance(reading, Reading):
            yield from reading.answers


def _mean(answers: list[Answer]) -> Measured:
    count = len(answers)
    return Measured(
        answers=count,
        seconds=sum(answer.seconds for answer in answers) / count,
        tokens_in=sum(answer.tokens_in for answer in answers) / count,
        tokens_out=sum(answer.tokens_out for answer in answers) / count,
    )

"""Estimates the calls, tokens and time of a run, without indexing and without calling a model.

    inspect with the archive's knowledge ──▶ pages to process ──▶ missing answers ──▶ tokens and time

Tokens and time are computed from archived answers of the model. A question whose condition depends on a missing answer
counts, since it may be asked.
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

#: Documents, evenly distributed among all, and pages of them whose answers are measured.
SAMPLE_DOCUMENTS = 60
SAMPLE_PAGES = 180
#: Newest answers among them that count, since an endpoint's speed changes.
SAMPLE_ANSWERS = 300
_MINUTE_SECONDS = 60.0


class ArchiveMemory:
    """The archive's knowledge of files, pages and answers, as `pipeline.analysis.inspect.Memory`. Threads share it.

    Args:
        request: what would be requested; its batch does not exist.
        profile: the profile of the request's recipe.
        models: the models that would be called; None without one.
    """

    def __init__(self, archive: Archive, request: Request, profile: Profile, models: Models | None) -> None:
        self._archive = archive
        self._request = request
        self._profile = profile
        self._models = models
        self._images: dict[int, int] = {}
        self._lock = threading.Lock()

    def source(self, url: str, state: FileState) -> Source | None:
        """Return the archived source of a URL, if it is still valid."""
        known = self._archive.sources(self._request.collection)[source_id(url)].newest()
        return known if known is not None and still_holds(known, state, self._request) else None

    def due(self, document: Document) -> Collection[int]:
        """Return the numbers of the pages that would be processed."""
        return plan(document, self._request, self._archive).due

    def asking(self, document: str, page: RenderedPage, crops: Crops) -> Asking:
        """Return the calls for a page of a document, by its id. Of pages with one image, only the first costs calls."""
        if self._models is None:
            return Asking()
        is_first = self._is_first(document, page)
        language = self._request.recipe.language
        known = page_facts(page, language)
        cost, archived, calls, complete = NO_COST, 0, Counter[str](), True
        for question in self._profile.questions:
            if not (question.is_asked(known) if complete else question.may_be_asked(known)):
                continue
            model = self._models.of(question)
            prompt_request = model.request(question, language)
            found = self._first_answers(question, model, prompt_request, page, crops)
            archived_answers = [answer for answer in found if answer is not None]
            if len(archived_answers) == len(found):
                parts = [clean_answer(answer.content, question.empty_answer)[0] for answer in archived_answers]
                known |= condition_values(parts[0] if len(parts) == 1 else merge(parts).text, question)
            else:
                complete = False
            missing = len(found) - len(archived_answers) if is_first else 0
            archived += len(found) - missing
            if missing:
                each = call_cost(prompt_request.prompt, prompt_request.max_tokens, page.width_px, page.height_px)
                cost = sum([each] * missing, cost)
                calls[question.name] += missing
        return Asking(cost, archived, calls)

    def _first_answers(
        self, question: Question, model: Model, prompt_request: PromptRequest, page: RenderedPage, crops: Crops
    ) -> list[Answer | None]:
        """Return the archived answers to the first calls of a question, with None for each missing one.

        The crops of a dense page are rendered only if the archive has any answer about the page.
        """
        bands = first_bands(question, page)
        parts: list[str | None] = [None]
        if bands > 1:
            if not self._archive.answers.keys(page.pixels_sha256):
                return [None] * bands
            with suppress(OutcomeError):  # a page that cannot be cropped is sent as a whole
                parts = [crop.pixels_sha256 for crop in crops(bands)]
        keys = (request_key(model.name, model.revision, page.pixels_sha256, prompt_request, part) for part in parts)
        return [self._archive.answers.get(key) for key in keys]

    def _is_first(self, document: str, page: RenderedPage) -> bool:
        """Whether no other page has this image. A copy of the document that is inspected too has the same pages."""
        identity = hash((document, page.page_number))
        with self._lock:
            return self._images.setdefault(int(page.pixels_sha256[:15], 16), identity) == identity


@dataclass(frozen=True, slots=True)
class Measured:
    """Average cost of an answer."""

    answers: int
    """Number of measured answers."""
    seconds: float
    tokens_in: float
    tokens_out: float


@dataclass(frozen=True, slots=True)
class Rates:
    """Average costs of archived answers."""

    overall: Measured
    by_question: Mapping[str, Measured]
    newest: datetime
    """When the newest one of them was requested."""

    def of(self, question: str) -> Measured:
        """Return the average for a question; the overall one if that question was not measured."""
        return self.by_question.get(question, self.overall)


@dataclass(frozen=True, slots=True)
class Pace:
    """Limits of the rate of calls. 0 means unlimited."""

    in_flight: int
    requests_per_minute: int
    tokens_per_minute: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected cost of calls."""

    calls: int
    tokens_in: int
    tokens_out: int | None
    """None without measured answers; then only the bound `Cost.tokens_out_max` is known."""
    seconds: float | None
    """Duration at the rate that the limits allow; None without measured answers."""


def forecast(calls: Counter[str], cost: Cost, rates: Rates | None, pace: Pace) -> Forecast:
    """Return the expected cost of calls, which are counted by question."""
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
    """Return the tokens of a page for which every question of a profile is asked.

    Without measured answers, assume the largest image and the longest answers.
    """
    if rates is None:
        bounds = (call_cost(question.prompt_in(language), question.max_tokens, 1, 1) for question in profile.questions)
        return sum(MAX_IMAGE_TOKENS + bound.tokens_in + bound.tokens_out_max for bound in bounds)
    measured = [rates.of(question.name) for question in profile.questions]
    return math.ceil(sum(answer.tokens_in + answer.tokens_out for answer in measured))


def measure(archive: Archive, collection: str, models: Models) -> Rates | None:
    """Return the average costs of the models' answers in a collection, else in all; None without answers."""
    answers = _sample(archive, [collection], models) or _sample(archive, archive.collections.names(), models)
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
    """Return a sample of the models' answers in some collections, oldest first."""
    names = [(name, document) for name in collections for document in archive.documents(name)]
    chosen = names[:: max(1, len(names) // SAMPLE_DOCUMENTS)][:SAMPLE_DOCUMENTS]
    pages = SAMPLE_PAGES // max(1, len(chosen))
    keys = chain.from_iterable(_keys(archive, *document, pages) for document in chosen)
    answers = (archive.answers.get(key) for key in dict.fromkeys(keys))
    found = [answer for answer in answers if answer is not None and answer.model in models.names]
    return sorted(found, key=lambda answer: answer.asked_at)[-SAMPLE_ANSWERS:]


def _keys(archive: Archive, collection: str, document: str, pages: int) -> Iterator[str]:
    """Yield the keys of the answers behind the last pages of a document."""
    numbers = sorted(archive.readings(collection, document).newest_revisions())[-pages:]
    for reading in archive.readings(collection, document).newest(numbers):
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

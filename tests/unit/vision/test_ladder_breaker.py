"""Further attempts stop where they do not help page after page, and begin again where they do."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from pipeline.core.models import RenderedPage
from pipeline.core.retry import CancelToken
from pipeline.vision.endpoint.asking import Asker, Model, Models
from pipeline.vision.endpoint.client import VlmClient
from pipeline.vision.endpoint.limits import LocalLimiter
from pipeline.vision.model.ladder_breaker import CLIMB_EVERY, FAILED_CLIMBS, LadderBreaker
from pipeline.vision.model.model_reader import ModelReader
from pipeline.vision.ocr.local_reader import LocalReader
from pipeline.vision.profile import parse_profile
from pipeline.vision.reader import AnswerCache, PageAnswers
from support.vision import AnswersInMemory, LeasesInMemory, rendered_page

PROFILE = parse_profile('name = "one"\n[[questions]]\nname = "text"\nprompt = "Copy every word."\nmax_tokens = 500\n')
LOOP = "The ferry leaves at nine from the northern quay. " * 40
WORDS = "The ferry leaves at nine from the northern quay.\nTickets are sold on board."
#: Calls of a page whose whole ladder fails: the page, twice hotter.
CALLS_OF_A_CLIMB = 3


class Model7B:
    """An endpoint that loops, until it is mended."""

    def __init__(self) -> None:
        self.calls = 0
        self.loops = True
        self.hot_helps = False
        self._lock = threading.Lock()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        with self._lock:
            self.calls += 1
        hot = json.loads(request.content)["temperature"] > 0
        content = LOOP if self.loops and not (hot and self.hot_helps) else WORDS
        usage = {"prompt_tokens": 100, "completion_tokens": 50}
        choice: dict[str, Any] = {"message": {"content": content}, "finish_reason": "stop"}
        return httpx2.Response(200, json={"choices": [choice], "usage": usage})


class Pages:
    """Reads pages of this model, all with one reader."""

    def __init__(self, model: Model7B, store: AnswersInMemory | None = None) -> None:
        client = VlmClient(
            "https://vlm.example/v1",
            None,
            "m",
            connect_seconds=1,
            read_seconds=1,
            concurrency=8,
            transport=httpx2.MockTransport(model),
        )
        self.reader = ModelReader(
            Models(Model("m", "1")),
            Asker(client, LocalLimiter(8), revision="1", waits_seconds=(0.0,)),
            AnswerCache(store or AnswersInMemory(), LeasesInMemory()),
            PROFILE,
        )

    def read(self, number: int) -> PageAnswers:
        return self.reader.read(page(number), "en", CancelToken())


def page(number: int) -> RenderedPage:
    drawn = rendered_page(1)
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    return replace(drawn, width_px=708, height_px=1000, pixels_sha256=digest)


def is_marked(found: PageAnswers) -> bool:
    return "not_climbed:text" in found.doubts


def test_a_model_that_fails_page_after_page_is_soon_asked_once_a_page() -> None:
    model = Model7B()
    pages = Pages(model)
    found = [pages.read(number) for number in range(100)]

    climbed = [number for number, answers in enumerate(found) if not is_marked(answers)]
    assert climbed[:FAILED_CLIMBS] == list(range(FAILED_CLIMBS))
    assert len(climbed) == FAILED_CLIMBS + (100 - FAILED_CLIMBS) // CLIMB_EVERY
    assert model.calls == 100 + len(climbed) * (CALLS_OF_A_CLIMB - 1)
    assert pages.reader.usage.not_climbed == 100 - len(climbed)
    assert "text" in pages.reader.usage.stopped_climbing
    assert all(answers.text and answers.text.startswith("The ferry") for answers in found)


def test_pages_that_are_in_flight_together_do_not_all_climb() -> None:
    model = Model7B()
    pages = Pages(model)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(pages.read, range(12)))
    assert sum(not is_marked(answers) for answers in found) <= FAILED_CLIMBS + 1
    assert model.calls <= 12 + (FAILED_CLIMBS + 1) * (CALLS_OF_A_CLIMB - 1)


def test_an_answer_that_passes_lets_pages_climb_again() -> None:
    model = Model7B()
    pages = Pages(model)
    for number in range(8):
        pages.read(number)
    model.loops = False
    assert pages.read(8).doubts == ()
    assert pages.reader.usage.stopped_climbing == {}
    model.loops, model.hot_helps = True, True
    found = pages.read(9)
    assert (found.rungs, found.doubts) == (("text:temperature_0.3",), ())


def test_a_climb_that_helps_while_the_breaker_is_open_closes_it() -> None:
    model = Model7B()
    pages = Pages(model)
    for number in range(FAILED_CLIMBS):
        pages.read(number)
    model.hot_helps = True
    found = [pages.read(number) for number in range(100, 100 + CLIMB_EVERY + 3)]
    assert [is_marked(answers) for answers in found] == [True] * (CLIMB_EVERY - 1) + [False] * 4


def test_a_page_that_climbed_before_gives_the_same_reading_while_the_breaker_is_open() -> None:
    model, store = Model7B(), AnswersInMemory()
    model.hot_helps = True
    before = Pages(model, store).read(1000)
    model.hot_helps = False
    pages = Pages(model, store)
    for number in range(8):
        pages.read(number)
    again = pages.read(1000)
    assert (again.text, again.doubts, again.cached) == (before.text, (), 2)


def test_each_question_has_a_breaker_of_its_own_and_an_error_leaves_it_as_it_was() -> None:
    breaker, cancel = LadderBreaker(), CancelToken()
    for _ in range(FAILED_CLIMBS):
        with pytest.raises(ValueError, match="away"), breaker.climb("text", cancel):
            raise ValueError("away")
    for _ in range(FAILED_CLIMBS):
        with breaker.climb("text", cancel) as climb:
            assert climb.is_allowed
            climb.faults = ("tail_repetition",)
    with breaker.climb("text", cancel) as climb:
        assert not climb.is_allowed
    with breaker.climb("description", cancel) as climb:
        assert climb.is_allowed
    assert breaker.stopped == {"text": "tail_repetition"}


def test_ocr_keeps_nobody_else_from_asking_about_the_same_image() -> None:
    """While one page's text is read by OCR, a page with equal pixels gets its answers to other questions."""
    leases, store = LeasesInMemory(), AnswersInMemory()
    cache, cancel = AnswerCache(store, leases), CancelToken()
    with cache.for_image("pixels", cancel) as mine:
        assert mine.find("a model's answer") is None
        with mine.apart("ocr") as apart:
            assert apart.find("lines") is None
            with cache.for_image("pixels", cancel) as others:
                assert others.find("another model's answer") is None
        assert mine.find("a further answer") is None
    assert leases.take("pixels") is not None
    assert leases.take("pixels-ocr") is not None
    assert LocalReader.describes is False

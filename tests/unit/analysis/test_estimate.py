"""What a page would be asked by what is archived, and what calls take by what others took."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.analysis.estimate import ArchiveMemory, Measured, Pace, Rates, forecast, measure
from pipeline.archive import Archive, Store
from pipeline.core.errors import RenderTimeout
from pipeline.core.models import Answer, Collection, RenderedCrop, RenderedPage
from pipeline.documents.passwords import Passwords
from pipeline.pages.recipe import Recipe, Request
from pipeline.vision.endpoint.asking import Model, Models, PromptRequest, request_key
from pipeline.vision.endpoint.cost import NO_COST, Cost
from pipeline.vision.profile import Profile, load_profile, parse_profile
from support.readings import NOW, full_reading
from support.vision import rendered_page

MODEL = Model("jina-vlm", "1")
MODELS = Models(MODEL)
TREE = parse_profile(
    """
    name = "tree"

    [[questions]]
    name = "has_chart"
    kind = "yes_no"
    max_tokens = 8
    prompt = "Is there a chart? Answer yes or no."

    [[questions]]
    name = "chart"
    when = "has_chart"
    max_tokens = 100
    prompt = "Describe the chart in {language}."

    [[questions]]
    name = "scan"
    when = "page.kind == 'scanned'"
    max_tokens = 100
    prompt = "Describe the paper in {language}."
    """
)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path)))


DOCUMENT = "a" * 64


def memory(archive: Archive, profile: Profile = TREE, models: Models | None = MODELS) -> ArchiveMemory:
    recipe = Recipe(
        "en", MODEL.name, MODEL.revision, profile.name, profile.revision, 1, "", Passwords(), describes=True
    )
    return ArchiveMemory(archive, Request("works", "", 0, recipe), profile, models)


def no_crops(_bands: int) -> tuple[RenderedCrop, ...]:
    raise AssertionError("nobody needs to see the page in parts")


def answer(archive: Archive, page: RenderedPage, name: str, content: str, model: Model = MODEL) -> None:
    (question,) = [question for question in TREE.questions if question.name == name]
    asked = PromptRequest(name, question.prompt_in("en"), question.language_in("en"), question.max_tokens)
    key = request_key(model.name, model.revision, page.pixels_sha256, asked)
    archive.answers.add(Answer(key=key, question=name, model=model.name, content=content, asked_at=NOW))


def test_while_the_deciding_answer_is_missing_what_it_may_lead_to_counts(archive: Archive) -> None:
    asking = memory(archive).asking(DOCUMENT, rendered_page(1), no_crops)
    assert asking.calls == {"has_chart": 1, "chart": 1}
    assert (asking.cost.calls, asking.cost.tokens_out_max, asking.archived) == (2, 108, 0)


@pytest.mark.parametrize(("said", "calls"), [("Yes.", {"chart": 1}), ("No.", {}), ("Perhaps", {})])
def test_an_answer_that_is_there_decides(archive: Archive, said: str, calls: dict[str, int]) -> None:
    page = rendered_page(1)
    answer(archive, page, "has_chart", said)
    asking = memory(archive).asking(DOCUMENT, page, no_crops)
    assert (asking.calls, asking.archived) == (calls, 1)


def test_answers_of_other_weights_are_none(archive: Archive) -> None:
    page = rendered_page(1)
    answer(archive, page, "has_chart", "No.", Model(MODEL.name, "0"))
    assert memory(archive).asking(DOCUMENT, page, no_crops).archived == 0


def test_an_image_that_came_before_is_asked_about_once(archive: Archive) -> None:
    known = memory(archive)
    assert known.asking(DOCUMENT, rendered_page(1), no_crops).cost.calls == 2
    again = known.asking("b" * 64, rendered_page(1), no_crops)
    assert (again.cost, again.calls, again.archived) == (NO_COST, {}, 2)
    assert known.asking(DOCUMENT, rendered_page(2), no_crops).cost.calls == 2


def test_a_copy_that_is_looked_at_before_its_original_takes_none_of_its_calls(archive: Archive) -> None:
    known = memory(archive)
    assert [known.asking(DOCUMENT, rendered_page(1), no_crops).cost.calls for _ in ("copy", "original")] == [2, 2]


@pytest.mark.parametrize(("answered", "missing"), [((), 2), ((1,), 1), ((1, 2), 0)])
def test_of_a_dense_page_those_parts_are_asked_for_that_are_missing(
    archive: Archive, answered: tuple[int, ...], missing: int
) -> None:
    profile = load_profile("text-only")
    (question,) = profile.questions
    page = rendered_page(1)
    page = replace(page, facts=replace(page.facts, glyph_px=3.5))
    parts = {1: "1" * 64, 2: "2" * 64}
    asked = MODEL.request(question, "en")
    for number in answered:
        key = request_key(MODEL.name, MODEL.revision, page.pixels_sha256, asked, parts[number])
        archive.answers.add(Answer(key=key, question="text", model=MODEL.name, content="a line", asked_at=NOW))

    def crops(bands: int) -> tuple[RenderedCrop, ...]:
        return tuple(RenderedCrop(1, (0, 0, 1, 1), b"", 40, 56, parts[number]) for number in range(1, bands + 1))

    asking = memory(archive, profile).asking(DOCUMENT, page, crops if answered else no_crops)
    assert (asking.cost.calls, asking.archived) == (missing, len(answered))
    assert asking.calls == ({"text": missing} if missing else {})


def test_a_dense_page_that_cannot_be_shown_in_parts_is_asked_about_as_a_whole(archive: Archive) -> None:
    profile = load_profile("standard")
    page = rendered_page(1)
    page = replace(page, facts=replace(page.facts, glyph_px=3.5))
    description = next(question for question in profile.questions if question.name == "description")
    key = request_key(MODEL.name, MODEL.revision, page.pixels_sha256, MODEL.request(description, "en"))
    archive.answers.add(Answer(key=key, question="description", model=MODEL.name, content="A page.", asked_at=NOW))

    def crops(_bands: int) -> tuple[RenderedCrop, ...]:
        raise RenderTimeout("too slow")

    assert memory(archive, profile).asking(DOCUMENT, page, crops).calls["text"] == 1


def test_without_a_model_nobody_is_asked(archive: Archive) -> None:
    assert memory(archive, models=None).asking(DOCUMENT, rendered_page(1), no_crops).cost == NO_COST


RATES = Rates(
    overall=Measured(10, 3.0, 1_000, 100),
    by_question={"text": Measured(5, 4.0, 1_500, 200)},
    newest=NOW,
)


@pytest.mark.parametrize(
    ("pace", "seconds"),
    [
        (Pace(1, 0, 0), 50.0),
        (Pace(5, 0, 0), 10.0),
        (Pace(5, 30, 0), 30.0),
        (Pace(5, 0, 20_000), 58.5),
    ],
)
def test_the_slowest_of_the_limits_tells_the_time(pace: Pace, seconds: float) -> None:
    took = forecast(Counter(text=5, caption=10), Cost(15, 0, 0), RATES, pace)
    assert (took.calls, took.tokens_in, took.tokens_out) == (15, 17_500, 2_000)
    # 5 answers of 4 s and 10 others of 3 s; 15 requests; 19,500 tokens
    assert took.seconds == pytest.approx(seconds)


def test_without_measured_answers_only_a_bound_is_known() -> None:
    took = forecast(Counter(text=2), Cost(2, 3_000, 8_192), None, Pace(5, 500, 0))
    assert (took.calls, took.tokens_in, took.tokens_out, took.seconds) == (2, 3_000, None, None)


def test_where_nothing_is_to_be_asked_it_takes_nothing() -> None:
    took = forecast(Counter(), NO_COST, None, Pace(5, 500, 0))
    assert (took.calls, took.tokens_in, took.tokens_out, took.seconds) == (0, 0, 0, 0.0)


def keep(archive: Archive, collection: str, document: str, model: str, seconds: float) -> None:
    """A page whose reading rests on one answer."""
    kept = Collection(name=collection, language="en", profile="standard", revision=1)
    archive.collections[collection].append(lambda newest: None if newest else kept)
    key = f"{document}-{model}"
    said = Answer(
        key=key,
        question="text",
        model=model,
        content="",
        tokens_in=100,
        tokens_out=10,
        seconds=seconds,
        asked_at=NOW + timedelta(seconds=seconds),
    )
    archive.answers.add(said)
    reading = full_reading().model_copy(update={"revision": 1, "answers": (key,)})
    archive.readings(collection, document).page(2).advance(None, lambda _newest: reading)


def test_rates_are_those_of_the_model_in_the_collection_else_anywhere(archive: Archive) -> None:
    assert measure(archive, "works", MODELS) is None
    keep(archive, "others", "a" * 64, MODEL.name, 9.0)
    elsewhere = measure(archive, "works", MODELS)
    assert elsewhere is not None
    assert elsewhere.overall == Measured(1, 9.0, 100, 10)

    keep(archive, "works", "b" * 64, MODEL.name, 1.0)
    keep(archive, "works", "c" * 64, MODEL.name, 3.0)
    keep(archive, "works", "d" * 64, "other-vlm", 50.0)
    here = measure(archive, "works", MODELS)
    assert here is not None
    assert here.overall == here.of("text") == here.of("caption") == Measured(2, 2.0, 100, 10)
    assert here.newest == NOW + timedelta(seconds=3)

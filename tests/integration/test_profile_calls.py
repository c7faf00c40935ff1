"""Profiles against the jina-vlm stand-in, over HTTP: just the questions of the tree are asked, each of them once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from pydantic import SecretStr

from pipeline.core.models import AnswerKind, RenderedPage, Value
from pipeline.core.retry import CancelToken
from pipeline.vision.endpoint.asking import Asker
from pipeline.vision.endpoint.client import VlmClient
from pipeline.vision.endpoint.limits import LocalLimiter
from pipeline.vision.model.model_reader import ModelReader
from pipeline.vision.profile import Profile, load_profile, parse_profile
from pipeline.vision.reader import PageAnswers
from support.question_profiles import INVOICE_QUESTIONS
from support.standin import Standin
from support.vision import AnswersInMemory, answer_cache, model_reader, page_image, rendered_page

GERMAN = "Das Schiff liegt im Hafen und wartet auf die Ladung aus Holz und Kupfer."
ENGLISH = "The ship lies in the harbour and waits for its cargo of timber and copper."
HAS_TEXT = "written language"
PICTURE_KIND = "What kind of picture"
ALWAYS = ("has_text", "picture_kind", "description")
CHART = ("chart_kind", "chart_subject")

#: What the stand-in says of each of ten pages, by a piece of the prompt, and the questions that must be asked of it.
TREE: list[tuple[dict[str, str], tuple[str, ...]]] = [
    ({HAS_TEXT: "no", PICTURE_KIND: "photograph"}, ALWAYS),
    ({HAS_TEXT: "Yes.", PICTURE_KIND: "text", "text": ENGLISH}, (*ALWAYS, "text")),
    ({HAS_TEXT: "yes", PICTURE_KIND: "text", "text": GERMAN}, (*ALWAYS, "text", "translation")),
    ({HAS_TEXT: "yes", PICTURE_KIND: "Chart", "text": ENGLISH}, (*ALWAYS, "text", *CHART)),
    ({HAS_TEXT: "no", PICTURE_KIND: "chart."}, (*ALWAYS, *CHART)),
    (
        {HAS_TEXT: "yes", PICTURE_KIND: "table", "text": GERMAN},
        (*ALWAYS, "text", "translation", "table_subject"),
    ),
    ({HAS_TEXT: "no", PICTURE_KIND: "diagram"}, (*ALWAYS, "diagram_subject")),
    ({HAS_TEXT: "yes", PICTURE_KIND: "map", "text": "NO TEXT"}, (*ALWAYS, "text", "map_subject")),
    # Of answers that cannot be understood nothing follows; nor of a text whose language cannot be told.
    ({HAS_TEXT: "Who knows?", PICTURE_KIND: "a chart or a map"}, ALWAYS),
    ({HAS_TEXT: "yes", PICTURE_KIND: "other", "text": "12 345"}, (*ALWAYS, "text")),
]


@contextmanager
def reading(standin: Standin, profile: Profile, store: AnswersInMemory | None = None) -> Iterator[ModelReader]:
    client = VlmClient(
        standin.url, SecretStr(standin.key), "jina-vlm", connect_seconds=5, read_seconds=20, concurrency=8
    )
    asker = Asker(client, LocalLimiter(8), revision="1", waits_seconds=(0.05,))
    with closing(model_reader(asker, answer_cache(store), profile)) as reader:
        yield reader


def image_of(seed: int) -> str:
    return hashlib.sha256(page_image(seed)).hexdigest()


def read(reader: ModelReader, page: RenderedPage) -> PageAnswers:
    return reader.read(page, "en", CancelToken())


def asked_of(answers: PageAnswers) -> tuple[str, ...]:
    return tuple(answer.question for answer in answers.answers)


def test_of_ten_pages_of_different_kinds_just_the_questions_of_the_tree_are_asked(standin: Standin) -> None:
    standin.tell(answers={image_of(seed): said for seed, (said, _) in enumerate(TREE)})

    with reading(standin, load_profile("visual")) as reader:
        found = [read(reader, rendered_page(seed)) for seed in range(len(TREE))]

    assert [asked_of(answers) for answers in found] == [questions for _, questions in TREE]
    requests = Counter(request["image_sha256"] for request in standin.requests())
    assert requests == {image_of(seed): len(questions) for seed, (_, questions) in enumerate(TREE)}
    assert [answers.text for answers in found[:3]] == [None, ENGLISH, GERMAN]
    assert found[4].values["has_text"] == Value(kind=AnswerKind.YES_NO, value=False)
    assert found[4].values["picture_kind"] == Value(kind=AnswerKind.CHOICE, value="chart")
    assert {*found[8].values} == set()
    assert [set(answers.doubts) for answers in found[:1] + found[8:9]] == [
        set(),
        {"unparsable:has_text", "unparsable:picture_kind"},
    ]


SURVEY = f"""{INVOICE_QUESTIONS}[[questions]]
name = "caption"
max_tokens = 64
prompt = "One sentence in {{language}}."
"""


def test_where_one_question_changed_only_that_is_asked(standin: Standin) -> None:
    store = AnswersInMemory()
    pages = [rendered_page(seed) for seed in range(200)]
    with reading(standin, parse_profile(SURVEY), store) as reader:
        first = [read(reader, page) for page in pages]
    before = len(standin.requests())

    with reading(standin, parse_profile(SURVEY.replace("Is it signed?", "Is there a signature?")), store) as reader:
        again = [read(reader, page) for page in pages]

    new = [request["prompt"] for request in standin.requests()[before:]]
    assert new == ["Is there a signature? Answer yes or no."] * 200
    assert sum(answers.cached for answers in again) == 400
    assert [answers.caption for answers in again] == [answers.caption for answers in first]


def test_closed_questions_are_not_asked_again_for_another_language(standin: Standin) -> None:
    with reading(standin, parse_profile(SURVEY)) as reader:
        reader.read(rendered_page(1), "de", CancelToken())
        again = reader.read(rendered_page(1), "fr", CancelToken())

    assert again.cached == 2
    assert len(standin.requests()) == 4


@pytest.mark.parametrize(
    ("said", "values", "doubts"),
    [
        ("1,234.50", {"invoice_total": Value(kind=AnswerKind.NUMBER, value=1234.5)}, ()),
        ("none.", {}, ()),
        ("```\nNONE\n```", {}, ()),
        ("a lot", {}, ("unparsable:invoice_total",)),
        ("", {}, ("unparsable:invoice_total",)),
    ],
)
def test_an_answer_that_is_none_of_what_was_asked_for_is_left_out_and_said_to_be(
    standin: Standin, said: str, values: dict[str, Value], doubts: tuple[str, ...]
) -> None:
    standin.tell(answers={image_of(1): {"Which total": said, "signed": "no"}})

    with reading(standin, parse_profile(SURVEY)) as reader:
        found = read(reader, rendered_page(1))

    assert found.values == values | {"has_signature": Value(kind=AnswerKind.YES_NO, value=False)}
    assert found.doubts == doubts


def test_a_question_may_depend_on_what_was_measured(standin: Standin) -> None:
    profile = parse_profile(SURVEY.replace('name = "caption"', 'name = "caption"\nwhen = \'page.kind == "scanned"\''))
    drawn = rendered_page(1)
    scan = replace(drawn, facts=replace(drawn.facts, is_vector=False))

    with reading(standin, profile) as reader:
        assert "caption" not in asked_of(read(reader, drawn))
        assert "caption" in asked_of(read(reader, scan))


def test_readers_of_two_profiles_share_connections_and_counts(standin: Standin) -> None:
    with reading(standin, load_profile()) as reader:
        other = reader.with_profile(parse_profile(SURVEY))
        read(reader, rendered_page(1))
        read(other, rendered_page(1))

        assert (other.profile, other.prompt_revision) == ("survey", parse_profile(SURVEY).revision)
        assert reader.usage.calls == other.usage.calls == 5

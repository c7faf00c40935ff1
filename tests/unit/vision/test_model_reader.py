"""The model reader with an endpoint that plays one fault after the other: no sockets, no waits."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from pipeline.core.errors import AnswerRefused, AnswerTimeout, AnswerUnusable, ServiceRefused, Stopped
from pipeline.core.models import TextSource
from pipeline.core.retry import CancelToken
from pipeline.vision.endpoint.asking import CANARY_PROMPT, Asker
from pipeline.vision.endpoint.client import VlmClient
from pipeline.vision.endpoint.limits import LocalLimiter
from pipeline.vision.model.model_reader import ModelReader
from pipeline.vision.profile import Profile, load_profile
from pipeline.vision.quality.cleanup import clean_answer
from support.vision import AnswersInMemory, answer_cache, model_reader, rendered_page

Reply = httpx2.Response | type[httpx2.RequestError]


def said(content: str, tokens_out: int = 5) -> httpx2.Response:
    usage = {"prompt_tokens": 1800, "completion_tokens": tokens_out}
    return httpx2.Response(200, json={"choices": [{"message": {"content": content}}], "usage": usage})


class Endpoint:
    """Answers from a list, then by what is asked; keeps what was asked."""

    def __init__(self, replies: Iterable[Reply] = ()) -> None:
        self.replies = list(replies)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        self.asked.append(body)
        if not self.replies:
            prompt = body["messages"][0]["content"][0]["text"]
            return said("A letter." if "Describe" in prompt else "Dear Sir")
        reply = self.replies.pop(0)
        if isinstance(reply, httpx2.Response):
            return reply
        raise reply("fault", request=request)

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][0]["content"][0]["text"] for body in self.asked]


def make_reader(
    endpoint: Callable[[httpx2.Request], httpx2.Response],
    store: AnswersInMemory | None = None,
    *,
    profile: Profile | None = None,
    revision: str = "1",
    model: str = "jina-vlm",
    limiter: LocalLimiter | None = None,
) -> ModelReader:
    transport = httpx2.MockTransport(endpoint)
    client = VlmClient(
        "https://vlm.example/v1", None, model, connect_seconds=1, read_seconds=1, concurrency=4, transport=transport
    )
    asker = Asker(client, limiter or LocalLimiter(4), revision=revision, waits_seconds=(0.0,))
    return model_reader(asker, answer_cache(store), profile or load_profile())


def test_a_page_is_asked_for_description_and_text_in_the_language() -> None:
    endpoint = Endpoint()
    reader = make_reader(endpoint)

    answers = reader.read(rendered_page(1), "de", CancelToken())

    assert (answers.description, answers.text, answers.text_source) == ("A letter.", "Dear Sir", TextSource.MODEL)
    assert [answer.question for answer in answers.answers] == ["description", "text"]
    assert all("German" in prompt for prompt in endpoint.prompts)
    assert answers.cached == 0
    assert (reader.usage.calls, reader.usage.tokens_in, reader.usage.tokens_out) == (2, 3600, 10)


def test_a_reader_says_who_reads() -> None:
    reader = make_reader(Endpoint())

    assert (reader.name, reader.revision, reader.profile) == ("jina-vlm", "1", "standard")
    assert reader.prompt_revision == load_profile().revision
    assert reader.describes
    assert not reader.wants_pixels


def test_the_same_pixels_are_asked_once() -> None:
    endpoint, store = Endpoint(), AnswersInMemory()
    make_reader(endpoint, store).read(rendered_page(1), "de", CancelToken())
    again = make_reader(endpoint, store)

    answers = again.read(replace(rendered_page(1), page_number=7, jpeg=b"encoded anew"), "de", CancelToken())

    assert len(endpoint.asked) == 2
    assert answers.cached == 2
    assert answers.description == "A letter."
    assert again.usage.calls == 0


def changed_limit() -> Profile:
    profile = load_profile()
    questions = tuple(question.model_copy(update={"max_tokens": 77}) for question in profile.questions)
    return profile.model_copy(update={"questions": questions})


@pytest.mark.parametrize(
    ("page", "language", "options"),
    [
        (rendered_page(2), "de", {}),
        (rendered_page(1), "fr", {}),
        (rendered_page(1), "de", {"revision": "2"}),
        (rendered_page(1), "de", {"model": "jina-vlm-2"}),
        (rendered_page(1), "de", {"profile": changed_limit()}),
    ],
)
def test_whatever_could_change_an_answer_is_asked_anew(page: Any, language: str, options: dict[str, Any]) -> None:
    endpoint, store = Endpoint(), AnswersInMemory()
    make_reader(endpoint, store).read(rendered_page(1), "de", CancelToken())

    answers = make_reader(endpoint, store, **options).read(page, language, CancelToken())

    assert answers.cached == 0
    assert len(endpoint.asked) == 4


def test_a_question_answered_before_the_run_broke_off_is_not_asked_again() -> None:
    store = AnswersInMemory()
    broke = httpx2.Response(403, json={"detail": {"message": "no", "code": "AUTHZ_INSUFFICIENT_BALANCE"}})
    with pytest.raises(ServiceRefused):
        make_reader(Endpoint([said("A letter."), broke]), store).read(rendered_page(1), "de", CancelToken())
    endpoint = Endpoint()

    answers = make_reader(endpoint, store).read(rendered_page(1), "de", CancelToken())

    assert (answers.description, answers.cached, len(endpoint.asked)) == ("A letter.", 1, 1)


def test_a_service_that_is_away_is_asked_until_it_is_back() -> None:
    away: list[Reply] = [
        httpx2.Response(503),
        httpx2.ConnectError,
        httpx2.Response(502),
        httpx2.Response(429),
        httpx2.ReadTimeout,
    ]
    reader = make_reader(Endpoint([*away, said("A letter.")]))

    answers = reader.read(rendered_page(1), "de", CancelToken())

    assert answers.description == "A letter."
    assert [answer.attempts for answer in answers.answers] == [6, 1]
    assert reader.usage.calls == 2


def test_waiting_ends_when_the_run_is_stopped() -> None:
    cancel = CancelToken()

    def endpoint(_: httpx2.Request) -> httpx2.Response:
        cancel.stop()
        return httpx2.Response(503)

    with pytest.raises(Stopped):
        make_reader(endpoint).read(rendered_page(1), "de", cancel)


def test_a_page_that_times_out_while_others_are_answered_is_given_up() -> None:
    reader: ModelReader

    def endpoint(request: httpx2.Request) -> httpx2.Response:
        if rendered_image(request) != poison:
            return said("A letter.")
        reader.read(rendered_page(len(attempts)), "de", CancelToken())
        attempts.append(request)
        raise httpx2.ReadTimeout("fault", request=request)

    attempts: list[httpx2.Request] = []
    poison = rendered_page(99).jpeg
    reader = make_reader(endpoint)

    with pytest.raises(AnswerTimeout) as caught:
        reader.read(rendered_page(99), "de", CancelToken())

    assert len(attempts) == 3
    assert "tried 3 times while others were answered" in str(caught.value)


def rendered_image(request: httpx2.Request) -> bytes:
    uri = json.loads(request.content)["messages"][0]["content"][1]["image_url"]["url"]
    return base64.b64decode(uri.partition(",")[2])


def test_a_page_is_waited_for_while_the_model_answers_nobody() -> None:
    endpoint = Endpoint([httpx2.ReadTimeout] * 10)
    reader = make_reader(endpoint)

    answers = reader.read(rendered_page(1), "de", CancelToken())

    # From the third failure on, a trivial question is asked after each: 6 attempts and 4 such questions time out.
    assert [answer.attempts for answer in answers.answers] == [7, 1]
    assert len(endpoint.asked) == 12


def test_the_last_page_is_given_up_where_only_a_trivial_question_is_answered() -> None:
    asked: list[str] = []

    def endpoint(request: httpx2.Request) -> httpx2.Response:
        prompt = json.loads(request.content)["messages"][0]["content"][0]["text"]
        asked.append(prompt)
        if prompt == CANARY_PROMPT:
            return said("Yes.")
        raise httpx2.ReadTimeout("fault", request=request)

    with pytest.raises(AnswerTimeout):
        make_reader(endpoint).read(rendered_page(1), "de", CancelToken())
    assert [prompt == CANARY_PROMPT for prompt in asked] == [False, False, False, True]


def test_answers_of_before_do_not_make_a_page_suspect() -> None:
    endpoint = Endpoint()
    reader = make_reader(endpoint)
    reader.read(rendered_page(1), "de", CancelToken())
    endpoint.replies = [httpx2.Response(500)] * 10

    assert reader.read(rendered_page(2), "de", CancelToken()).answers[0].attempts == 7


def test_an_unusable_answer_is_asked_for_three_times() -> None:
    garbled = [httpx2.Response(200, content=b"{") for _ in range(2)]
    reader = make_reader(Endpoint([garbled[0], said("Yes."), garbled[1], said("A letter.")]))

    assert reader.read(rendered_page(1), "de", CancelToken()).answers[0].attempts == 3

    garbled = [httpx2.Response(200, content=b"{") for _ in range(3)]
    endpoint = Endpoint([garbled[0], said("Yes."), *garbled[1:]])
    with pytest.raises(AnswerUnusable):
        make_reader(endpoint).read(rendered_page(1), "de", CancelToken())
    assert len(endpoint.asked) == 4, "three about the page, and one trivial question"


def test_a_refused_request_is_not_repeated() -> None:
    endpoint = Endpoint([httpx2.Response(413, json={"detail": "too large"})])

    with pytest.raises(AnswerRefused):
        make_reader(endpoint).read(rendered_page(1), "de", CancelToken())

    assert len(endpoint.asked) == 2, "the page, and the trivial question"


def test_a_failure_is_not_archived() -> None:
    store = AnswersInMemory()

    with pytest.raises(AnswerRefused):
        make_reader(Endpoint([httpx2.Response(422)]), store).read(rendered_page(1), "de", CancelToken())

    assert store.by_key == {}


def test_threads_that_want_the_same_ask_once() -> None:
    endpoint = Endpoint()
    reader = make_reader(endpoint)

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: reader.read(rendered_page(1), "de", CancelToken()), range(20)))

    assert len(endpoint.asked) == 2
    assert sum(answer.cached for answer in answers) == 38


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (" Dear Sir\n", "Dear Sir"),
        # Fences go where they stand around the whole answer, and only there.
        ("```\nDear Sir\n```", "Dear Sir"),
        ("```markdown\n# Title\n\nText\n```\n", "# Title\n\nText"),
        ("Before\n```\ncode\n```", "Before\n```\ncode\n```"),
        # The agreed word, with what small models add to it.
        ("NO TEXT", ""),
        ("No text.", ""),
        ('"NO TEXT"', ""),
        ("```\nNO TEXT\n```", ""),
        ("NO TEXT HERE", "NO TEXT HERE"),
        ("", ""),
    ],
)
def test_an_answer_is_cleaned_of_fences_and_of_the_word_for_nothing(content: str, text: str) -> None:
    assert clean_answer(content, "NO TEXT")[0] == text


def test_what_answers_have_cost_counts_towards_the_minute() -> None:
    endpoint, cancel = Endpoint(), CancelToken()
    reader = make_reader(endpoint, limiter=LocalLimiter(4, tokens_per_minute=1805))  # one answer costs that

    with ThreadPoolExecutor(1) as threads:
        page = threads.submit(reader.read, rendered_page(1), "de", cancel)
        while cancel.waiting is None:
            assert not page.done()
        cancel.stop()
        with pytest.raises(Stopped):
            page.result()

    assert len(endpoint.asked) == 1

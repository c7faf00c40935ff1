"""The flow from a question to answers with their pages: no sockets, no index."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from pipeline.analysis.ask import (
    NOT_HERE,
    PageCandidate,
    PageQuestion,
    answer_text,
    any_word,
    ask_pages,
    is_no,
    one_line,
)
from pipeline.archive import Archive, Store
from pipeline.core.errors import ServiceRefused, SettingsError, Stopped
from pipeline.core.retry import CancelToken
from pipeline.search import Hit, HitDocument
from pipeline.vision.endpoint.asking import Asker
from pipeline.vision.endpoint.client import VlmClient
from pipeline.vision.endpoint.limits import LocalLimiter
from support.vision import AnswersInMemory, answer_cache, page_image

Answering = Callable[[str, bytes], httpx2.Response]


def page(number: int, archive: Archive) -> PageCandidate:
    """A page whose image lies in the archive, and differs from that of every other."""
    key, _ = archive.images.save("d" * 64, f"{number:05d}.1.{number:064x}", page_image(number), b"")
    hit = Hit(
        id=f"default:{'d' * 64}:{number:05d}",
        collection="default",
        document=HitDocument("d" * 64, "report.pdf", None, ()),
        page_number=number,
        page_label=None,
        status="described",
        score=1.0,
        description=None,
        highlights={},
        image_key=key,
        thumbnail_key=None,
    )
    return PageCandidate(hit, key, f"{number:064x}")


def said(content: str) -> httpx2.Response:
    usage = {"prompt_tokens": 1754, "completion_tokens": 3}
    return httpx2.Response(200, json={"choices": [{"message": {"content": content}}], "usage": usage})


class Model:
    """A model that answers prompts as told, and remembers them."""

    def __init__(self, answer: Callable[[str], httpx2.Response]) -> None:
        self._answer = answer
        self.prompts: list[str] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        body: dict[str, Any] = json.loads(request.content)
        prompt = body["messages"][0]["content"][0]["text"]
        self.prompts.append(prompt)
        return self._answer(prompt)


def question_for(model: Model, archive: Archive, store: AnswersInMemory | None = None, **more: Any) -> PageQuestion:
    client = VlmClient(
        "https://vlm.example/v1",
        None,
        "jina-vlm",
        connect_seconds=1,
        read_seconds=1,
        concurrency=4,
        transport=httpx2.MockTransport(model),
    )
    asker = Asker(client, LocalLimiter(4), revision="1", waits_seconds=(0.0,))
    cancel = more.get("cancel", CancelToken())
    return PageQuestion(
        more.get("question", "Who signed?"), more.get("language", "en"), archive, asker, answer_cache(store), cancel
    )


@pytest.fixture
def archive(tmp_path: Any) -> Archive:
    return Archive(Store(str(tmp_path / "archive")))


def is_closed(prompt: str) -> bool:
    return NOT_HERE not in prompt


def test_a_page_is_asked_the_question_after_it_said_that_it_bears_on_it(archive: Archive) -> None:
    model = Model(lambda prompt: said("Yes." if is_closed(prompt) else " A. Smith.\n"))

    answer = question_for(model, archive, language="de").ask(page(1, archive))

    assert (answer.bears, answer.answer, answer.cut_off, answer.error) == (True, "A. Smith.", False, None)
    closed, question = model.prompts
    assert is_closed(closed)
    assert "in English" in closed
    assert "in German" in question
    assert "\n-----\nWho signed?\n-----\n" in closed
    assert "\n-----\nWho signed?\n-----\n" in question


def test_a_page_that_does_not_bear_on_it_is_not_asked(archive: Archive) -> None:
    model = Model(lambda _: said("no"))

    answer = question_for(model, archive).ask(page(1, archive))

    assert (answer.bears, answer.answer) == (False, None)
    assert len(model.prompts) == 1


def test_answers_are_archived_by_question_language_and_page(archive: Archive) -> None:
    model, store = Model(lambda prompt: said("yes" if is_closed(prompt) else "A.")), AnswersInMemory()

    for question, language in (("Who signed?", "en"), ("Who signed?", "en"), ("Who signed?", "de"), ("Who?", "en")):
        question_for(model, archive, store, question=question, language=language).ask(page(1, archive))

    # Whether the page bears on the question does not depend on the language of the answer.
    assert len(model.prompts) == 2 + 0 + 1 + 2
    assert {answer.question for answer in store.by_key.values()} == {"bearing", "answer"}


def test_answers_come_in_the_order_of_the_pages(archive: Archive) -> None:
    late = threading.Event()

    def answer(prompt: str) -> httpx2.Response:
        if is_closed(prompt) and not late.is_set():
            late.set()
            threading.Event().wait(0.05)
        return said("yes" if is_closed(prompt) else "A.")

    pages, ticks = [page(number, archive) for number in range(1, 6)], list[int]()

    answers = ask_pages(question_for(Model(answer), archive), pages, 3, ticks.append)

    assert [answer.hit.page_number for answer in answers] == [1, 2, 3, 4, 5]
    assert ticks[-1] == 5


def test_a_page_whose_image_is_gone_or_refused_does_not_keep_others_from_answering(archive: Archive) -> None:
    pages = [page(number, archive) for number in range(1, 3)]
    gone = PageCandidate(pages[0].hit, pages[0].image_key.replace("00001", "00009"), pages[0].pixels_sha256)
    model = Model(lambda prompt: said("yes" if is_closed(prompt) else "A."))

    answers = ask_pages(question_for(model, archive), [gone, pages[1]], 2, lambda _: None)

    assert answers[0].error is not None
    assert answers[0].error.code == "vanished"
    assert answers[1].answer == "A."


def test_a_service_that_refuses_ends_it_and_nothing_new_is_asked(archive: Archive) -> None:
    model = Model(lambda _: httpx2.Response(401))
    pages = [page(number, archive) for number in range(1, 30)]

    with pytest.raises(ServiceRefused):
        ask_pages(question_for(model, archive), pages, 1, lambda _: None)

    assert len(model.prompts) < len(pages)


def test_nothing_is_asked_once_patience_has_ended(archive: Archive) -> None:
    cancel, model = CancelToken(), Model(lambda _: said("yes"))
    cancel.stop()

    with pytest.raises(Stopped):
        ask_pages(question_for(model, archive, cancel=cancel), [page(1, archive)], 1, lambda _: None)

    assert model.prompts == []


@pytest.mark.parametrize(
    ("content", "no"),
    [
        ("no", True),
        ("No.", True),
        ('"NO", it does not', True),
        ("yes", False),
        ("Nothing", False),
        ("nobody", False),
        ("", False),
        ("…", False),
    ],
)
def test_only_a_clear_no_is_one(content: str, no: bool) -> None:
    assert is_no(content) is no


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (" 42\n", "42"),
        ("A. Smith signed.", "A. Smith signed."),
        (NOT_HERE, None),
        (f"'{NOT_HERE.lower()}.'", None),
        (f"The image does not say: {NOT_HERE}", None),
        ("", None),
        (" …\n", None),
    ],
)
def test_what_says_that_the_page_does_not_is_no_answer(content: str, answer: str | None) -> None:
    assert answer_text(content) == answer


def test_a_question_is_one_line() -> None:
    assert one_line(" Who\n-----\nsigned\x1b[2J?\u202e ") == "Who ----- signed [2J?"
    for nothing in ("", " \n", "?!", "-----"):
        with pytest.raises(SettingsError):
            one_line(nothing)


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("Who signed?", "Who | signed"),
        # Nothing in it is an operator of the search.
        ('-"not" +this* (or | that)~2 \\ ', "not | this | or | that | 2"),
        ("the harbour's dues, the dues", "the | harbour's | dues"),
        # Text without spaces, by the pairs of characters that it is indexed by.
        ("港口的税", "港口 | 口的 | 的税"),
        ("税 2024年", "税 | 2024 | 年"),
        ("항구 세금", "항구 | 세금"),
    ],
)
def test_pages_with_any_word_of_a_question_are_looked_for(question: str, query: str) -> None:
    assert any_word(question) == query

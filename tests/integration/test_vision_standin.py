"""The model reader against the jina-vlm stand-in, over real HTTP, one fault at a time."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2
import pytest
from pydantic import SecretStr

from jina_standin.protocol import describe
from pipeline.core.errors import AnswerTimeout, AnswerUnusable, ServiceRefused, ServiceUnavailable, Stopped
from pipeline.core.retry import SUSPECT_ATTEMPTS, CancelToken
from pipeline.vision.endpoint.asking import Asker
from pipeline.vision.endpoint.client import VlmClient
from pipeline.vision.endpoint.limits import LocalLimiter
from pipeline.vision.model.model_reader import ModelReader
from pipeline.vision.profile import load_profile
from support.standin import Standin, standin
from support.vision import answer_cache, model_reader, page_image, rendered_page

__all__ = ["standin"]

WAITS_SECONDS = (0.05,)


def make_client(
    standin: Standin, *, concurrency: int = 8, read_seconds: float = 20, key: str | None = None
) -> VlmClient:
    return VlmClient(
        standin.url,
        SecretStr(standin.key if key is None else key),
        "jina-vlm",
        connect_seconds=5,
        read_seconds=read_seconds,
        concurrency=concurrency,
    )


@contextmanager
def reading(standin: Standin, *, concurrency: int = 8, read_seconds: float = 20) -> Iterator[ModelReader]:
    client = make_client(standin, concurrency=concurrency, read_seconds=read_seconds)
    asker = Asker(client, LocalLimiter(concurrency), revision="1", waits_seconds=WAITS_SECONDS)
    reader = model_reader(asker, answer_cache(), load_profile())
    try:
        yield reader
    finally:
        reader.close()


def image_of(seed: int) -> str:
    return hashlib.sha256(page_image(seed)).hexdigest()


def read_pages(reader: ModelReader, seeds: range, threads: int = 8) -> list[str | None]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda seed: reader.read(rendered_page(seed), "de", CancelToken()).description, seeds))


def test_pages_are_answered_with_the_stand_ins_own_words(standin: Standin) -> None:
    standin.tell(answers={image_of(1): {"description": "Ein Brief.", "text": "Sehr geehrte Frau"}})

    with reading(standin) as reader:
        answers = reader.read(rendered_page(1), "de", CancelToken())
        other = reader.read(rendered_page(2), "de", CancelToken())

    assert (answers.description, answers.text) == ("Ein Brief.", "Sehr geehrte Frau")
    assert other.description == describe(image_of(2)[:8], ["German"])
    assert other.text == f"Stand-in text {image_of(2)[:8]}"
    assert all(answer.tokens_in > 1_750 for answer in answers.answers)


def test_what_reaches_the_endpoint_keeps_to_the_protocol(standin: Standin) -> None:
    with reading(standin) as reader:
        read_pages(reader, range(10))

    counters = standin.counters()
    assert counters["violations"] == {}
    assert counters["without_language"] == 0
    assert counters["by_status"] == {"200": 20}
    for request in standin.requests():
        assert (request["media_type"], request["width"], request["height"]) == ("image/jpeg", 40, 56)
        assert request["languages"] == ["German"]


def test_no_more_calls_are_in_flight_than_allowed(standin: Standin) -> None:
    standin.tell(latency_seconds=0.02)

    with reading(standin, concurrency=5) as reader:
        read_pages(reader, range(40), threads=20)

    assert standin.counters()["peak_in_flight"] == 5


def test_a_cold_service_is_waited_for_and_nothing_is_asked_twice(standin: Standin) -> None:
    standin.have("cold", times=7)

    with reading(standin) as reader:
        descriptions = read_pages(reader, range(12))

    counters = standin.counters()
    assert all(descriptions)
    assert counters["by_status"] == {"503": 7, "200": 24}
    assert counters["asked_again"] == 0
    assert reader.usage.calls == 24


def test_a_limit_makes_everyone_pause_for_as_long_as_it_says(standin: Standin) -> None:
    standin.have("limited", images=[image_of(0)], times=1, retry_after="1")
    cancel = CancelToken()
    with reading(standin) as reader, ThreadPoolExecutor(1) as threads:
        began = time.monotonic()
        limited = threads.submit(reader.read, rendered_page(0), "de", cancel)
        while cancel.waiting is None:
            time.sleep(0.001)
        reader.read(rendered_page(1), "de", cancel)
        waited = time.monotonic() - began
        limited.result()

    assert waited >= 1
    assert standin.counters()["by_status"] == {"429": 1, "200": 4}


def test_a_limit_of_requests_in_flight_is_lived_with(standin: Standin) -> None:
    standin.tell(max_in_flight=2, latency_seconds=0.01)

    with reading(standin) as reader:
        descriptions = read_pages(reader, range(6))

    counters = standin.counters()
    assert all(descriptions)
    assert counters["refused"]["429"] > 0
    assert counters["asked_again"] == 0


def test_a_page_that_hangs_is_given_up_because_others_are_answered(standin: Standin) -> None:
    standin.have("hanging", images=[image_of(0)])
    with reading(standin, read_seconds=0.3) as reader, ThreadPoolExecutor(2) as threads:
        hanging = threads.submit(reader.read, rendered_page(0), "de", CancelToken())
        seed = 1
        while not hanging.done():
            reader.read(rendered_page(seed), "de", CancelToken())
            seed += 1

        with pytest.raises(AnswerTimeout):
            hanging.result()

    assert sum(request["image_sha256"] == image_of(0) for request in standin.requests()) == 3


def test_a_service_that_hangs_for_everyone_is_waited_for(standin: Standin) -> None:
    standin.have("hanging", times=4)

    with reading(standin, read_seconds=0.3) as reader:
        answers = reader.read(rendered_page(0), "de", CancelToken())

    assert answers.answers[0].attempts > SUSPECT_ATTEMPTS


def test_a_stop_ends_the_wait_for_a_service(standin: Standin) -> None:
    standin.have("cold")
    cancel = CancelToken()
    with reading(standin) as reader, ThreadPoolExecutor(1) as threads:
        page = threads.submit(reader.read, rendered_page(0), "de", cancel)
        while cancel.waiting is None:
            time.sleep(0.001)
        waiting = cancel.waiting
        cancel.stop()

        with pytest.raises(Stopped):
            page.result()

    assert waiting.service == "jina-vlm"
    assert "503" in waiting.cause


@pytest.mark.parametrize("status", [500, 502, 504])
def test_an_endpoint_that_fails_now_and_then_costs_no_page(standin: Standin, status: int) -> None:
    standin.have("status", status=status, every=5)

    with reading(standin) as reader:
        descriptions = read_pages(reader, range(12))

    assert all(descriptions)
    assert standin.counters()["asked_again"] == 0


def test_an_answer_cut_in_the_middle_is_asked_for_again(standin: Standin) -> None:
    # Fewer than the three failures of one request after which it is given up.
    standin.have("closing", every=4, times=2)

    with reading(standin) as reader:
        descriptions = read_pages(reader, range(12))

    assert all(descriptions)
    assert standin.counters()["asked_again"] == 0


def test_a_garbled_answer_is_asked_for_three_times_at_once(standin: Standin) -> None:
    standin.have("garbled", images=[image_of(0)])

    with reading(standin) as reader, pytest.raises(AnswerUnusable):
        reader.read(rendered_page(0), "de", CancelToken())

    assert standin.counters()["requests"] == 4, "three about the page, and the trivial question"


@pytest.mark.parametrize(("fault", "remedy"), [("broke", "Top up"), ("bad_key", "PAGESIGHT_VLM_API_KEY")])
def test_a_refusal_stops_the_run_and_keeps_what_was_answered(standin: Standin, fault: str, remedy: str) -> None:
    with reading(standin) as reader:
        reader.read(rendered_page(0), "de", CancelToken())
        standin.have(fault)
        with pytest.raises(ServiceRefused) as caught:
            reader.read(rendered_page(1), "de", CancelToken())
        assert remedy in caught.value.remedy
        assert reader.read(rendered_page(0), "de", CancelToken()).cached == 2

    standin.be_well()
    with reading(standin) as reader:
        assert reader.read(rendered_page(1), "de", CancelToken()).description


@pytest.mark.parametrize("fault", ["cut_off", "looping"])
def test_an_answer_that_used_up_its_tokens_is_truncated_whatever_it_says(standin: Standin, fault: str) -> None:
    standin.have(fault, prompt_has="Write down")

    with reading(standin) as reader:
        answers = reader.read(rendered_page(0), "de", CancelToken())

    assert answers.truncated
    assert "cut_off:text" in answers.doubts
    assert answers.answers[1].truncated


def test_threads_that_want_the_same_page_ask_once(standin: Standin) -> None:
    standin.tell(latency_seconds=0.05)

    with reading(standin) as reader, ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: reader.read(rendered_page(0), "de", CancelToken()), range(20)))

    assert standin.counters()["requests"] == 2
    assert sum(answer.cached for answer in answers) == 38


def test_check_tells_the_right_key_from_a_wrong_one(standin: Standin) -> None:
    right, wrong = make_client(standin), make_client(standin, key="withdrawn")

    assert "lists jina-vlm" in right.check()
    with pytest.raises(ServiceRefused) as caught:
        wrong.check()

    assert "PAGESIGHT_VLM_API_KEY" in caught.value.remedy
    # This endpoint echoes the key.
    assert "withdrawn" not in str(caught.value)
    right.close()
    wrong.close()


def test_an_address_where_nobody_listens_is_waited_for(standin: Standin) -> None:
    client = make_client(standin)
    standin.close()

    with pytest.raises(ServiceUnavailable, match="Connection refused"):
        client.check()

    client.close()


def test_https_to_an_http_port_is_refused_not_waited_for(standin: Standin) -> None:
    client = VlmClient(
        standin.url.replace("http:", "https:"), None, "jina-vlm", connect_seconds=5, read_seconds=5, concurrency=1
    )

    with pytest.raises(ServiceRefused, match="TLS fails"):
        client.check()

    client.close()


JPEG_URI = "data:image/jpeg;base64,"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        # The stand-in itself: what the real endpoint refuses it refuses as well, or the tests above prove little.
        ({"model": "jina-vlm-3"}, 400, "INPUT_MODEL_NOT_FOUND"),
        ({"stream": True}, 400, "INPUT_INVALID"),
        ({"messages": [{"role": "system", "content": "You see"}]}, 400, "INPUT_INVALID"),
        ({"messages": []}, 422, None),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Describe"}]}]}, 422, None),
    ],
)
def test_the_stand_in_refuses_what_the_endpoint_refuses(
    standin: Standin, change: dict[str, object], status: int, code: str | None
) -> None:
    answer = httpx2.post(
        f"{standin.url}/chat/completions",
        headers={"Authorization": f"Bearer {standin.key}"},
        json={"model": "jina-vlm", "max_tokens": 9, **change},
    )

    assert answer.status_code == status
    detail = answer.json()["detail"]
    assert code is None or detail["code"] == code


def test_the_stand_in_generates_256_tokens_where_a_request_does_not_say(standin: Standin) -> None:
    image = JPEG_URI + base64.b64encode(page_image(0)).decode()
    parts = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": "Describe"}]
    standin.have("looping")

    answer = httpx2.post(
        f"{standin.url}/chat/completions",
        headers={"Authorization": f"Bearer {standin.key}"},
        json={"model": "jina-vlm", "messages": [{"role": "user", "content": parts}]},
    ).json()

    assert answer["usage"]["completion_tokens"] == 256
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert set(standin.counters()["violations"]) == {"max_tokens_missing", "temperature_not_zero", "text_not_first"}
    assert standin.counters()["without_language"] == 1

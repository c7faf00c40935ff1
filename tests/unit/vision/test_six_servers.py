"""Servers of six makes, each started wrongly in one way, and a run of a thousand pages: how many calls until it halts.

The bodies have the form that users report in the issue trackers of these servers; `SOURCES` names where. The words are
shortened, and the names and numbers are made up.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from pipeline.core.errors import OutcomeError, ServiceRefused, Stopped
from pipeline.core.retry import CancelToken
from pipeline.vision.endpoint.asking import Asker, ImageInput, PromptRequest
from pipeline.vision.endpoint.blame import REFUSAL_SECONDS, Blame
from pipeline.vision.endpoint.client import VlmClient
from pipeline.vision.endpoint.first_question import FirstQuestion
from pipeline.vision.endpoint.http_errors import (
    BODY_SIZE_REMEDY,
    CONTEXT_REMEDY,
    IMAGES_REMEDY,
    KEY_REMEDY,
    MEMORY_REMEDY,
    MODEL_REMEDY,
    URL_OR_MODEL_REMEDY,
    URL_REMEDY,
)
from pipeline.vision.endpoint.limits import LocalLimiter
from support.vision import AnswersInMemory, answer_cache

PAGES = 1000
THREADS = 16
MOST_CALLS = 10
#: `max_tokens` of the two questions of a page.
SHORT, LONG = 300, 8192
SMALL_CONTEXT = 4096
IMAGE_TOKENS = 1750
#: Bytes of a page's image, more than a small proxy takes, and far more than the blank page has.
PAGE_BYTES = 300_000

Reply = Callable[[dict[str, Any], int], httpx2.Response]


def says(status: int, body: object) -> Reply:
    """A server that refuses whatever it is asked."""
    return lambda request, size: httpx2.Response(status, json=body)


def answered() -> httpx2.Response:
    usage = {"prompt_tokens": IMAGE_TOKENS, "completion_tokens": 2}
    choice = {"message": {"content": "Two barges below the lock."}, "finish_reason": "stop"}
    return httpx2.Response(200, json={"choices": [choice], "usage": usage})


def small_context(status: int, body: object) -> Reply:
    """A server that has no room for the image and the longest answer."""

    def reply(request: dict[str, Any], size: int) -> httpx2.Response:
        is_small = IMAGE_TOKENS + request["max_tokens"] <= SMALL_CONTEXT
        return answered() if is_small else httpx2.Response(status, json=body)

    return reply


def small_bodies(status: int, text: str) -> Reply:
    """A server, or a proxy before it, that takes no request of a page's size."""
    return lambda request, size: answered() if size < PAGE_BYTES else httpx2.Response(status, text=text)


def openai(message: str, code: object, kind: str = "BadRequestError") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


SOURCES = {
    "vLLM": "vllm-project/vllm #3485 (model), #58025 (model, newer form), #23402 (images)",
    "SGLang": "its OpenAI error objects, as vLLM's in an older form; sgl-project/sglang",
    "llama.cpp": "ggml-org/llama.cpp #13566, #15377 and #12947 (images), #15780 and #19774 (context)",
    "LM Studio": "lmstudio-ai/lmstudio-bug-tracker #908 (images), lmstudio-ai/lms #362 (errors with 200), #107 (model)",
    "Ollama": "ollama/ollama #17301 (images), #9782 and #5958 (memory), continuedev/continue #12795 (memory)",
    "TGI": "huggingface/text-generation-inference #628 (context), #653 and #1374 (memory), #369 (form)",
}

SERVERS: dict[tuple[str, str], tuple[Reply, str]] = {
    ("vLLM", "no image support"): (
        says(400, openai("At most 0 image(s) may be provided in one prompt.", 400)),
        IMAGES_REMEDY,
    ),
    ("vLLM", "text model"): (says(400, openai("/models/text-7b is not a multimodal model", 400)), IMAGES_REMEDY),
    ("vLLM", "small context"): (
        small_context(
            400,
            openai("'max_tokens' is too large: 8192. This model's maximum context length is 4096 tokens", 400),
        ),
        CONTEXT_REMEDY,
    ),
    ("vLLM", "wrong model"): (
        says(
            404,
            {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404},
        ),
        URL_OR_MODEL_REMEDY,
    ),
    ("vLLM", "needs a key"): (says(401, {"error": "Unauthorized"}), KEY_REMEDY),
    ("vLLM", "proxy with small bodies"): (
        small_bodies(413, "<html><head><title>413 Request Entity Too Large</title></head></html>"),
        BODY_SIZE_REMEDY,
    ),
    ("SGLang", "small context"): (
        small_context(
            400,
            {
                "object": "error",
                "message": "Requested token count exceeds the model's maximum context length of 4096 tokens.",
                "type": "BadRequestError",
                "code": 400,
            },
        ),
        CONTEXT_REMEDY,
    ),
    ("SGLang", "no image support"): (
        says(400, {"object": "error", "message": "The model does not support image input.", "code": 400}),
        IMAGES_REMEDY,
    ),
    ("SGLang", "needs a key"): (says(401, {"error": "Unauthorized"}), KEY_REMEDY),
    ("SGLang", "out of memory"): (
        says(500, {"object": "error", "message": "CUDA out of memory. Tried to allocate 2.11 GiB", "code": 500}),
        MEMORY_REMEDY,
    ),
    ("llama.cpp", "no projector"): (
        says(
            500,
            openai(
                "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
                500,
                "server_error",
            ),
        ),
        IMAGES_REMEDY,
    ),
    ("llama.cpp", "older build without images"): (
        says(500, openai('Failed to parse messages: Unsupported content part type: "image_url"', 500, "server_error")),
        IMAGES_REMEDY,
    ),
    ("llama.cpp", "small context"): (
        says(
            400,
            openai(
                "request (1790 tokens) exceeds the available context size (1024 tokens), try increasing it",
                400,
                "exceed_context_size_error",
            ),
        ),
        CONTEXT_REMEDY,
    ),
    ("llama.cpp", "small context, as an error of the server"): (
        small_context(500, openai("Context size has been exceeded.", 500, "server_error")),
        CONTEXT_REMEDY,
    ),
    ("llama.cpp", "needs a key"): (says(401, openai("Invalid API Key", 401, "authentication_error")), KEY_REMEDY),
    ("LM Studio", "no image support"): (
        says(400, {"error": "Model does not support images. Please use a model that does."}),
        IMAGES_REMEDY,
    ),
    ("LM Studio", "no image support, with 200"): (
        says(
            200,
            {
                "error": {
                    "message": "Error in iterating prediction stream: ValueError: Vision add-on is not loaded, but "
                    "images were provided for processing"
                }
            },
        ),
        IMAGES_REMEDY,
    ),
    ("LM Studio", "small context, with 200"): (
        small_context(
            200,
            {"error": "Trying to keep the first 1790 tokens when context the overflows. The model's context length is"},
        ),
        CONTEXT_REMEDY,
    ),
    ("LM Studio", "no model"): (
        says(404, openai("No models loaded. Please load a model in the developer page.", "model_not_found")),
        MODEL_REMEDY,
    ),
    ("LM Studio", "model that does not fit"): (
        says(400, {"error": 'Failed to load model "m". Error: insufficient system resources'}),
        MEMORY_REMEDY,
    ),
    ("LM Studio", "wrong address"): (
        says(200, {"error": "Unexpected endpoint or method. (POST /chat/completions). Returning 200 anyway"}),
        URL_REMEDY,
    ),
    ("Ollama", "no image support"): (
        says(400, {"error": {"message": "this model does not support image input", "type": "invalid_request_error"}}),
        IMAGES_REMEDY,
    ),
    ("Ollama", "no projector"): (
        says(500, {"error": {"message": "this model is missing data required for image input", "type": "api_error"}}),
        IMAGES_REMEDY,
    ),
    ("Ollama", "wrong model"): (
        says(404, {"error": {"message": 'model "m" not found, try pulling it first', "type": "api_error"}}),
        URL_OR_MODEL_REMEDY,
    ),
    ("Ollama", "too little memory"): (
        says(500, {"error": "model requires more system memory (19.3 GiB) than is available (14.8 GiB)"}),
        MEMORY_REMEDY,
    ),
    ("Ollama", "memory of the graphics card"): (
        says(
            500,
            {"error": {"message": "llama runner process has terminated: CUDA error: out of memory", "code": None}},
        ),
        MEMORY_REMEDY,
    ),
    ("TGI", "small context"): (
        small_context(
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 1790 "
                "`inputs` tokens and 8192 `max_new_tokens`",
                "error_type": "validation",
            },
        ),
        CONTEXT_REMEDY,
    ),
    ("TGI", "small inputs"): (
        says(
            422,
            {
                "error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1790",
                "error_type": "validation",
            },
        ),
        CONTEXT_REMEDY,
    ),
    ("TGI", "out of memory"): (
        says(
            424,
            {
                "error": "Request failed during generation: Server error: CUDA out of memory. Tried to allocate 222 M",
                "error_type": "generation",
            },
        ),
        MEMORY_REMEDY,
    ),
    ("TGI", "needs a key"): (says(401, {"error": "Invalid username or password."}), KEY_REMEDY),
}


class Run:
    """A run of many pages against one server, with the threads of a run."""

    def __init__(self, reply: Reply) -> None:
        self.calls = 0
        self.halted: ServiceRefused | None = None
        self.read = 0
        self._lock = threading.Lock()
        self._reply = reply
        self._cancel = CancelToken()
        transport = httpx2.MockTransport(self._serve)
        client = VlmClient(
            "http://gpu.example:8000/v1",
            None,
            "m",
            connect_seconds=1,
            read_seconds=5,
            concurrency=THREADS,
            transport=transport,
        )
        asker = Asker(client, LocalLimiter(THREADS), revision="1", waits_seconds=(0.0,), first_question=FirstQuestion())
        self._asker = asker.expecting(LONG)
        self._cache = answer_cache(AnswersInMemory())

    def pages(self, number: int) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._page, range(number)))

    def _page(self, number: int) -> None:
        image = ImageInput(f"{number:064x}", b"\xff\xd8" + bytes(PAGE_BYTES))
        try:
            with self._cache.for_image(image.pixels_sha256, self._cancel) as answers:
                for max_tokens in (SHORT, LONG):
                    question = PromptRequest("text", f"Copy all words {max_tokens}.", "", max_tokens=max_tokens)
                    self._asker.ask(image, question, answers, self._cancel)
            self.read += 1
        except ServiceRefused as error:
            self.halted = error
            self._cancel.stop()
        except (OutcomeError, Stopped):
            pass

    def _serve(self, request: httpx2.Request) -> httpx2.Response:
        with self._lock:
            self.calls += 1
        # A page's body is not parsed: only its beginning and its length are looked at.
        head, _, tail = request.content.partition(b"data:image/jpeg;base64,")
        asked = json.loads(head + tail[tail.index(b'"') :])
        return self._reply(asked, len(request.content))


@pytest.mark.parametrize(("server", "wrong"), SERVERS)
def test_a_wrongly_started_server_halts_a_run_of_a_thousand_pages_within_ten_calls(server: str, wrong: str) -> None:
    reply, remedy = SERVERS[server, wrong]
    run = Run(reply)
    run.pages(PAGES)
    assert run.halted is not None
    assert run.halted.remedy == remedy
    assert run.calls <= MOST_CALLS
    assert run.read == 0
    assert server in SOURCES


def test_a_server_that_was_started_rightly_costs_one_call_more_than_the_pages_need() -> None:
    run = Run(lambda request, size: answered())
    run.pages(20)
    assert (run.halted, run.read, run.calls) == (None, 20, 41)


def test_a_refused_parameter_is_found_out_by_the_first_question() -> None:
    """TGI before 2 takes no temperature of 0; newer models of OpenAI want another name for `max_tokens`."""

    def reply(request: dict[str, Any], size: int) -> httpx2.Response:
        if "temperature" in request:
            return httpx2.Response(
                422, json={"error": "Input validation error: `temperature` must be strictly positive"}
            )
        if "max_tokens" in request:
            return httpx2.Response(400, json=openai("Use 'max_completion_tokens' instead.", "unsupported_parameter"))
        return answered()

    run = Run(reply)
    run.pages(20)
    assert (run.halted, run.read, run.calls) == (None, 20, 43)


def test_a_cold_server_is_waited_for_as_before() -> None:
    left = [503] * 5

    def reply(request: dict[str, Any], size: int) -> httpx2.Response:
        return httpx2.Response(left.pop(), json={"error": "Loading model"}) if left else answered()

    run = Run(reply)
    run.pages(20)
    assert (run.halted, run.read, run.calls) == (None, 20, 46)


def test_without_a_page_to_ask_about_nothing_is_asked() -> None:
    run = Run(says(401, {}))
    run.pages(0)
    assert run.calls == 0


def test_the_calls_of_other_threads_share_a_refusal_and_a_mended_endpoint_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("pipeline.vision.endpoint.blame.time.monotonic", lambda: clock[0])
    blame, refusal = Blame(), ServiceRefused("jina-vlm", "no", remedy="Mend it.")
    blame.raise_refusal()
    blame.note_refusal(refusal)
    for _ in range(3):
        with pytest.raises(ServiceRefused, match="no") as shared:
            blame.raise_refusal()
        blame.note_refusal(shared.value)
        clock[0] += REFUSAL_SECONDS * 0.3
    clock[0] += REFUSAL_SECONDS * 0.2
    blame.raise_refusal()

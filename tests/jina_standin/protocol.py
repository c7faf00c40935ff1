"""The documented request and answer shapes: what is refused and how, what is only noted as against the advice."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

from jina_standin.images import Header, read_header

#: What the self-hosted build generates at most where a request does not say.
DEFAULT_MAX_TOKENS = 256
#: The published processor shrinks anything larger, so that sending more is waste.
MAX_PIXELS = 1_003_520
#: Tokens of a full page image, from the published tile grid.
IMAGE_TOKENS = 1_750
#: The beginning of the question that a process asks before its first page. It is answered for nothing, whatever faults
#: there are, and counted apart: what tests know of calls is about pages.
FIRST_QUESTION = "Does this image show a page?"
CHARACTERS_A_TOKEN = 4

DATA_URI = re.compile(r"data:(?P<media_type>image/(?:jpeg|png));base64,(?P<data>[A-Za-z0-9+/]+=*)", re.ASCII)

#: English names by which a prompt can name its language.
LANGUAGE = re.compile(
    r"\b(?:Afrikaans|Albanian|Amharic|Arabic|Armenian|Azerbaijani|Basque|Belarusian|Bengali|Bosnian|Bulgarian|Burmese|"
    "Catalan|Chinese|Croatian|Czech|Danish|Dutch|English|Estonian|Finnish|French|Galician|Georgian|German|Greek|"
    "Gujarati|Hausa|Hebrew|Hindi|Hungarian|Icelandic|Indonesian|Irish|Italian|Japanese|Javanese|Kannada|Kazakh|"
    "Khmer|Korean|Lao|Latin|Latvian|Lithuanian|Macedonian|Malay|Malayalam|Maltese|Marathi|Mongolian|Nepali|"
    "Norwegian|Persian|Polish|Portuguese|Punjabi|Romanian|Russian|Serbian|Sinhala|Slovak|Slovenian|Somali|"
    "Spanish|Swahili|Swedish|Tamil|Telugu|Thai|Turkish|Ukrainian|Urdu|Uzbek|Vietnamese|Welsh|Yoruba|Zulu"
    r")\b"
)


@dataclass(frozen=True, slots=True)
class Manners:
    """What OpenAI-compatible endpoints differ in. As they stand these are jina-vlm's."""

    takes_system: bool = False
    refused_fields: tuple[str, ...] = ()
    """Names within a request that are answered with 422."""
    says_length: bool = False
    """Whether `finish_reason` tells that an answer was cut off; in the self-hosted build it is always "stop"."""
    takes_image_alone: bool = True


class Refusal(Exception):
    """An error answer: status and JSON body as the real endpoint gives them."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that the endpoint takes."""

    prompt: str
    image: bytes
    image_sha256: str
    header: Header
    max_tokens: int
    temperature: float
    violations: tuple[str, ...]
    """What the real endpoint lets pass and Pagesight must not do."""

    @property
    def is_first(self) -> bool:
        return self.prompt.startswith(FIRST_QUESTION)

    @property
    def languages(self) -> list[str]:
        return list(dict.fromkeys(LANGUAGE.findall(self.prompt)))

    @property
    def wants_description(self) -> bool:
        return "describe" in self.prompt.lower()

    @property
    def wants_own_words(self) -> bool:
        """Whether the answer is to be written in a language, and not copied from the image."""
        return bool(self.languages) and "word for word" not in self.prompt


#: What the model says of any page, in the language that it is told to write in: English where it is told none of these.
DESCRIPTIONS = {
    "English": "A page, described by the stand-in as {}",
    "German": "Eine Seite, von der Attrappe beschrieben als {}",
    "French": "Une page que le remplaçant décrit comme {}",
}


def describe(image: str, languages: list[str]) -> str:
    """A description of the image whose hash begins so."""
    told = next((language for language in languages if language in DESCRIPTIONS), "English")
    return DESCRIPTIONS[told].format(image)


def application_error(status: int, code: str, message: str) -> Refusal:
    return Refusal(status, {"detail": {"message": message, "request_id": uuid.uuid4().hex, "code": code}})


def validation_error(field: str, message: str) -> Refusal:
    errors = [{"field": field, "message": message, "type": "value_error", "input": None}]
    body = {"detail": f"{field}: {message}", "request_id": uuid.uuid4().hex, "errors": errors}
    return Refusal(422, body)


def check_key(authorization: str | None, key: str | None) -> None:
    if key is None:
        return
    if authorization is None:
        raise application_error(401, "AUTH_MISSING_API_KEY", "No API key provided")
    if not authorization.startswith("Bearer "):
        raise application_error(401, "AUTH_INVALID_FORMAT", "Authorization must be 'Bearer <key>'")
    if authorization.removeprefix("Bearer ") != key:
        # The real one does not echo keys; a gateway may, and a client must not pass that on.
        raise application_error(401, "AUTH_INVALID_API_KEY", f"Invalid API key {authorization.removeprefix('Bearer ')}")


def parse_request(body: bytes, model: str, manners: Manners) -> Asked:
    try:
        data = json.loads(body)
    except ValueError:
        raise validation_error("body", "JSON decode error") from None
    if not isinstance(data, dict):
        raise validation_error("body", "must be an object")
    if data.get("model") != model:
        raise application_error(400, "INPUT_MODEL_NOT_FOUND", f"Model {data.get('model')!r} not found")
    if data.get("stream"):
        raise application_error(400, "INPUT_INVALID", "Streaming is not supported")
    for name in manners.refused_fields:
        if name in data:
            raise validation_error(name, "Extra inputs are not permitted")
    parts = _only_turn(data.get("messages"), manners)
    texts = [part for part in parts if part.get("type") == "text"]
    images = [part for part in parts if part.get("type") == "image_url"]
    if len(images) != 1:
        raise validation_error("messages", "the stand-in takes exactly one image")
    if not texts and not manners.takes_image_alone:
        raise validation_error("messages", "a text is missing")
    image, header = _image(images[0])
    return Asked(
        prompt="\n".join(str(part.get("text")) for part in texts),
        image=image,
        image_sha256=hashlib.sha256(image).hexdigest(),
        header=header,
        max_tokens=data.get("max_tokens", DEFAULT_MAX_TOKENS),
        temperature=data.get("temperature", 1.0),
        violations=tuple(_violations(data, parts, header)),
    )


def completion(asked: Asked, content: str, model: str, *, cut_off: bool, says_length: bool) -> dict[str, Any]:
    """The answer. Where `finish_reason` does not tell a cut, only the count does."""
    room = asked.max_tokens * CHARACTERS_A_TOKEN
    cut_off = cut_off or len(content) > room
    tokens_out = asked.max_tokens if cut_off else max(1, len(content) // CHARACTERS_A_TOKEN)
    finish_reason = "length" if cut_off and says_length else "stop"
    tokens_in = 0 if asked.is_first else IMAGE_TOKENS + len(asked.prompt) // CHARACTERS_A_TOKEN
    tokens_out = 0 if asked.is_first else tokens_out
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content[:room]}, "finish_reason": finish_reason}
        ],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def _only_turn(messages: object, manners: Manners) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages or not all(isinstance(turn, dict) for turn in messages):
        raise validation_error("messages", "must be a list of turns")
    if manners.takes_system and messages[0].get("role") == "system":
        messages = messages[1:]
    wanted = ["user" if index % 2 == 0 else "assistant" for index in range(len(messages))]
    if [turn.get("role") for turn in messages] != wanted:
        raise application_error(400, "INPUT_INVALID", "Conversation roles must alternate user/assistant/user/...")
    content = messages[-1].get("content")
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise validation_error("messages", "the stand-in takes a list of parts")
    return content


def _image(part: dict[str, Any]) -> tuple[bytes, Header]:
    source = part.get("image_url")
    match = DATA_URI.fullmatch(str(source.get("url"))) if isinstance(source, dict) else None
    if match is None:
        raise validation_error("image_url", "the stand-in takes a base64 data URI of a JPEG or PNG")
    image = base64.b64decode(match["data"])
    header = read_header(image)
    if header is None or header.media_type != match["media_type"]:
        raise application_error(400, "INPUT_INVALID_IMAGE", "The image is not what its media type says")
    return image, header


def _violations(data: dict[str, Any], parts: list[dict[str, Any]], header: Header) -> list[str]:
    broken = {
        "max_tokens_missing": "max_tokens" not in data,
        "temperature_not_zero": data.get("temperature") != 0,
        "several_turns": len(data["messages"]) > 1,
        "text_not_first": [part.get("type") for part in parts] not in (["text", "image_url"], ["image_url"]),
        "image_too_large": header.width * header.height > MAX_PIXELS,
        "image_no_jpeg": header.media_type != "image/jpeg",
    }
    return [name for name, is_broken in broken.items() if is_broken]

"""The faults that the stand-in can be told to have."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jina_standin.protocol import Asked


class Kind(StrEnum):
    COLD = "cold"
    """503, as while the model is loaded."""
    LIMITED = "limited"
    """429."""
    BROKE = "broke"
    """403, no balance left."""
    BAD_KEY = "bad_key"
    """401, as if the key had been withdrawn."""
    STATUS = "status"
    """Any other status, `status`, with a gateway's flat body."""
    CUT_OFF = "cut_off"
    """The answer ends in the middle; `finish_reason` is "stop" all the same."""
    LOOPING = "looping"
    """One sentence again and again until `max_tokens`."""
    EMPTY = "empty"
    """An answer without a word."""
    REFUSING = "refusing"
    """An apology instead of an answer."""
    ECHOING = "echoing"
    """The prompt instead of an answer."""
    DRIFTING = "drifting"
    """Words in a language that nobody asked for."""
    OBEYING = "obeying"
    """What the image orders to be said, after "say this:", instead of an answer; with `--read` only."""
    GARBLED = "garbled"
    """200 with a body that is no JSON."""
    HANGING = "hanging"
    """No answer until released or left."""
    CLOSING = "closing"
    """The connection is closed in the middle of the answer."""
    DEADLY = "deadly"
    """The process that asks is killed, as by a page that brings down whoever works it."""


@dataclass(slots=True)
class Fault:
    """A fault and the requests it strikes: all, unless one of the conditions says otherwise."""

    kind: Kind
    times: int | None = None
    """So many requests, then no more."""
    seconds: float | None = None
    """Only for this time from the first request that it strikes: a slow machine has its whole fault, too."""
    every: int = 1
    """Only each so-manieth request."""
    images: list[str] | None = None
    """Only images of these SHA-256."""
    prompt_has: str | None = None
    """Only prompts that hold this."""
    max_temperature: float | None = None
    """Only requests that are no hotter."""
    retry_after: str | None = None
    """Sent as `Retry-After`."""
    status: int = 500
    since: float | None = field(default=None, compare=False)
    """When the first request was struck, as the monotonic clock has it."""
    seen: int = field(default=0, compare=False)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Fault:
        return cls(**{**data, "kind": Kind(data["kind"])})

    def strikes(self, asked: Asked) -> bool:
        """Whether it strikes this request; counts the request. The caller holds the lock."""
        if self.images is not None and asked.image_sha256 not in self.images:
            return False
        if self.prompt_has is not None and self.prompt_has not in asked.prompt:
            return False
        if self.max_temperature is not None and asked.temperature > self.max_temperature:
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        return self._goes_on() and (self.times is None or self.seen // self.every <= self.times)

    def _goes_on(self) -> bool:
        if self.since is None:
            self.since = time.monotonic()
        return self.seconds is None or time.monotonic() <= self.since + self.seconds

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": self.retry_after}

"""What the stand-in was told and what it has seen. All of it is behind one lock."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jina_standin.faults import Fault
from jina_standin.protocol import Asked, Manners, application_error


@dataclass(slots=True)
class State:
    latency_seconds: float = 0.0
    max_in_flight: int | None = None
    """Above it the answer is 429, as with a key's limit of concurrent requests."""
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    """SHA-256 of an image to `{"description": …, "text": …}`; any other name is a piece of the prompts it answers."""
    manners: Manners = field(default_factory=Manners)
    faults: list[Fault] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    first_questions: list[dict[str, Any]] = field(default_factory=list)
    """Those of processes that begin: they are no `requests`."""
    in_flight: int = 0
    peak_in_flight: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Requests turned away before their image was looked at, by status."""
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def in_flight_call(self) -> Iterator[None]:
        with self.lock:
            self.in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
            too_many = self.max_in_flight is not None and self.in_flight > self.max_in_flight
        try:
            if too_many:
                raise application_error(429, "RATE_CONCURRENCY_LIMIT_EXCEEDED", "Too many concurrent requests")
            yield
        finally:
            with self.lock:
                self.in_flight -= 1

    def enter(self, asked: Asked) -> tuple[dict[str, Any], Fault | None]:
        """Write a request down; return its entry and the fault that strikes it."""
        entry: dict[str, Any] = {
            "at": time.time(),
            "image_sha256": asked.image_sha256,
            "media_type": asked.header.media_type,
            "width": asked.header.width,
            "height": asked.header.height,
            "bytes": len(asked.image),
            "prompt": asked.prompt,
            "languages": asked.languages,
            "max_tokens": asked.max_tokens,
            "violations": list(asked.violations),
            "fault": None,
            # 0: the connection was cut, hung, garbled, or left by the client; no answer arrived.
            "status": None,
        }
        with self.lock:
            self.requests.append(entry)
            fault = next((fault for fault in self.faults if fault.strikes(asked)), None)
        entry["fault"] = fault.kind if fault else None
        return entry, fault

    def tell(self, settings: dict[str, Any]) -> None:
        """Change what the stand-in does: `latency_seconds`, `max_in_flight`, `answers`, `manners`, `faults`."""
        with self.lock:
            for name, value in settings.items():
                if name == "faults":
                    self._have(Fault.from_json(fault) for fault in value)
                elif name == "manners":
                    self.manners = Manners(**value)
                elif name in ("latency_seconds", "max_in_flight", "answers"):
                    setattr(self, name, value)
                else:
                    raise KeyError(name)

    def _have(self, faults: Iterable[Fault]) -> None:
        """Have these faults. One that is there already goes on: it has counted what it struck."""
        before = list(self.faults)
        self.faults = []
        for fault in faults:
            same = next((known for known in before if known == fault), None)
            if same is not None:
                before.remove(same)
            self.faults.append(same or fault)

    def release(self) -> None:
        """Let those that hang now be answered; later ones hang again."""
        with self.lock:
            released, self.released = self.released, threading.Event()
        released.set()

    def reset_counters(self) -> None:
        with self.lock:
            self.requests = []
            self.first_questions = []
            self.refused = Counter()
            self.peak_in_flight = self.in_flight

    def counters(self) -> dict[str, Any]:
        with self.lock:
            requests = list(self.requests)
            answered = [entry for entry in requests if entry["status"] == 200]
            asked = Counter((entry["image_sha256"], entry["prompt"]) for entry in answered)
            return {
                "requests": len(requests),
                "first_questions": len(self.first_questions),
                "answered": len(answered),
                "asked_again": sum(count - 1 for count in asked.values()),
                "images": len({entry["image_sha256"] for entry in requests}),
                "in_flight": self.in_flight,
                "peak_in_flight": self.peak_in_flight,
                "violations": dict(Counter(name for entry in requests for name in entry["violations"])),
                "without_language": sum(not entry["languages"] for entry in requests),
                "by_status": dict(Counter(str(entry["status"]) for entry in requests)),
                "refused": dict(self.refused),
            }

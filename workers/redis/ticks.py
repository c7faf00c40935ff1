"""The last tick that a worker carried out, by the clock of Redis: no decision rests on the clock of a beat."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError
from redis import Redis

from workers.redis.connection import translated
from workers.redis.queues import CLOCK_TOLERANCE_SECONDS, KEY_PREFIX

LAST = KEY_PREFIX + "tick"
BEGUN = KEY_PREFIX + "tick_begun"
#: Further ticks within this time are superfluous: those of other beats, and those that waited for a worker.
SHORTEST_SECONDS = 30.0
#: A fleet without a tick for this time has no beat, or no worker that carries out its ticks.
OVERDUE_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class LastTick:
    """The last tick that was carried out to its end."""

    ago_seconds: float
    """By the clock of Redis."""
    worker: str
    clock_offset_seconds: float | None
    """Of its beat; None if the beat could not compare its clock."""

    @property
    def is_overdue(self) -> bool:
        """Whether the next tick should have been carried out by now."""
        return self.ago_seconds > OVERDUE_SECONDS

    @property
    def clock_is_right(self) -> bool:
        """Whether the clock of its beat is near enough to that of Redis."""
        return abs(self.clock_offset_seconds or 0.0) <= CLOCK_TOLERANCE_SECONDS


@dataclass(frozen=True, slots=True)
class _Note:
    at: float
    worker: str
    clock_offset_seconds: float | None


_NOTE = TypeAdapter(_Note)


class Ticks:
    """The fleet's ticks. Every method raises `ServiceUnavailable` while Redis is away."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    def begin(self) -> bool:
        """Return whether a tick is to be carried out: the last one was begun long enough ago."""
        with translated():
            return bool(self._client.set(BEGUN, 1, nx=True, px=round(SHORTEST_SECONDS * 1000)))

    def end(self, worker: str, clock_offset_seconds: float | None) -> None:
        """Note that a tick was carried out."""
        with translated():
            note = _Note(self._now(), worker, clock_offset_seconds)
            self._client.set(LAST, _NOTE.dump_json(note))

    def last(self) -> LastTick | None:
        """Return the last tick; None before the first one, and after Redis has lost its data."""
        with translated():
            text = self._client.get(LAST)
            now = self._now()
        try:
            note = _NOTE.validate_json(text) if text is not None else None
        except ValidationError:  # another version of Pagesight wrote it
            return None
        return LastTick(max(0.0, now - note.at), note.worker, note.clock_offset_seconds) if note else None

    def _now(self) -> float:
        seconds, microseconds = self._client.time()
        return float(seconds + microseconds / 1e6)

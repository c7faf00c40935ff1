"""How a beat ends."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from celery import Celery
from celery.apps.beat import Beat
from celery.beat import Service

import workers.command  # noqa: F401 (changes how a beat ends)


class Sending:
    """A scheduler that a signal meets while it sends a tick: the exception of the handler is lost."""

    max_interval = 5

    def __init__(self, number: signal.Signals) -> None:
        self.number = number
        self.ticks = self.closed = 0

    def tick(self) -> float:
        self.ticks += 1
        assert self.ticks < 3, "it goes on"
        try:
            signal.raise_signal(self.number)
        except SystemExit:  # the Redis client raises another error then, which Celery logs
            return 0.0
        pytest.fail("the signal did nothing")

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_beat_ends_though_the_exception_of_its_signal_was_lost(number: signal.Signals) -> None:
    app = Celery("beat", set_as_current=False)
    service = Service(app)
    Beat(app=app).install_sync_handler(service)
    service.scheduler = scheduler = Sending(number)
    service.start()

    assert (scheduler.ticks, scheduler.closed) == (1, 1)

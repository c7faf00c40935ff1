"""What a worker did and how it stands, for Prometheus. Each process has its own, at `/metrics`.

Methods are named for what happened. Counters are of this process since it began; the depth of a lane is that of the
whole fleet, so take the maximum of it over the workers, not the sum.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from pipeline.batches.handlers import MessageReport
from pipeline.core.retry import Waiting
from pipeline.pages.page_services import Stage

Ending = Literal["done", "handed_back", "refused", "failed"]
#: Upper bounds of seconds: a bulk request takes hundredths, a page of a cold model minutes.
_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)

# Else each counter has a second series that says when it began.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one process. Threads share it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._pages = self._counter("pages", "Pages that ended, by the status of their record.", "status")
        self._sources = self._counter("sources", "Files looked at.")
        self._cached_answers = self._counter("cached_answers", "Answers that were there and not asked for.")
        self._ranges = self._counter("ranges", "Messages worked, by how that ended.", "outcome")
        self._calls = self._counter("model_calls", "Requests that the model answered.")
        self._tokens = self._counter("model_tokens", "Tokens sent to the model and received.", "direction")
        self._stages = Histogram(
            "pagesight_stage_seconds",
            "Seconds that a stage took, waiting included.",
            ["stage"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._depths = self._gauge("queue_depth", "Messages in a lane; the same for all workers.", "lane")
        self._unacknowledged = self._gauge("unacknowledged", "Messages at work; the same for all workers.")
        self._waiting = self._gauge("waiting_seconds", "How long a service has been waited for; else 0.", "service")
        self._slots = self._gauge("slots", "Messages that this worker works at once.")
        self._busy = self._gauge("slots_busy", "Messages that it works now.")
        self._fleet = self._gauge("fleet", "1 for the state that the fleet is in.", "state")
        self._waited_for: set[str] = set()
        self._used = {"calls": 0, "in": 0, "out": 0}

    def range_ended(self, report: MessageReport, ending: Ending = "done") -> None:
        """Count what working a message came to."""
        for status, number in report.pages.items():
            self._pages.labels(status).inc(number)
        self._sources.inc(report.sources)
        self._cached_answers.inc(report.cached_answers)
        self._ranges.labels(ending).inc()

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Measure how long a stage takes, however it ends."""
        with self._stages.labels(stage).time():
            yield

    def usage(self, calls: int, tokens_in: int, tokens_out: int) -> None:
        """Note what a reader has asked so far, as its `Usage` has it. Called by one thread only."""
        self._calls.inc(self._grown("calls", calls))
        self._tokens.labels("in").inc(self._grown("in", tokens_in))
        self._tokens.labels("out").inc(self._grown("out", tokens_out))

    def depths(self, depths: Mapping[str, int]) -> None:
        """Note how many messages wait in each lane."""
        for lane, depth in depths.items():
            self._depths.labels(lane).set(depth)

    def unacknowledged(self, messages: int) -> None:
        """Note how many messages the workers have taken and not finished."""
        self._unacknowledged.set(messages)

    def waiting(self, waiting: Waiting | None) -> None:
        """Note what is waited for. Called by one thread only."""
        for service in self._waited_for:
            self._waiting.labels(service).set(0)
        if waiting is not None:
            self._waited_for.add(waiting.service)
            self._waiting.labels(waiting.service).set(max(0.0, time.time() - waiting.since))

    def fleet(self, state: str) -> None:
        """Note whether the fleet is running, paused or halted."""
        for each in ("running", "paused", "halted"):
            self._fleet.labels(each).set(each == state)

    def busy(self, busy: int, slots: int) -> None:
        """Note how many messages are at work, of how many at once."""
        self._busy.set(busy)
        self._slots.set(slots)

    def _grown(self, name: str, total: int) -> int:
        grown = total - self._used[name]
        self._used[name] = total
        return grown

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"pagesight_{name}", what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"pagesight_{name}", what, labels, registry=self.registry)

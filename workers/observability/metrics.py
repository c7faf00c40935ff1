"""Metrics of a worker process for Prometheus, at `/metrics`. docs/operations.md lists them.

Counters count from the start of the process. The depth of a lane is that of the whole fleet, so take its maximum
over the workers, not its sum.
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

# Otherwise each counter has a second series with the time of its creation.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one process. Threads share it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._pages = self._counter("pages", "Pages that ended, by the status of their record.", "status")
        self._sources = self._counter("sources", "Files looked at.")
        self._cached_answers = self._counter("cached_answers", "Answers taken from the archive instead of the model.")
        self._ranges = self._counter(
            "ranges", "Messages of pages and sources that were handled, by outcome.", "outcome"
        )
        self._calls = self._counter("model_calls", "Requests that the model answered.")
        self._tokens = self._counter("model_tokens", "Tokens sent to the model and received.", "direction")
        self._not_climbed = self._counter(
            "not_climbed", "Questions that were asked once, because further attempts did not help other pages."
        )
        self._stopped_climbing = self._gauge(
            "stopped_climbing", "Questions that most pages are asked once at present, for this reason."
        )
        self._stages = Histogram(
            "pagesight_stage_seconds",
            "Seconds that a stage took, waiting included.",
            ["stage"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._depths = self._gauge("queue_depth", "Messages in a lane; the same for all workers.", "lane")
        self._unacknowledged = self._gauge("unacknowledged", "Messages that workers handle; the same for all workers.")
        self._dead_letters = self._gauge(
            "dead_letters", "Elements of the queues that were not messages; the same for all workers."
        )
        self._last_tick = self._gauge(
            "last_tick_seconds", "Unix time of the last tick that was carried out, 0 without one; same for all workers."
        )
        self._waiting = self._gauge(
            "waiting_seconds", "Seconds of the present wait for a service; 0 without a wait.", "service"
        )
        self._slots = self._gauge("slots", "Messages that this worker handles at once.")
        self._busy = self._gauge("slots_busy", "Messages that this worker handles now.")
        self._fleet = self._gauge("fleet", "1 for the state that the fleet is in.", "state")
        self._waited_for: set[str] = set()
        self._used = {"calls": 0, "in": 0, "out": 0, "not_climbed": 0}

    def message_handled(self, report: MessageReport, ending: Ending = "done") -> None:
        """Count a message, with its pages, sources and answers."""
        for status, number in report.pages.items():
            self._pages.labels(status).inc(number)
        self._sources.inc(report.sources)
        self._cached_answers.inc(report.cached_answers)
        self._ranges.labels(ending).inc()

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Measure the time that a stage takes, whatever its outcome."""
        with self._stages.labels(stage).time():
            yield

    def usage(self, calls: int, tokens_in: int, tokens_out: int) -> None:
        """Set the totals of a reader's `Usage` so far. Called by one thread only."""
        self._calls.inc(self._grown("calls", calls))
        self._tokens.labels("in").inc(self._grown("in", tokens_in))
        self._tokens.labels("out").inc(self._grown("out", tokens_out))

    def ladder(self, not_climbed: int, stopped: int) -> None:
        """Set the questions that were asked once so far, and those that are at present. Called by one thread only."""
        self._not_climbed.inc(self._grown("not_climbed", not_climbed))
        self._stopped_climbing.set(stopped)

    def depths(self, depths: Mapping[str, int]) -> None:
        """Set the number of waiting messages of each lane."""
        for lane, depth in depths.items():
            self._depths.labels(lane).set(depth)

    def unacknowledged(self, messages: int) -> None:
        """Set the number of messages that workers have taken and not acknowledged."""
        self._unacknowledged.set(messages)

    def dead_letters(self, letters: int) -> None:
        """Set the number of elements of the queues that were set aside."""
        self._dead_letters.set(letters)

    def last_tick(self, ago_seconds: float | None) -> None:
        """Set the time of the last tick; None without one."""
        self._last_tick.set(0 if ago_seconds is None else time.time() - ago_seconds)

    def waiting(self, waiting: Waiting | None) -> None:
        """Set the longest present wait. Called by one thread only."""
        for service in self._waited_for:
            self._waiting.labels(service).set(0)
        if waiting is not None:
            self._waited_for.add(waiting.service)
            self._waiting.labels(waiting.service).set(max(0.0, time.time() - waiting.since))

    def fleet(self, state: str) -> None:
        """Set the state of the fleet: `running`, `paused` or `halted`."""
        for each in ("running", "paused", "halted"):
            self._fleet.labels(each).set(each == state)

    def busy(self, busy: int, slots: int) -> None:
        """Set the number of messages in progress, and the number of slots."""
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

"""How a run is shown while it goes on: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from pipeline.cli.output import plain, printable
from pipeline.core.models import DocumentStatus, PageStatus

if TYPE_CHECKING:  # `status` shows a rate, and opens no documents
    from types import TracebackType

    from pipeline.analysis.inspect import Totals
    from pipeline.batches.local_runner import RunTally
    from pipeline.core.retry import CancelToken

#: Seconds between plain lines.
LINE_SECONDS = 10.0
#: The rate is that of the last so many seconds.
RATE_WINDOW_SECONDS = 60.0


class LiveProgress(ABC):
    """Shows how something goes on: subclasses say how it stands.

    with RunProgress(tally, patience, console) as progress:
        run_batch(…, tick=progress.tick)
    """

    unit: ClassVar[str]

    def __init__(self, cancel: CancelToken, console: Console) -> None:
        self._cancel = cancel
        self._console = console
        self._rate = Rate()
        self._next_line = time.monotonic() + LINE_SECONDS
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            # Without markup: the words hold what a server said.
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
            redirect_stdout=False,  # results may go elsewhere than what is shown here
        )
        self._task: TaskID = self._bar.add_task(self.unit, total=None, words="")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.tick()
        if self._console.is_terminal:
            self._bar.stop()  # a bar that was never started would print an empty line

    def tick(self) -> None:
        """Show how things stand."""
        self._rate.note(self.worked)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self.done, total=self.total, words=self._words())
        elif time.monotonic() >= self._next_line:
            self._next_line += LINE_SECONDS
            self._console.print(plain(self._words()))

    @property
    @abstractmethod
    def done(self) -> int:
        """How many have ended."""

    @property
    @abstractmethod
    def found(self) -> int:
        """How many there are, as far as is known."""

    @property
    @abstractmethod
    def total(self) -> int | None:
        """How many there are, once that is known."""

    @property
    def worked(self) -> int:
        """How many have ended that took work: these make the rate."""
        return self.done

    @abstractmethod
    def _outcome(self) -> str:
        """Return what came of those that ended."""

    def _words(self) -> str:
        parts = [f"{self.done}/{self.found}{'+' if self.total is None else ''} {self.unit}"]
        rate = self._rate.per_second()
        left = self.found - self.done
        if rate and left:
            parts.append(f"{rate:.1f}/s")
            parts.append(f"ETA {timedelta(seconds=round(left / rate))}")
        parts.append(self._outcome())
        waiting = self._cancel.waiting
        if waiting is not None:
            since = timedelta(seconds=round(time.time() - waiting.since))
            parts.append(f"waiting {since} for {waiting.service}: {printable(waiting.cause)[:80]}")
        return "  ".join(parts)


class RunProgress(LiveProgress):
    """Shows a tally of pages as it grows."""

    unit = "pages"

    def __init__(self, tally: RunTally, cancel: CancelToken, console: Console) -> None:
        super().__init__(cancel, console)
        self._tally = tally

    @property
    def done(self) -> int:
        """Pages that ended, or had ended before."""
        return self._tally.pages_done

    @property
    def found(self) -> int:
        """Pages of the documents that were found."""
        return self._tally.pages_found

    @property
    def total(self) -> int | None:
        """The same, once the walk is complete."""
        return self._tally.pages_found if self._tally.walked else None

    @property
    def worked(self) -> int:
        """Pages that this run worked."""
        return self._tally.pages_done - self._tally.pages_unchanged

    def _outcome(self) -> str:
        failed = self._tally.pages[PageStatus.FAILED]
        files = self._tally.documents[DocumentStatus.FAILED]
        return f"{failed} failed" + (f", {files} files failed" if files else "")


class InspectionProgress(LiveProgress):
    """Shows the totals of an inspection as they grow."""

    unit = "files"

    def __init__(self, totals: Totals, cancel: CancelToken, console: Console) -> None:
        super().__init__(cancel, console)
        self._totals = totals

    @property
    def done(self) -> int:
        """Files that were looked at."""
        return self._totals.files

    @property
    def found(self) -> int:
        """Files that the walk has come to."""
        return self._totals.found

    @property
    def total(self) -> int | None:
        """The same, once the walk is complete."""
        return self._totals.found if self._totals.walked else None

    def _outcome(self) -> str:
        return f"{self._totals.pages.total()} pages, {self._totals.failures.total()} would fail"


class Rate:
    """Pages a second over a sliding window, from `count` pages on."""

    def __init__(self, count: int = 0) -> None:
        self._points: deque[tuple[float, int]] = deque([(time.monotonic(), count)])

    def note(self, count: int) -> None:
        """Note how many pages there are by now."""
        now = time.monotonic()
        self._points.append((now, count))
        while len(self._points) > 2 and now - self._points[0][0] > RATE_WINDOW_SECONDS:
            self._points.popleft()

    def per_second(self) -> float:
        """Return the rate within the window."""
        (start, before), (end, after) = self._points[0], self._points[-1]
        return (after - before) / (end - start) if end > start else 0.0

"""Progress of a run: a live line on a terminal, elsewhere a plain line every few seconds."""

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
#: The rate is measured over this many seconds.
RATE_WINDOW_SECONDS = 60.0


class LiveProgress(ABC):
    """Base of progress displays: subclasses provide the counts.

    with RunProgress(tally, cancel, console) as progress:
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
            # Without markup: the text may quote a server.
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
            redirect_stdout=False,  # results may be redirected while progress stays on the terminal
        )
        self._task: TaskID = self._bar.add_task(self.unit, total=None, words="")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.tick()
        if self._console.is_terminal:
            self._bar.stop()  # stopping a bar that never started prints an empty line

    def tick(self) -> None:
        """Show the current counts."""
        self._rate.note(self.worked)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self.done, total=self.total, words=self._words())
        elif time.monotonic() >= self._next_line:
            self._next_line += LINE_SECONDS
            self._console.print(plain(self._words()))

    @property
    @abstractmethod
    def done(self) -> int:
        """Number finished."""

    @property
    @abstractmethod
    def found(self) -> int:
        """Number known so far."""

    @property
    @abstractmethod
    def total(self) -> int | None:
        """Final number, once it is known."""

    @property
    def worked(self) -> int:
        """Number finished that needed work: the rate counts these."""
        return self.done

    @abstractmethod
    def _outcome(self) -> str:
        """Return the outcome of finished items as text."""

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


class PageProgress(LiveProgress):
    """Shows how many of a known number of pages are done.

    Args:
        pages: number of pages.
        verb: past participle for what is done with them, such as `asked`.
        cancel: its waits are shown.
        console: for the progress.
    """

    unit = "pages"

    def __init__(self, pages: int, verb: str, cancel: CancelToken, console: Console) -> None:
        self._pages = pages
        self._verb = verb
        self._done = 0
        super().__init__(cancel, console)

    def show(self, pages: int) -> None:
        """Show the number of pages done so far."""
        self._done = pages
        self.tick()

    @property
    def done(self) -> int:
        """Pages done so far."""
        return self._done

    @property
    def found(self) -> int:
        """Number of all pages."""
        return self._pages

    @property
    def total(self) -> int:
        """The same: it is known from the beginning."""
        return self._pages

    def _outcome(self) -> str:
        return self._verb


class RunProgress(LiveProgress):
    """Shows the page counts of a run."""

    unit = "pages"

    def __init__(self, tally: RunTally, cancel: CancelToken, console: Console) -> None:
        super().__init__(cancel, console)
        self._tally = tally

    @property
    def done(self) -> int:
        """Pages finished in this run or before it."""
        return self._tally.pages_done

    @property
    def found(self) -> int:
        """Pages of the documents found so far."""
        return self._tally.pages_found

    @property
    def total(self) -> int | None:
        """The same, once every folder is listed."""
        return self._tally.pages_found if self._tally.walked else None

    @property
    def worked(self) -> int:
        """Pages processed by this run."""
        return self._tally.pages_done - self._tally.pages_unchanged

    def _outcome(self) -> str:
        failed = self._tally.pages[PageStatus.FAILED]
        files = self._tally.documents[DocumentStatus.FAILED]
        return f"{failed} failed" + (f", {files} files failed" if files else "")


class InspectionProgress(LiveProgress):
    """Shows the totals of an inspection."""

    unit = "files"

    def __init__(self, totals: Totals, cancel: CancelToken, console: Console) -> None:
        super().__init__(cancel, console)
        self._totals = totals

    @property
    def done(self) -> int:
        """Files inspected so far."""
        return self._totals.files

    @property
    def found(self) -> int:
        """Files found so far."""
        return self._totals.found

    @property
    def total(self) -> int | None:
        """The same, once every folder is listed."""
        return self._totals.found if self._totals.walked else None

    def _outcome(self) -> str:
        return f"{self._totals.pages.total()} pages, {self._totals.failures.total()} would fail"


class Rate:
    """Pages per second over a sliding window. Counting starts at `count` pages."""

    def __init__(self, count: int = 0) -> None:
        self._points: deque[tuple[float, int]] = deque([(time.monotonic(), count)])

    def note(self, count: int) -> None:
        """Record the current number of pages."""
        now = time.monotonic()
        self._points.append((now, count))
        while len(self._points) > 2 and now - self._points[0][0] > RATE_WINDOW_SECONDS:
            self._points.popleft()

    def per_second(self) -> float:
        """Return the rate within the window, in pages per second."""
        (start, before), (end, after) = self._points[0], self._points[-1]
        return (after - before) / (end - start) if end > start else 0.0

"""How a run is shown while it goes on: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from pipeline.cli.output import plain, printable
from pipeline.local_runner import Tally
from pipeline.models import DocumentStatus, PageStatus
from pipeline.retry import Patience

#: Seconds between plain lines.
LINE_SECONDS = 10.0
#: The rate is that of the last so many seconds.
RATE_WINDOW_SECONDS = 60.0


class RunProgress:
    """Shows a tally as it grows.

    with RunProgress(tally, patience, console) as progress:
        run_batch(…, tick=progress.tick)
    """

    def __init__(self, tally: Tally, patience: Patience, console: Console) -> None:
        self._tally = tally
        self._patience = patience
        self._console = console
        self._rate = Rate()
        self._next_line = time.monotonic() + LINE_SECONDS
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            # Without markup: the words hold what a server said.
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
        )
        self._task: TaskID = self._bar.add_task("pages", total=None, words="")

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
        tally = self._tally
        self._rate.note(tally.pages_done - tally.pages_unchanged)
        if self._console.is_terminal:
            total = tally.pages_found if tally.walked else None
            self._bar.update(self._task, completed=tally.pages_done, total=total, words=self._words())
        elif time.monotonic() >= self._next_line:
            self._next_line += LINE_SECONDS
            self._console.print(plain(self._words()))

    def _words(self) -> str:
        tally = self._tally
        parts = [f"{tally.pages_done}/{tally.pages_found}{'' if tally.walked else '+'} pages"]
        rate = self._rate.per_second()
        if rate and tally.pages_unfinished:
            parts.append(f"{rate:.1f}/s")
            parts.append(f"ETA {timedelta(seconds=round(tally.pages_unfinished / rate))}")
        failed = tally.pages[PageStatus.FAILED]
        files = tally.documents[DocumentStatus.FAILED]
        parts.append(f"{failed} failed" + (f", {files} files failed" if files else ""))
        waiting = self._patience.waiting
        if waiting is not None:
            since = timedelta(seconds=round(time.time() - waiting.since))
            parts.append(f"waiting {since} for {waiting.service}: {printable(waiting.cause)[:80]}")
        return "  ".join(parts)


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

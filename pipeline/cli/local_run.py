"""A batch in this process: run it, show its progress, and print its result. `index` and `redescribe --local` use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.batches.local_batch import IndexRequest, index_batch
from pipeline.batches.local_runner import RunTally
from pipeline.cli.exits import ExitCode
from pipeline.cli.output import plain, print_error, rows, stderr, stdout, table
from pipeline.cli.progress import RunProgress
from pipeline.cli.signals import interruptible
from pipeline.core.errors import PagesightError
from pipeline.core.models import Batch, DocumentStatus, PageStatus
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings
from pipeline.services import open_leases, open_page_services
from pipeline.vision.budget import Budget

LOCAL_READER_NOTE = (
    "No vision model is configured: pages are read by the local reader. Text is found, but nothing is described beyond "
    "what can be measured. Set JINA_API_KEY to have jina-vlm describe them."
)


@dataclass(frozen=True, slots=True)
class Ran:
    """How a batch in this process ended."""

    batch: Batch
    error: PagesightError | None
    """What halted it."""
    tally: RunTally
    interrupted: bool

    def code(self) -> ExitCode:
        """Print what a person is to know of the end, and return the exit code."""
        if self.error is not None:
            print_error(self.error)
            return ExitCode.REFUSED
        return _ended(self.batch, self.tally, self.interrupted)


def work_order(order: IndexRequest, settings: Settings, budget_tokens: int | None) -> Ran:
    """Work what was asked for in this process, and show how it goes.

    `budget_tokens` is what the calls may cost; any number when None.
    """
    cancel = CancelToken()
    tally = RunTally()

    def used_up(words: str) -> None:
        tally.used_up = words
        cancel.stop()

    budget = Budget(budget_tokens, used_up)
    tools_opened = open_page_services(settings, cancel, budget=budget)
    with tools_opened as (tools, units_at_once), interruptible(cancel) as interrupted:
        if not tools.reader.describes:
            stderr().print(plain(LOCAL_READER_NOTE, "yellow"))
        tools.projector.index.ensure()
        if order.profile is not None:  # a conflict is told before anything is begun
            tools.projector.index.require_answers(order.profile.own_kinds)
        with RunProgress(tally, cancel, stderr()) as progress:
            batch, error = index_batch(order, tools, open_leases(settings), units_at_once, tally, progress.tick)
    return Ran(batch, error, tally, bool(interrupted))


def summary(batch: Batch) -> dict[str, Any]:
    """Return what `--json` prints of a batch."""
    return {
        "batch": batch.id,
        "collection": batch.collection,
        "language": batch.language,
        "profile": batch.profile,
        "state": batch.state,
        "documents": batch.documents,
        "pages": batch.pages,
        "model_calls": batch.model_calls,
        "cached_answers": batch.cached_answers,
        "tokens": batch.tokens,
        "seconds": batch.seconds,
    }


def print_summary(batch: Batch) -> None:
    """Print what came of a batch."""
    grid = table("batch " + batch.id, "")
    facts = [
        ("documents", _words(batch.documents)),
        ("pages", _words(batch.pages)),
        ("model calls", f"{batch.model_calls} ({batch.cached_answers} answers were there already)"),
        ("tokens", batch.tokens),
        ("seconds", f"{batch.seconds:.1f}"),
    ]
    stdout().print(rows(grid, facts))


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none"


def _ended(batch: Batch, tally: RunTally, interrupted: bool) -> ExitCode:
    if interrupted:
        left = tally.pages_unfinished
        stderr().print(plain(f"Interrupted with {left} known pages to go. Run the same command again to go on."))
        return ExitCode.INTERRUPTED
    if tally.used_up:
        left = tally.pages_unfinished
        words = f"Ended since {tally.used_up}, with {left} known pages to go. The same command goes on from here."
        stderr().print(plain(words))
        return ExitCode.EXHAUSTED
    if tally.pages[PageStatus.FAILED] or tally.documents[DocumentStatus.FAILED]:
        stderr().print(plain("Some pages or files failed: `pagesight failures` says why and what to do."))
        return ExitCode.SOME_FAILED
    if tally.pages_unfinished:
        stderr().print(plain(f"{tally.pages_unfinished} pages were left out: they were deleted during the run."))
        return ExitCode.SOME_FAILED
    return ExitCode.OK

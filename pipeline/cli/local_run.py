"""A batch in this process: run it, show its progress, and print its result. `index` and `redescribe --local` use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.batches.local_batch import IndexRequest, index_batch
from pipeline.batches.local_runner import RunTally
from pipeline.cli.exits import ExitCode
from pipeline.cli.output import descriptions_kept_words, plain, print_error, rows, stderr, stdout, table
from pipeline.cli.progress import RunProgress
from pipeline.cli.signals import interruptible
from pipeline.core.errors import PagesightError
from pipeline.core.models import Batch, DocumentStatus, PageStatus
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings
from pipeline.projection.ownership import require_archive_of_indices
from pipeline.services import open_leases, open_page_services
from pipeline.vision.budget import Budget

LOCAL_READER_NOTE = (
    "No vision model is configured: the local reader extracts text and measures pages, but does not describe "
    "pictures. Set JINA_API_KEY to have jina-vlm describe them."
)


NOT_CLIMBED_NOTE = (
    "{} questions with an answer that cannot be trusted: the model's answers failed their checks page after page. "
    "`pagesight redescribe --where reason=ladder` asks again"
)


@dataclass(frozen=True, slots=True)
class RunResult:
    """Result of a batch that ran in this process."""

    batch: Batch
    error: PagesightError | None
    """The error that stopped it, if any."""
    tally: RunTally
    interrupted: bool

    def code(self) -> ExitCode:
        """Print why the batch ended early, if it did, and return the exit code."""
        if self.error is not None:
            print_error(self.error)
            return ExitCode.REFUSED
        return _ended(self.batch, self.tally, self.interrupted)


def run_here(order: IndexRequest, settings: Settings, budget_tokens: int | None) -> RunResult:
    """Run a batch in this process and show its progress.

    `budget_tokens` is the maximum number of tokens for all calls; None means no limit.
    """
    cancel = CancelToken()
    tally = RunTally()

    def used_up(words: str) -> None:
        tally.used_up = words
        cancel.stop()

    budget = Budget(budget_tokens, used_up)
    opened = open_page_services(settings, cancel, budget=budget)
    with opened as (services, units_at_once), interruptible(cancel) as interrupted:
        if not services.reader.describes:
            stderr().print(plain(LOCAL_READER_NOTE, "yellow"))
        services.projector.index.ensure()
        require_archive_of_indices(services.archive, services.projector.index)
        if order.profile is not None:  # report a conflict before the batch begins
            services.projector.index.require_answers(order.profile.own_kinds)
        with RunProgress(tally, cancel, stderr()) as progress:
            batch, error = index_batch(order, services, open_leases(settings), units_at_once, tally, progress.tick)
    return RunResult(batch, error, tally, bool(interrupted))


def summary(batch: Batch) -> dict[str, Any]:
    """Return the JSON object of a finished batch."""
    return {
        "batch": batch.id,
        "collection": batch.collection,
        "language": batch.language,
        "profile": batch.profile,
        "state": batch.state,
        "documents": batch.documents,
        "pages": batch.pages,
        "passed_over": batch.passed_over,
        "descriptions_kept": batch.descriptions_kept,
        "model_calls": batch.model_calls,
        "cached_answers": batch.cached_answers,
        "not_climbed": batch.not_climbed,
        "tokens": batch.tokens,
        "seconds": batch.seconds,
    }


def print_summary(batch: Batch) -> None:
    """Print the result of a batch as a table."""
    grid = table("batch " + batch.id, "")
    facts = [
        ("documents", _words(batch.documents)),
        ("pages", _words(batch.pages)),
        ("passed over", f"{batch.passed_over} files and folders: litter, and what patterns leave out"),
        ("model calls", f"{batch.model_calls} ({batch.cached_answers} answers came from the cache)"),
        ("tokens", batch.tokens),
        ("seconds", f"{batch.seconds:.1f}"),
    ]
    if batch.descriptions_kept:
        facts.insert(2, ("descriptions kept", descriptions_kept_words(batch.descriptions_kept)))
    if batch.not_climbed:
        facts.append(("asked once", NOT_CLIMBED_NOTE.format(batch.not_climbed)))
    stdout().print(rows(grid, facts))


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none"


def _ended(batch: Batch, tally: RunTally, interrupted: bool) -> ExitCode:
    if interrupted:
        left = tally.pages_unfinished
        stderr().print(plain(f"Interrupted: {left} known pages are left. Run the same command again to continue."))
        return ExitCode.INTERRUPTED
    if tally.used_up:
        left = tally.pages_unfinished
        words = f"Stopped: {tally.used_up}; {left} known pages are left. Run the same command again to continue."
        stderr().print(plain(words))
        return ExitCode.EXHAUSTED
    if tally.pages[PageStatus.FAILED] or tally.documents[DocumentStatus.FAILED]:
        stderr().print(plain("Some pages or files failed: `pagesight failures` lists causes and remedies."))
        return ExitCode.SOME_FAILED
    if tally.pages_unfinished:
        stderr().print(plain(f"{tally.pages_unfinished} pages were skipped: they were deleted during the run."))
        return ExitCode.SOME_FAILED
    return ExitCode.OK

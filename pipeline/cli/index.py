"""`pagesight index`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Annotated, Any

import typer

from pipeline.batches.lifecycle import DEFAULT_COLLECTION, collection_name
from pipeline.batches.local_batch import IndexRequest, index_batch
from pipeline.batches.local_runner import RunTally
from pipeline.cli.exits import ExitCode
from pipeline.cli.options import BudgetTokens, CollectionName, Json, LanguageTag, MaxPages, ProfileName
from pipeline.cli.output import plain, print_error, print_json, rows, stderr, stdout, table
from pipeline.cli.progress import RunProgress
from pipeline.core.errors import PagesightError
from pipeline.core.languages import normalise_tag
from pipeline.core.models import Batch, DocumentStatus, PageStatus
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load
from pipeline.services import open_leases, open_page_services, own_folders
from pipeline.sources import root_url
from pipeline.vision.budget import Budget
from pipeline.vision.profile import load_profile

EXAMPLES = """
**Examples**

`pagesight index scans/` · everything below a folder

`pagesight index report.pdf plan.tif --collection works` · into a collection of its own

`pagesight index s3://archive/1987/` · what lies in a bucket (`pip install 'pagesight[s3]'`)

`pagesight index scans/ --language de` · descriptions in German

`pagesight index photos/ --profile visual` · other questions

`pagesight index scans/ --budget-tokens 200000` · for as much as these allow

The same command again does only what is missing.
Exit codes: 0 all pages fine, 1 some failed, 2 usage or settings, 3 a service refused, 4 a budget is used up,
130 interrupted.
"""

LOCAL_READER_NOTE = (
    "No vision model is configured: pages are read by the local reader. Text is found, but nothing is described beyond "
    "what can be measured. Set JINA_API_KEY to have jina-vlm describe them."
)


def index(
    paths: Annotated[
        list[str], typer.Argument(help="Files and folders, here or in a bucket (`s3://…`); folders are walked.")
    ],
    collection: CollectionName = DEFAULT_COLLECTION,
    language: LanguageTag = None,
    profile: ProfileName = None,
    budget_tokens: BudgetTokens = None,
    max_pages: MaxPages = None,
    as_json: Json = False,
) -> None:
    """Make files searchable by what their pages show: render, read, archive and index every page."""
    settings = load()
    order = IndexRequest(
        roots=tuple(map(root_url, paths)),
        excluded=own_folders(settings),
        collection=collection_name(collection),
        language=normalise_tag(language) if language else None,
        default_language=settings.language,
        profile=load_profile(profile, settings.profiles_folder) if profile else None,
        max_pages=max_pages,
    )
    ran = work_order(order, settings, budget_tokens)
    if as_json:
        print_json(summary(ran.batch))
    else:
        print_summary(ran.batch)
    raise typer.Exit(ran.code())


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


@contextmanager
def interruptible(cancel: CancelToken) -> Iterator[list[int]]:
    """Turn the first Ctrl-C or SIGTERM into a stop; a second one ends the process at once. Yields the signals got."""
    got: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if got:
            os._exit(ExitCode.INTERRUPTED)
        got.append(number)
        cancel.stop()
        stderr().print(plain("Finishing the pages in flight; once more to stop at once."))

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

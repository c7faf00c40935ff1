"""`pagesight redescribe`: read stale pages again, with the current settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from pipeline.archive import Archive
from pipeline.batches.local_batch import IndexRequest
from pipeline.cli.exits import ExitCode
from pipeline.cli.fleet import PUBLISH_SECONDS, open_fleet, project_batch
from pipeline.cli.local_run import print_summary, run_here, summary
from pipeline.cli.options import BudgetTokens, CollectionFilter, Downgrade, Json, MaxPages
from pipeline.cli.output import batch_json, descriptions_kept_words, plain, print_json, rows, stderr, stdout, table
from pipeline.cli.signals import interruptible
from pipeline.core.errors import SettingsError
from pipeline.core.models import Batch, BatchEntry, Lane
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load
from pipeline.core.stale_filter import Reason, parse_conditions
from pipeline.maintenance.stale_pages import SHOWN, Stale, find_stale
from pipeline.maintenance.staleness import StaleDocument, first_pages, is_there
from pipeline.services import open_archive, open_current_recipe
from pipeline.verbs.lookup import require_collection

EXAMPLES = """
**Examples**

`pagesight redescribe --dry-run` · how many pages are stale, and why

`pagesight redescribe --where reason=fallback` · pages that were read without a model

`pagesight redescribe --collection works --where reason=profile --where reason=language --max-pages 500`

`pagesight redescribe --local --budget-tokens 200000` · in this process, at most this many tokens

A page is stale if the current settings would read it differently. Archived answers are reused.
Reasons: failed, fallback, model, revision, profile, language, render, ladder, suspect, other.

Exit codes: 0 done (also if nothing is stale), 2 usage or settings, 3 Redis or the archive refuses or is unreachable,
130 interrupted; with `--local` the codes of `pagesight index`.
"""


def redescribe(
    collection: CollectionFilter = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            "-w",
            metavar="CONDITION",
            help="Only pages that match: `reason=`, `collection=`, `document=` (start of an id, or part of a path), "
            "`language=` (as read). Repeat a field for alternatives; different fields must all match.",
            show_default="all",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what is stale.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Run in this process instead of the workers.")] = False,
    lane: Annotated[Lane, typer.Option("--lane", help="Priority in the queue.")] = Lane.BACKFILL,
    budget_tokens: BudgetTokens = None,
    max_pages: MaxPages = None,
    downgrade: Downgrade = False,
    as_json: Json = False,
) -> None:
    """Read stale pages again with the current settings, newest first."""
    if budget_tokens is not None and not (local or dry_run):
        raise SettingsError(
            "--budget-tokens limits the calls of one process, not of workers",
            remedy="Add --local, or limit the pages with --max-pages.",
        )
    settings = load()
    conditions = parse_conditions(where or ())
    archive = open_archive(settings)
    require_collection(archive, collection)
    cancel = CancelToken()
    with interruptible(cancel):
        found = [
            find_stale(
                archive,
                name,
                open_current_recipe(settings, archive, name),
                conditions,
                cancel,
                _is_here if local else _is_anywhere,
                downgrade=downgrade,
            )
            for name in ([collection] if collection else archive.collections.names())
        ]
    chosen = list(_bounded(found, max_pages))
    if not as_json:
        _print_found(found)
    if dry_run or not any(entries for _, entries in chosen):
        if as_json:
            print_json(_found_json(found) | {"batches": []})
        return
    if local:
        raise typer.Exit(_process_here(chosen, found, settings, budget_tokens, downgrade, as_json))
    _enqueue(chosen, found, archive, settings, lane, downgrade, as_json)


def _is_here(document: StaleDocument) -> bool:
    """Return whether this process can see the file: its disk may not be mounted."""
    return is_there(document.url)


def _is_anywhere(_document: StaleDocument) -> bool:
    """Return True: workers on other machines may see files that this one does not."""
    return True


#: A collection, and its pages to process.
Chosen = tuple[str, tuple[BatchEntry, ...]]


def _bounded(found: Iterable[Stale], max_pages: int | None) -> Iterator[Chosen]:
    """Yield each collection with its pages to process. The limit applies to all collections together."""
    left = max_pages
    for stale in found:
        entries = tuple(first_pages(stale.documents, left))
        if left is not None:
            left -= _pages(entries)
        yield stale.collection, entries


def _pages(entries: Iterable[BatchEntry]) -> int:
    return sum(len(entry.pages or ()) for entry in entries)


def _process_here(
    chosen: Iterable[Chosen],
    found: list[Stale],
    settings: Settings,
    budget_tokens: int | None,
    downgrade: bool,
    as_json: bool,
) -> ExitCode:
    """Process the pages in this process, one collection after another; return the first code other than OK."""
    batches: list[Batch] = []
    code, left = ExitCode.OK, budget_tokens
    for collection, entries in chosen:
        if not entries:
            continue
        order = IndexRequest(
            roots=(),
            excluded=(),
            collection=collection,
            language=None,
            default_language=settings.language,
            entries=entries,
            shown=(SHOWN,),
            again=True,
            downgrade=downgrade,
        )
        ran = run_here(order, settings, left)
        batches.append(ran.batch)
        if not as_json:
            print_summary(ran.batch)
        ended = ran.code()
        code = code or ended
        if ended in (ExitCode.REFUSED, ExitCode.INTERRUPTED, ExitCode.EXHAUSTED):
            break
        if left is not None:
            left -= ran.batch.tokens
    if as_json:
        print_json(_found_json(found) | {"batches": [summary(batch) for batch in batches]})
    return code


def _enqueue(
    chosen: Iterable[Chosen],
    found: list[Stale],
    archive: Archive,
    settings: Settings,
    lane: Lane,
    downgrade: bool,
    as_json: bool,
) -> None:
    from workers.client import EnqueueRequest
    from workers.recovery.retry import enqueue_any

    fleet = open_fleet(settings, archive, CancelToken().within(PUBLISH_SECONDS))
    fleet.queues.epoch()  # fails here if Redis is unreachable, before a batch is created
    begun: list[Batch] = []
    for collection, entries in chosen:
        order = EnqueueRequest(collection, None, settings.language, lane, downgrade=downgrade)
        batch = enqueue_any(fleet, order, iter(entries), SHOWN, again=True, on_entry=lambda _entry: None)
        if batch is not None:
            begun.append(batch)
            project_batch(archive, settings, batch)
    if as_json:
        print_json(_found_json(found) | {"batches": [batch_json(batch) for batch in begun]})
        return
    for batch in begun:
        stdout().print(plain(f"{batch.id}  {batch.collection}"))
        stderr().print(plain(f"Follow it with `pagesight status {batch.id} --watch`.", "dim"))


def _found_json(found: Iterable[Stale]) -> dict[str, Any]:
    return {
        "collections": [
            {
                "collection": stale.collection,
                "pages": stale.tally.pages,
                "stale": stale.tally.stale,
                "reasons": {reason.value: count for reason, count in stale.tally.reasons.items()},
                "suspect_left": stale.tally.suspect_left,
                "described_left": stale.tally.described_left,
                "away_left": stale.left_out,
            }
            for stale in found
        ]
    }


def _print_found(found: list[Stale]) -> None:
    if not found:
        stdout().print("No collections yet.")
        return
    grid = table("collection", "pages", "stale", "why")
    lines = [(stale.collection, stale.tally.pages, stale.tally.stale, _why(stale.tally.reasons)) for stale in found]
    stdout().print(rows(grid, lines))
    suspect = sum(stale.tally.suspect_left for stale in found)
    described = sum(stale.tally.described_left for stale in found)
    if suspect:
        words = f"{suspect} suspect pages are skipped: nothing has changed, so the model would answer the same."
        stdout().print(plain(words, "dim"))
    away = sum(stale.left_out for stale in found)
    if away:
        stdout().print(plain(f"{away} stale pages are skipped: this machine cannot see their files.", "dim"))
    if described:
        stdout().print(plain(descriptions_kept_words(described), "dim"))


def _why(reasons: Counter[Reason]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "nothing"

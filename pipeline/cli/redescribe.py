"""`pagesight redescribe`: pages that were read otherwise than they would be today, read anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from pipeline.archive import Archive
from pipeline.batches.local_batch import IndexRequest
from pipeline.cli.exits import ExitCode
from pipeline.cli.fleet import PUBLISH_SECONDS, open_fleet, project_batch
from pipeline.cli.local_run import print_summary, summary, work_order
from pipeline.cli.lookup import require_collection
from pipeline.cli.options import BudgetTokens, CollectionFilter, Json, MaxPages
from pipeline.cli.output import batch_json, plain, print_json, rows, stderr, stdout, table
from pipeline.cli.signals import interruptible
from pipeline.core.errors import SettingsError
from pipeline.core.models import Batch, BatchEntry, Lane
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load
from pipeline.core.stale_filter import Reason, parse_conditions
from pipeline.maintenance.stale_pages import SHOWN, Stale, find_stale
from pipeline.maintenance.staleness import StaleDocument, first_pages, is_there
from pipeline.services import open_archive, open_current_recipe

EXAMPLES = """
**Examples**

`pagesight redescribe --dry-run` · how many pages are not as they would be read today, and why

`pagesight redescribe --where reason=fallback` · those that were read without a model

`pagesight redescribe --collection works --where reason=profile --where reason=language --max-pages 500`

`pagesight redescribe --local --budget-tokens 200000` · in this process, for as much as these allow

Only questions are asked whose answers are not archived. Reasons: failed, fallback, model, revision, profile, language,
render, suspect, other.
Exit codes: 0 (also where nothing is stale), 2 usage or settings, 3 Redis or the archive refuses or is away,
130 interrupted; with `--local` those of `pagesight index`.
"""


def redescribe(
    collection: CollectionFilter = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            "-w",
            metavar="CONDITION",
            help="Only pages that meet it: `reason=`, `collection=`, `document=` (beginning of an id, or part of a "
            "path), `language=` (as read). Of one field any of several, of several fields each.",
            show_default="all",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only tell what is stale.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Work in this process rather than by the workers.")] = False,
    lane: Annotated[Lane, typer.Option("--lane", help="How soon, among what else is queued.")] = Lane.BACKFILL,
    budget_tokens: BudgetTokens = None,
    max_pages: MaxPages = None,
    as_json: Json = False,
) -> None:
    """Read pages anew that were read otherwise than they would be today, the newest first."""
    if budget_tokens is not None and not (local or dry_run):
        raise SettingsError(
            "--budget-tokens bounds the calls of one process, not those of workers",
            remedy="Give --local with it, or bound the pages with --max-pages.",
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
            )
            for name in ([collection] if collection else archive.collections())
        ]
    chosen = list(_bounded(found, max_pages))
    if not as_json:
        _print_found(found)
    if dry_run or not any(entries for _, entries in chosen):
        if as_json:
            print_json(_found_json(found) | {"batches": []})
        return
    if local:
        raise typer.Exit(_work_here(chosen, found, settings, budget_tokens, as_json))
    _enqueue(chosen, found, archive, settings, lane, as_json)


def _is_here(document: StaleDocument) -> bool:
    """Whether this process sees its file: a disk may not be mounted."""
    return is_there(document.url)


def _is_anywhere(_document: StaleDocument) -> bool:
    """Workers on other machines may see what this one does not."""
    return True


#: A collection, and what is to be worked of it.
Chosen = tuple[str, tuple[BatchEntry, ...]]


def _bounded(found: Iterable[Stale], max_pages: int | None) -> Iterator[Chosen]:
    """Yield each collection with what is to be worked of it; the bound is on all of them together."""
    left = max_pages
    for stale in found:
        entries = tuple(first_pages(stale.documents, left))
        if left is not None:
            left -= _pages(entries)
        yield stale.collection, entries


def _pages(entries: Iterable[BatchEntry]) -> int:
    return sum(len(entry.pages or ()) for entry in entries)


def _work_here(
    chosen: Iterable[Chosen], found: list[Stale], settings: Settings, budget_tokens: int | None, as_json: bool
) -> ExitCode:
    """Work the pages in this process, one collection after the other; return the first code that is not OK."""
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
        )
        ran = work_order(order, settings, left)
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
    chosen: Iterable[Chosen], found: list[Stale], archive: Archive, settings: Settings, lane: Lane, as_json: bool
) -> None:
    from workers.client import EnqueueRequest
    from workers.recovery.retry import enqueue_any

    fleet = open_fleet(settings, archive, CancelToken().within(PUBLISH_SECONDS))
    fleet.lanes.epoch()  # a Redis that is away is noticed before anything is begun
    begun: list[Batch] = []
    for collection, entries in chosen:
        order = EnqueueRequest(collection, None, settings.language, lane)
        batch = enqueue_any(fleet, order, iter(entries), SHOWN, again=True, chosen=lambda _entry: None)
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
        stdout().print("There are no collections.")
        return
    grid = table("collection", "pages", "stale", "why")
    lines = [(stale.collection, stale.tally.pages, stale.tally.stale, _why(stale.tally.reasons)) for stale in found]
    stdout().print(rows(grid, lines))
    suspect = sum(stale.tally.suspect_left for stale in found)
    described = sum(stale.tally.described_left for stale in found)
    if suspect:
        words = f"{suspect} pages are suspect, and nothing has changed: left, since the same answers would come again."
        stdout().print(plain(words, "dim"))
    away = sum(stale.left_out for stale in found)
    if away:
        stdout().print(plain(f"{away} stale pages are left: their files are not seen from here.", "dim"))
    if described:
        words = f"{described} pages that a model has described are left: none is configured."
        stdout().print(plain(words, "dim"))


def _why(reasons: Counter[Reason]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "nothing"

"""`pagesight enqueue`: queue files for the workers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.archive import Archive
from pipeline.batches.lifecycle import DEFAULT_COLLECTION, collection_name
from pipeline.cli.configuration import load_apart_from
from pipeline.cli.fleet import PUBLISH_SECONDS, install_indices, open_fleet, project_batch
from pipeline.cli.options import (
    BudgetTokens,
    CollectionName,
    Downgrade,
    Exclude,
    Include,
    Json,
    LanguageTag,
    MaxPages,
    ProfileName,
    file_patterns,
)
from pipeline.cli.output import batch_json, plain, print_json, stderr
from pipeline.cli.status_data import StatusCollector
from pipeline.cli.status_view import follow_batch
from pipeline.core.languages import normalise_tag
from pipeline.core.models import Allowance, Batch, Lane
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings
from pipeline.services import open_archive
from pipeline.sources import display_path, is_local, root_url
from pipeline.vision.profile import load_profile

if TYPE_CHECKING:
    from workers.client import EnqueueRequest

EXAMPLES = """
**Examples**

`pagesight enqueue scans/` · a folder with everything below it

`pagesight enqueue s3://scans/2026/ --collection works --language de --lane backfill`

`pagesight enqueue photos/ --profile visual` · with another profile of questions

`pagesight enqueue scans/ --budget-tokens 2000000` · at most this many tokens, however many workers run

`pagesight enqueue letter.pdf --lane urgent --wait` · first in the queue, and show progress to the end

`batch=$(pagesight enqueue scans/)` · standard output is the batch id and nothing else

Exit codes: 0 queued (with `--wait`: every page succeeded), 1 with `--wait`: some pages failed, 2 usage or settings,
3 Redis refuses or is unreachable, and no batch was created (with `--wait` also: the fleet is halted), 4 with `--wait`:
the budget is used up, 130 interrupted while waiting (the batch continues).
"""


def enqueue(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE…", help="Files, folders, or URLs such as s3://bucket/folder/.")
    ],
    collection: CollectionName = DEFAULT_COLLECTION,
    language: LanguageTag = None,
    profile: ProfileName = None,
    include: Include = None,
    exclude: Exclude = None,
    budget_tokens: BudgetTokens = None,
    max_pages: MaxPages = None,
    downgrade: Downgrade = False,
    lane: Annotated[Lane, typer.Option("--lane", help="Priority in the queue.")] = Lane.NORMAL,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Show progress until the batch has ended.")] = False,
    as_json: Json = False,
) -> None:
    """Queue files for the workers. The batch id is printed at once; the workers list, render and index the files."""
    from workers.client import EnqueueRequest

    settings = load_apart_from(sources)
    roots = outermost(map(root_url, sources))
    order = EnqueueRequest(
        collection=collection_name(collection),
        language=normalise_tag(language) if language else None,
        default_language=settings.language,
        lane=lane,
        profile=load_profile(profile, settings.profiles_folder) if profile else None,
        budget=Allowance(tokens=budget_tokens, pages=max_pages),
        downgrade=downgrade,
        patterns=file_patterns(roots, include, exclude),
    )
    archive = open_archive(settings)
    batch = _begin(archive, settings, roots, order)
    if not wait:
        _tell(batch, as_json)
        return
    if not as_json:
        _tell(batch, as_json)
    collector = StatusCollector(settings, archive)
    code = follow_batch(archive, collector, batch.id)
    if as_json:
        status = collector.batch(batch.id)
        assert status is not None
        print_json({"batch": batch.id} | status.json())
    raise typer.Exit(code)


def outermost(roots: Iterable[str]) -> list[str]:
    """Return root URLs without duplicates and without roots inside another root."""
    kept: list[str] = []
    # Sorted by path segments, everything below a folder follows directly after it.
    for root in sorted(set(roots), key=lambda url: (url.rstrip("/").split("/"), url)):
        if not kept or not _is_inside(root, kept[-1]):
            kept.append(root)
    return kept


def _is_inside(url: str, root: str) -> bool:
    if is_local(root):
        return url.startswith(root.rstrip("/") + "/")
    # The URLs of folders in a bucket end with a slash; an object may have the same name without it.
    return root.endswith("/") and url.startswith(root)


def _begin(archive: Archive, settings: Settings, roots: list[str], order: EnqueueRequest) -> Batch:
    fleet = open_fleet(settings, archive, CancelToken().within(PUBLISH_SECONDS))
    fleet.queues.epoch()  # fails here if Redis is unreachable, before a batch is created
    installed = install_indices(settings, archive, order.profile)
    batch = fleet.enqueue(order, roots, map(display_path, roots))
    if installed:
        project_batch(archive, settings, batch)
    if not fleet.workers():
        stderr().print(plain("No worker is running: start one with `pagesight worker`.", "yellow"))
    return batch


def _tell(batch: Batch, as_json: bool) -> None:
    if as_json:
        print_json({"batch": batch.id} | batch_json(batch))
    else:
        typer.echo(batch.id)
        stderr().print(plain(f"Follow it with `pagesight status {batch.id} --watch`.", "dim"))

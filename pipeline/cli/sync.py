"""`pagesight sync`: compare a folder with its collection, and enqueue the differences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from pipeline.archive import Archive
from pipeline.batches.lifecycle import DEFAULT_COLLECTION, collection_name
from pipeline.cli.configuration import load_apart_from
from pipeline.cli.fleet import install_indices, open_fleet, project_batch
from pipeline.cli.options import CollectionName, Exclude, Include, Json, ProfileName, file_patterns
from pipeline.cli.output import plain, print_json, rows, stderr, stdout, table
from pipeline.core.models import Batch, FilePatterns
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings
from pipeline.maintenance.folder_sync import (
    FolderComparison,
    TakenAway,
    compare,
    require_few,
    require_folder,
    take_away,
)
from pipeline.services import open_archive, open_index, open_looker, open_projector, own_folders
from pipeline.sources import PathFilter, display_path, root_url, walk
from pipeline.vision.profile import Profile, load_profile

if TYPE_CHECKING:
    from workers.client import Fleet

EXAMPLES = """
**Examples**

`pagesight sync scans/ --dry-run` · list new, changed, moved and vanished files

`pagesight sync scans/` · enqueue new, changed and moved files; list vanished ones and keep them

`pagesight sync scans/ --delete` · also delete the records of vanished files

`pagesight sync s3://bucket/scans/ --collection works`

Exit codes: 0 done, 2 usage, an empty folder, or too many deletions without --force, 3 a service refuses or is
unreachable.
"""
#: Lines shown of each kind; `--json` lists all.
SHOWN = 50


def sync(
    folder: Annotated[str, typer.Argument(help="Folder, or URL of a folder in a bucket.")],
    collection: CollectionName = DEFAULT_COLLECTION,
    profile: ProfileName = None,
    include: Include = None,
    exclude: Exclude = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete records of vanished files.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the differences.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Continue even if the folder is empty, or many files vanished.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare a folder with its collection, and enqueue the differences."""
    settings = load_apart_from([folder])
    name = collection_name(collection)
    named = load_profile(profile, settings.profiles_folder) if profile else None
    url = root_url(folder)
    patterns = file_patterns([url], include, exclude)
    cancel = CancelToken()
    archive = open_archive(settings, cancel)
    comparison = _compare(settings, archive, name, url, patterns, cancel)
    if not as_json:
        _print(comparison)
    if not force:
        require_folder(comparison, url)
        if delete:
            require_few(comparison)
    taken, batch = TakenAway(0, 0, 0), None
    if not dry_run:
        order = SyncOrder(name, named, patterns, display_path(url), delete)
        taken, batch = _carry_out(order, comparison, settings, archive, cancel)
    if as_json:
        print_json(_as_json(comparison, taken, batch))
    elif not dry_run:
        _print_outcome(comparison, taken, batch, delete)


@dataclass(frozen=True, slots=True)
class SyncOrder:
    """What a person asks for."""

    collection: str
    profile: Profile | None
    patterns: FilePatterns | None
    shown: str
    """The folder, for people."""
    delete: bool


def _compare(
    settings: Settings,
    archive: Archive,
    collection: str,
    url: str,
    patterns: FilePatterns | None,
    cancel: CancelToken,
) -> FolderComparison:
    found = walk([url], own_folders(settings), cancel, choose=PathFilter(patterns).listing)
    columns = (TextColumn("{task.completed} files compared"), TimeElapsedColumn())
    with (
        open_looker(settings, cancel) as files,
        Progress(*columns, console=stderr(), disable=not stderr().is_terminal, transient=True) as progress,
    ):
        task = progress.add_task("", total=None)
        return compare(
            archive, files, collection, url, found, lambda count: progress.advance(task, count), patterns=patterns
        )


def _carry_out(
    order: SyncOrder, comparison: FolderComparison, settings: Settings, archive: Archive, cancel: CancelToken
) -> tuple[TakenAway, Batch | None]:
    """Delete first, then enqueue: the batch then restores a document that it finds at another path."""
    fleet = _fleet(comparison, settings, archive, cancel)
    taken = TakenAway(0, 0, 0)
    if comparison.moved or (order.delete and comparison.vanished):
        with closing(open_index(settings)) as index:
            index.ensure()
            taken = take_away(comparison, open_projector(settings, archive, index, cancel), delete=order.delete)
    if fleet is None:
        return taken, None
    from workers.client import EnqueueRequest

    installed = install_indices(settings, archive, order.profile)
    request = EnqueueRequest(order.collection, None, settings.language, profile=order.profile, patterns=order.patterns)
    batch = fleet.enqueue_sources(request, comparison.entries, [order.shown])
    if installed:
        project_batch(archive, settings, batch)
    return taken, batch


def _fleet(comparison: FolderComparison, settings: Settings, archive: Archive, cancel: CancelToken) -> Fleet | None:
    """Return the fleet if there is something to enqueue. An unreachable Redis fails here, before changes."""
    if not (comparison.new or comparison.changed or comparison.moved):
        return None
    fleet = open_fleet(settings, archive, cancel)
    fleet.queues.epoch()
    return fleet


def _lines(comparison: FolderComparison) -> Iterator[tuple[str, Sequence[tuple[str, str]]]]:
    """Yield each kind of difference with its paths: current path, former path."""
    yield "new", [(display_path(found.url), "") for found in comparison.new]
    yield "changed", [(display_path(found.url), "") for found in comparison.changed]
    yield "moved", [(display_path(move.url), move.source.path) for move in comparison.moved]
    yield "vanished", [("", source.path) for source in comparison.vanished]


def _print(comparison: FolderComparison) -> None:
    grid = table("", "is at", "was at")
    for kind, places in _lines(comparison):
        rows(grid, ((kind, *place) for place in places[:SHOWN]))
        if len(places) > SHOWN:
            rows(grid, [(kind, f"… and {len(places) - SHOWN} more", "")])
    if grid.row_count:
        stdout().print(grid)
    counts = ", ".join(f"{len(places)} {kind}" for kind, places in _lines(comparison))
    stdout().print(plain(f"{comparison.unchanged} unchanged, {counts}; {comparison.known} were known."))


def _print_outcome(comparison: FolderComparison, taken: TakenAway, batch: Batch | None, delete: bool) -> None:
    if batch is not None:
        stdout().print(plain(f"batch {batch.id}"))
    if delete:
        stdout().print(plain(f"{taken.documents} documents deleted, with {taken.pages} pages."))
    elif comparison.vanished:
        stderr().print("Vanished files stay searchable; --delete removes them.")


def _as_json(comparison: FolderComparison, taken: TakenAway, batch: Batch | None) -> dict[str, Any]:
    return {
        "batch": batch.id if batch else None,
        "known": comparison.known,
        "unchanged": comparison.unchanged,
        "new": _paths(found.url for found in comparison.new),
        "changed": _paths(found.url for found in comparison.changed),
        "moved": [{"from": move.source.path, "to": display_path(move.url)} for move in comparison.moved],
        "vanished": [source.path for source in comparison.vanished],
        "deleted": {"documents": taken.documents, "pages": taken.pages},
    }


def _paths(urls: Iterable[str]) -> list[str]:
    return [display_path(url) for url in urls]

"""`pagesight repair`: compare sources, archive and index, and repair the differences."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from pipeline.archive import Archive
from pipeline.batches.lifecycle import close_killed
from pipeline.cli.exits import ExitCode
from pipeline.cli.fleet import PUBLISH_SECONDS, open_fleet
from pipeline.cli.options import CollectionFilter, Json
from pipeline.cli.output import plain, print_json, printable, ranges, stderr, stdout
from pipeline.core.retry import CancelToken
from pipeline.core.settings import load
from pipeline.maintenance.audit import ONLY_REPORTED, Difference
from pipeline.projection.ownership import require_archive_of_indices
from pipeline.services import open_archive, open_index, open_leases, open_projector
from pipeline.verbs.lookup import require_collection

EXAMPLES = """
**Examples**

`pagesight repair --dry-run` · list the differences between sources, archive and index

`pagesight repair` · list them, and enqueue missing pages and records

`pagesight repair --collection works --json | jq .totals`

Pages that a running batch has still to process are not differences.

Exit codes: 0 no differences, 1 differences were found, 2 usage or settings, 3 Elasticsearch or Redis refuses or is
unreachable.
"""


def repair(
    collection: CollectionFilter = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the differences.")] = False,
    as_json: Json = False,
) -> None:
    """Compare sources, archive and index page by page, and repair the differences through the queue."""
    from workers.recovery.repair import repair as compare_and_repair

    settings = load()
    archive = open_archive(settings)
    require_collection(archive, collection)
    close_killed(archive, open_leases(settings))  # otherwise pages of a run killed on this machine count as in progress
    names = [collection] if collection else None
    fleet = open_fleet(settings, archive, CancelToken().within(PUBLISH_SECONDS))
    found: list[Difference] = []
    columns = (TextColumn("repair"), BarColumn(), TextColumn("{task.completed} of {task.total}"), TimeElapsedColumn())
    with (
        closing(open_index(settings)) as index,
        Progress(*columns, console=stderr(), disable=not stderr().is_terminal) as progress,
    ):
        index.health()  # fails at once if the cluster is unreachable, instead of waiting
        if not dry_run:
            index.ensure()
            require_archive_of_indices(archive, index)
        task = progress.add_task("compared", total=_total(archive, names) if stderr().is_terminal else None)
        comparison = compare_and_repair(
            archive,
            open_projector(settings, archive, index, CancelToken()),
            fleet,
            dry_run=dry_run,
            cancel=CancelToken(),
            collections=names,
            found=found.append if as_json else _printer(progress),
            advance=lambda: progress.advance(task),
        )
    if as_json:
        print_json(
            {
                "differences": [_json(difference) for difference in found],
                **asdict(comparison),
                "dry_run": dry_run,
                "damaged": list(archive.damaged),
            }
        )
    else:
        for line in _totals(comparison, dry_run):
            stdout().print(line)
    raise typer.Exit(ExitCode.SOME_FAILED if comparison.differences else ExitCode.OK)


def _total(archive: Archive, names: list[str] | None) -> int:
    """Return the number of documents, sources and batches to compare. Only names are read."""
    collections = archive.collections.names() if names is None else names
    inside = sum(len(archive.documents(name)) + len(archive.sources(name).names()) for name in collections)
    return inside + len(archive.batches.names())


def _printer(progress: Progress) -> Callable[[Difference], None]:
    def show(difference: Difference) -> None:
        place = printable(difference.path or difference.id)
        pages = f" page {ranges(difference.pages)}" if difference.pages else ""
        line = Text.assemble(
            (f"{difference.kind}  ", "yellow"),
            f"{difference.what} {place}{pages}  {difference.collection or ''}  ",
            (printable(difference.why), "dim"),
        )
        stdout().print(line)

    return show


def _json(difference: Difference) -> dict[str, Any]:
    return asdict(difference)


def _totals(comparison: Any, dry_run: bool) -> list[Text]:
    if not comparison.differences:
        return [plain("No differences: sources, archive and index agree.")]
    lines = [plain(f"{count} {kind}") for kind, count in sorted(comparison.totals.items())]
    left = sum(comparison.totals.get(kind, 0) for kind in ONLY_REPORTED)
    if left:
        lines.append(plain(f"{left} of them are only reported: docs/commands.md says why and what to do."))
    if dry_run:
        return [*lines, plain("Nothing was done: this was a dry run.", "dim")]
    lines.append(plain(f"{comparison.published} messages published, {len(comparison.batches)} batches started."))
    return lines + [plain(f"Follow it with `pagesight status {name} --watch`.", "dim") for name in comparison.batches]

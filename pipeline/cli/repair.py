"""`pagesight repair`."""

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
from pipeline.cli.lookup import require_collection
from pipeline.cli.options import CollectionFilter, Json
from pipeline.cli.output import plain, print_json, printable, ranges, stderr, stdout
from pipeline.core.retry import CancelToken
from pipeline.core.settings import load
from pipeline.core.url_signing import Signer
from pipeline.maintenance.audit import ONLY_REPORTED, Difference
from pipeline.projection.projector import Projector
from pipeline.services import open_archive, open_index, open_leases

EXAMPLES = """
**Examples**

`pagesight repair --dry-run` · what differs between sources, archive and index

`pagesight repair` · the same, and enqueue exactly what is missing

`pagesight repair --collection works --json | jq .totals`

While a batch is being worked, what it has not come to yet is no difference.
Exit codes: 0 no difference, 1 there were differences, 2 usage or settings, 3 Elasticsearch or Redis refuses or is away.
"""


def repair(
    collection: CollectionFilter = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what differs.")] = False,
    as_json: Json = False,
) -> None:
    """Compare sources, archive and index page by page, and enqueue exactly what is missing."""
    from workers.recovery.repair import repair as compare_and_mend

    settings = load()
    archive = open_archive(settings)
    require_collection(archive, collection)
    close_killed(archive, open_leases(settings))  # else the pages of a run that was killed here count as being worked
    names = [collection] if collection else None
    fleet = open_fleet(settings, archive, CancelToken().within(PUBLISH_SECONDS))
    found: list[Difference] = []
    columns = (TextColumn("repair"), BarColumn(), TextColumn("{task.completed} of {task.total}"), TimeElapsedColumn())
    with (
        closing(open_index(settings)) as index,
        Progress(*columns, console=stderr(), disable=not stderr().is_terminal) as progress,
    ):
        index.health()  # a cluster that is away is an error here, and nothing to be waited for
        if not dry_run:
            index.ensure()
        task = progress.add_task("compared", total=_things(archive, names) if stderr().is_terminal else None)
        comparison = compare_and_mend(
            archive,
            Projector(archive, index, CancelToken(), Signer(settings.serve_secret)),
            fleet,
            dry_run=dry_run,
            cancel=CancelToken(),
            collections=names,
            found=found.append if as_json else _printer(progress),
            advance=lambda: progress.advance(task),
        )
    if as_json:
        print_json(
            {"differences": [_json(difference) for difference in found], **asdict(comparison), "dry_run": dry_run}
        )
    else:
        for line in _totals(comparison, dry_run):
            stdout().print(line)
    raise typer.Exit(ExitCode.SOME_FAILED if comparison.differences else ExitCode.OK)


def _things(archive: Archive, names: list[str] | None) -> int:
    """Return how many documents, sources and batches there are to be looked at. Only names are read."""
    collections = archive.collections() if names is None else names
    inside = sum(len(archive.documents(name)) + len(archive.source_ids(name)) for name in collections)
    return inside + len(archive.batches())


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
        lines.append(plain(f"{left} of them are only reported: see `pagesight repair --help` and docs/commands.md."))
    if dry_run:
        return [*lines, plain("Nothing was done: this was a dry run.", "dim")]
    lines.append(plain(f"{comparison.published} messages published, {len(comparison.batches)} batches begun."))
    return lines + [plain(f"Follow it with `pagesight status {name} --watch`.", "dim") for name in comparison.batches]

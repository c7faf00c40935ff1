"""`pagesight backup` and `restore`: snapshots of the indices, and whether the archive is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from pipeline.archive import Archive
from pipeline.cli.exits import ExitCode
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, printable, rows, stderr, stdout, table
from pipeline.cli.signals import interruptible
from pipeline.core.errors import SettingsError
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings, load
from pipeline.core.url_signing import Signer
from pipeline.maintenance.archive_check import ArchiveCounts, ArchiveFinding, findings
from pipeline.projection.projector import Projector
from pipeline.projection.rebuild import show_restored
from pipeline.search import DEFAULT_REPOSITORY, Snapshot
from pipeline.services import open_archive, open_index

BACKUP_EXAMPLES = """
**Examples**

`pagesight backup --location /mnt/backup/elasticsearch` · the first time: make the repository, then take a snapshot

`pagesight backup` · take a snapshot, then look whether the archive is whole; after it copy the archive

`pagesight backup --list` · the snapshots there are

`pagesight backup --check` · only look whether the archive, or a copy of it (PAGESIGHT_ARCHIVE), is whole

Exit codes: 0, 1 something is missing in the archive, 2 usage or settings, 3 the cluster or the archive refuses.
"""
RESTORE_EXAMPLES = """
**Examples**

`pagesight restore pagesight-20261130t021700-1a2b3c` · with what was archived since, in place of what is live

`pagesight restore pagesight-20261130t021700-1a2b3c --as-it-was` · where the archive is lost

`pagesight reindex --rollback` shows the former indices again.
Exit codes: 0, 1 Elasticsearch refused some records, 2 no such snapshot or usage, 3 the cluster or the archive refuses.
"""

Repository = Annotated[
    str, typer.Option("--repository", "-r", metavar="NAME", help="The cluster's repository for snapshots.")
]


def backup(
    repository: Repository = DEFAULT_REPOSITORY,
    location: Annotated[
        str | None,
        typer.Option(
            "--location",
            metavar="FOLDER",
            help="Make the repository there: a folder that every node sees, below its `path.repo`.",
            show_default="the repository is there",
        ),
    ] = None,
    only_list: Annotated[bool, typer.Option("--list", "-l", help="Only list the snapshots.")] = False,
    only_check: Annotated[bool, typer.Option("--check", help="Only look whether the archive is whole.")] = False,
    as_json: Json = False,
) -> None:
    """Take a snapshot of the indices, and look whether the archive is whole."""
    if only_list + only_check + (location is not None) > 1:
        raise SettingsError("--list, --check and --location exclude one another", remedy="Name one of them.")
    settings = load()
    if only_list:
        _print_snapshots(_snapshots(settings, repository), as_json)
        return
    snapshot = None if only_check else _take(settings, repository, location)
    if snapshot is not None and not as_json:
        stdout().print(plain(f"Snapshot {snapshot.name}: {len(snapshot.indices)} indices, {snapshot.seconds:.1f} s."))
    archive, looked = open_archive(settings), ArchiveCounts()
    found = _look(archive, looked, as_json)
    if as_json:
        print_json(
            {
                "snapshot": _json(snapshot) if snapshot else None,
                "archive": {"location": archive.url, **asdict(looked)},
                "findings": [asdict(finding) for finding in found],
            }
        )
    raise typer.Exit(ExitCode.SOME_FAILED if looked.findings else ExitCode.OK)


def _snapshots(settings: Settings, repository: str) -> list[Snapshot]:
    with closing(open_index(settings)) as index:
        return index.snapshots(repository, CancelToken()).all()


def _take(settings: Settings, repository: str, location: str | None) -> Snapshot:
    with closing(open_index(settings)) as index, _progress("snapshot", DownloadColumn()) as (progress, task):
        snapshots = index.snapshots(repository, CancelToken())
        if location is not None:
            snapshots.register(location)
        return snapshots.take(lambda done, total: progress.update(task, completed=done, total=total))


def _look(archive: Archive, looked: ArchiveCounts, as_json: bool) -> list[ArchiveFinding]:
    """Print what is missing as it is found, and how much was looked at; return it only where it is printed as JSON."""
    kept: list[ArchiveFinding] = []
    with _progress("archive", TextColumn("{task.completed} documents and sources")) as (progress, task):
        for finding in findings(archive, looked, lambda: progress.advance(task)):
            if as_json:
                kept.append(finding)
            else:
                stdout().print(_line(finding))
    if not as_json:
        words = f"{looked.documents} documents, {looked.pages} pages and {looked.sources} sources"
        outcome = f"{looked.findings} findings" if looked.findings else "the archive is whole"
        stdout().print(plain(f"Looked at {words}: {outcome}."))
    return kept


def _line(finding: ArchiveFinding) -> Text:
    place = f"  page {finding.page} of {finding.document}" if finding.document else ""
    return Text.assemble(
        (f"{finding.flaw}  ", "yellow"), printable(finding.name), (f"  {printable(finding.collection)}{place}", "dim")
    )


def _print_snapshots(snapshots: list[Snapshot], as_json: bool) -> None:
    if as_json:
        print_json({"snapshots": [_json(snapshot) for snapshot in snapshots]})
        return
    if not snapshots:
        stdout().print("There is no snapshot of ours.")
        return
    facts = (
        (snapshot.name, snapshot.state, f"{snapshot.started_at:%Y-%m-%d %H:%M:%S}", f"{snapshot.seconds:.1f}")
        for snapshot in snapshots
    )
    stdout().print(rows(table("snapshot", "state", "begun (UTC)", "seconds"), facts))


def _json(snapshot: Snapshot) -> dict[str, Any]:
    return asdict(snapshot) | {"started_at": snapshot.started_at.isoformat()}


def restore(
    snapshot: Annotated[str, typer.Argument(help="Its name: see `pagesight backup --list`.")],
    repository: Repository = DEFAULT_REPOSITORY,
    as_it_was: Annotated[
        bool, typer.Option("--as-it-was", help="Show it without a look at the archive, where that is lost.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Restore a snapshot into new indices, bring them up to date from the archive, and show them."""
    settings, cancel = load(), CancelToken()
    archive = open_archive(settings)
    if not as_it_was and not archive.collections.names():
        raise SettingsError(
            f"the archive at {archive.url} is empty, so that no record could be held against it",
            remedy="See that PAGESIGHT_ARCHIVE is right. Where the archive is lost, add --as-it-was.",
        )
    with closing(open_index(settings)) as index, interruptible(cancel):
        index.health()  # a cluster that is away is an error here, and nothing to be waited for
        with _progress("snapshot", DownloadColumn()) as (progress, task):
            snapshots = index.snapshots(repository, cancel)
            generation = snapshots.restore(
                snapshot, lambda done, total: progress.update(task, completed=done, total=total)
            )
        projector = Projector(archive, index, cancel, Signer(settings.serve_secret))
        with _progress("archive", TextColumn("{task.completed} pages looked at")) as (progress, task):
            done = show_restored(
                projector, generation, lambda step, pages: progress.advance(task, pages), as_it_was=as_it_was
            )
    if as_json:
        refused = {key: failure.message for key, failure in done.refused.items()}
        print_json({"indices": done.indices, "former": done.former, "written": done.written, "refused": refused})
    else:
        stdout().print(plain(f"Live now: {', '.join(done.indices)}"))
        if done.former:
            stdout().print(plain(f"Kept for `pagesight reindex --rollback`: {', '.join(done.former)}", "dim"))
        stdout().print(plain(f"{done.written} records of pages brought up to date, {len(done.refused)} refused."))
    raise typer.Exit(ExitCode.SOME_FAILED if done.refused else ExitCode.OK)


@contextmanager
def _progress(what: str, column: ProgressColumn) -> Iterator[tuple[Progress, Any]]:
    columns = (TextColumn(what), BarColumn(), column, TimeElapsedColumn())
    with Progress(*columns, console=stderr(), disable=not stderr().is_terminal) as progress:
        yield progress, progress.add_task(what, total=None)

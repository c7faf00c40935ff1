"""`pagesight archive`: check whether the archive, or a copy of it, is complete; accept another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from pipeline.cli.exits import ErrorReportingGroup, ExitCode
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, printable, stderr, stdout
from pipeline.core.errors import ServiceRefused, ServiceUnavailable, SettingsError
from pipeline.core.settings import Settings, load
from pipeline.maintenance.archive_check import ArchiveCounts, ArchiveFinding, findings
from pipeline.services import adopt_archive, open_archive, open_index

CHECK_EXAMPLES = """
**Examples**

`pagesight archive check` · list every file that is missing or damaged

`pagesight archive check --copy /mnt/backup/archive` · check a backup before you need it

`pagesight archive check --repair` · mend what is damaged; then `pagesight repair` reads the pages that are due

`pagesight archive check --images` · also read every page image, after a disk has failed

`pagesight archive check --json | jq '.findings[].name'`

Exit codes: 0 complete, or all of it was mended, 1 something is missing or damaged, 2 usage or settings, 3 the archive
cannot be used.
"""

ADOPT_EXAMPLES = """
Commands and workers refuse an archive that is not the one which they know at its location: mostly its disk is not
mounted. Use this only where another or a new archive is there on purpose.

**Examples**

`pagesight archive adopt`

Exit codes: 0 accepted, 2 usage or settings, 3 the archive, Redis or Elasticsearch cannot be used.
"""

app = typer.Typer(
    cls=ErrorReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The archive: check it, or accept another one at its location.",
)


@app.callback()
def _root() -> None:
    pass


@app.command("check", epilog=CHECK_EXAMPLES)
def check(
    copy: Annotated[
        str | None,
        typer.Option(
            "--copy",
            metavar="URL",
            help="Check a copy of the archive: a folder, or the URL of a bucket.",
            show_default="PAGESIGHT_ARCHIVE",
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend damaged files, and have incomplete pages read again.")
    ] = False,
    images: Annotated[
        bool, typer.Option("--images", help="Also read every page image; by default images are checked by name.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that the archive is complete: every file is readable, and every file that a reading names exists."""
    if repair and copy:
        raise SettingsError("--repair mends the archive, not a copy", remedy="Leave out --copy, or --repair.")
    settings = load()
    archive = open_archive(settings.model_copy(update={"archive": copy}) if copy else settings)
    counts = ArchiveCounts()
    with _progress() as progress:
        task = progress.add_task("archive", total=None)
        found = findings(archive, counts, lambda: progress.advance(task), mends=repair, reads_images=images)
        if as_json:
            listed = [asdict(finding) for finding in found]
            print_json({"archive": {"location": archive.url, **asdict(counts)}, "findings": listed})
        else:
            _print(found, counts)
    raise typer.Exit(ExitCode.SOME_FAILED if counts.findings > counts.mended else ExitCode.OK)


@app.command("adopt", epilog=ADOPT_EXAMPLES)
def adopt() -> None:
    """Accept what is at the archive's location now, after another archive was there before."""
    from workers.redis.connection import connect  # here, since `archive check` needs no Redis
    from workers.redis.queues import RedisQueues

    settings = load()
    identifier = adopt_archive(settings)
    _give("fleet", bool(settings.redis_url), lambda: RedisQueues(connect(settings)).replace_archive(identifier))
    _give("indices", bool(settings.elasticsearch_url), lambda: _name_in_indices(settings, identifier))
    stdout().print(plain(f"The archive at {settings.archive_url} is {identifier}."))


def _give(whom: str, is_configured: bool, give: Callable[[], None]) -> None:
    """Give a service the id of the archive. One that was not configured may be absent."""
    try:
        give()
    except (ServiceRefused, ServiceUnavailable) as error:
        if is_configured:
            raise
        stderr().print(plain(f"The {whom} did not get the id of the archive: {error}."))


def _name_in_indices(settings: Settings, identifier: str) -> None:
    with closing(open_index(settings)) as index:
        index.generations.name_archive(identifier)


def _progress() -> Progress:
    columns = (TextColumn("archive"), TextColumn("{task.completed} documents and sources"), TimeElapsedColumn())
    return Progress(*columns, console=stderr(), disable=not stderr().is_terminal)


def _print(found: Iterator[ArchiveFinding], counts: ArchiveCounts) -> None:
    """Print each finding as soon as it is found, then the totals."""
    for finding in found:
        stdout().print(_line(finding))
    stdout().print(
        plain(
            f"Checked {counts.documents} documents, {counts.pages} pages and {counts.sources} sources: "
            f"{_outcome(counts)}."
        )
    )


def _line(finding: ArchiveFinding) -> Text:
    page = f"  page {finding.page} of {finding.document}" if finding.document else ""
    return Text.assemble(
        (f"{finding.flaw}  ", "yellow"),
        printable(finding.name),
        (f"  {printable(finding.collection or '')}{page}{'  mended' if finding.mended else ''}", "dim"),
    )


def _outcome(counts: ArchiveCounts) -> str:
    if not counts.collections:
        return "the archive is empty"
    if not counts.findings:
        return "the archive is complete"
    mended = f", {counts.mended} of them mended" if counts.mended else ""
    return f"{counts.findings} missing or damaged{mended}"

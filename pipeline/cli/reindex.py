"""`pagesight reindex`: rebuild the indices from the archive."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from pipeline.archive import Archive
from pipeline.cli.exits import ExitCode
from pipeline.cli.options import CollectionFilter, Json
from pipeline.cli.output import plain, print_json, stderr, stdout
from pipeline.cli.progress import LiveProgress, Rate
from pipeline.cli.signals import interruptible
from pipeline.core.errors import SettingsError
from pipeline.core.retry import CancelToken
from pipeline.core.settings import load
from pipeline.projection.ownership import name_archive
from pipeline.projection.projector import Projector
from pipeline.projection.rebuild import (
    Intended,
    Reindexed,
    intended,
    intended_prune,
    intended_rollback,
    prune,
    rollback,
)
from pipeline.projection.rebuild import reindex as fill_new_indices
from pipeline.services import open_archive, open_index, open_projector
from pipeline.verbs.lookup import require_collection

EXAMPLES = """
**Examples**

`pagesight reindex` · build new indices from the archive, and switch to them when they are complete

`pagesight reindex --collection works` · repair one collection in the live indices

`pagesight reindex --dry-run` · show what would be done

`pagesight reindex --rollback` · switch back to the former indices, after updating them

`pagesight reindex --prune --keep 1` · delete all former indices except the newest

No model is called and no file is opened. Searches and workers continue meanwhile.

Exit codes: 0 done, 1 Elasticsearch refused some records, 2 usage, or no former indices, 3 Elasticsearch or the archive
refuses, or another process changed the indices first, 130 interrupted: the live indices are unchanged.
"""


def reindex(
    collection: CollectionFilter = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    back: Annotated[bool, typer.Option("--rollback", help="Switch back to the former indices.")] = False,
    prunes: Annotated[bool, typer.Option("--prune", help="Delete former indices.")] = False,
    keep: Annotated[
        int, typer.Option("--keep", min=0, metavar="N", help="Number of former indices that --prune keeps.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Build new indices from the archive and switch to them, or switch back."""
    if back + prunes + (collection is not None) > 1:
        raise SettingsError("--collection, --rollback and --prune cannot be combined", remedy="Use one of them.")
    settings = load()
    archive = open_archive(settings)
    require_collection(archive, collection)
    names = None if collection is None else [collection]
    cancel = CancelToken()
    with (
        closing(open_index(settings)) as index,
        interruptible(cancel),
        ReindexProgress(archive, names, cancel, stderr()) as progress,
    ):
        index.health()  # fails at once if the cluster is unreachable, instead of waiting
        projector = open_projector(settings, archive, index, cancel)
        archive.require(index.generations.archive_id())
        if prunes:
            _tell_deleted(*_pruned(projector, keep, dry_run), as_json)
            return
        if dry_run:
            intent = intended_rollback(projector, progress.note) if back else intended(projector, names, progress.note)
            _tell_intended(intent, as_json)
            return
        done = rollback(projector, progress.note) if back else fill_new_indices(projector, names, progress.note)
        name_archive(archive.establish(), index)
    _tell_done(done, as_json)
    raise typer.Exit(ExitCode.SOME_FAILED if done.refused else ExitCode.OK)


class ReindexProgress(LiveProgress):
    """Shows how many pages of the archive the current step has read."""

    unit = "pages"

    def __init__(self, archive: Archive, names: list[str] | None, cancel: CancelToken, console: Console) -> None:
        super().__init__(cancel, console)
        self._archive, self._names = archive, names
        self._step, self._done = "", 0
        self._all: int | None = None

    def note(self, step: str, pages: int) -> None:
        """Add pages read in a step."""
        if self._all is None:
            self._all = _pages(self._archive, self._names)
        if step != self._step or self._done >= self._all:
            self._step, self._done = step, 0
            self._rate = Rate()
        self._done += pages
        self.tick()

    @property
    def done(self) -> int:
        """Pages read in this step."""
        return self._done

    @property
    def found(self) -> int:
        """Pages in the archive."""
        return max(self._all or 0, self._done)

    @property
    def total(self) -> int | None:
        """Pages in the archive, once counted."""
        return self._all

    def _outcome(self) -> str:
        return self._step


def _pages(archive: Archive, names: list[str] | None) -> int:
    """Return the number of pages with readings in the archive. Only names are read."""
    collections = archive.collections.names() if names is None else names
    return sum(
        len(archive.readings(name, document).newest_revisions())
        for name in collections
        for document in archive.documents(name)
    )


def _pruned(projector: Projector, keep: int, dry_run: bool) -> tuple[tuple[str, ...], bool]:
    return (intended_prune(projector, keep).deleted if dry_run else prune(projector, keep)), dry_run


def _tell_deleted(names: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"deleted": names, "dry_run": dry_run})
        return
    for name in names:
        stdout().print(plain(name))
    words = "would be deleted; this was a dry run" if dry_run else "deleted"
    stdout().print(plain(f"{len(names)} indices {words}."))


def _tell_intended(intent: Intended, as_json: bool) -> None:
    if as_json:
        print_json(asdict(intent) | {"dry_run": True})
        return
    for title, names in (("live", intent.live), ("to be shown", intent.shown), ("to be deleted", intent.deleted)):
        stdout().print(plain(f"{title:<14}{', '.join(names) or 'none'}"))
    stdout().print(plain(f"{intent.written} records of pages would be written or deleted. This was a dry run."))


def _tell_done(done: Reindexed, as_json: bool) -> None:
    if as_json:
        refused = {key: failure.message for key, failure in done.refused.items()}
        print_json(asdict(done) | {"refused": refused})
        return
    for change in done.changes:
        stdout().print(plain(change, "dim"))
    words = (
        f"{done.pages} pages in {', '.join(done.indices)}: {done.written} records written, {len(done.refused)} refused"
    )
    stdout().print(plain(f"{words}, {done.seconds:.1f} s."))
    if done.former:
        stdout().print(plain(f"{', '.join(done.former)} are kept: `pagesight reindex --rollback`, `--prune`.", "dim"))

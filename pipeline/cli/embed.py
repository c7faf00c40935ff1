"""`pagesight embed`: make the vectors that pages lack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import typer

from pipeline.archive import Archive
from pipeline.cli.exits import ExitCode
from pipeline.cli.options import BudgetTokens, CollectionFilter, Json
from pipeline.cli.output import plain, print_json, stderr, stdout
from pipeline.cli.progress import PageProgress
from pipeline.cli.signals import interruptible
from pipeline.core.errors import SettingsError, Stopped
from pipeline.core.iterables import batched
from pipeline.core.models import Reading
from pipeline.core.retry import CancelToken
from pipeline.core.settings import load
from pipeline.projection.projector import embed_again
from pipeline.services import open_archive, open_index, open_projector
from pipeline.verbs.lookup import require_collection

EXAMPLES = """
**Examples**

`pagesight embed` · make the vectors that pages lack, or that another model made

`pagesight embed --collection works --budget-tokens 100000`

Pages are embedded when they are indexed. This makes up for pages that were indexed while the model was away or not yet
configured, and for a changed model. The vision model is not asked. Vectors are archived: a re-index keeps them.

Exit codes: 0 done, 1 some pages still lack a vector, 2 usage or settings, 3 a service refuses or is unreachable, 4 the
budget is used up, 130 interrupted.
"""

#: Pages whose vectors are made and written together.
_AT_ONCE = 32


def embed(collection: CollectionFilter = None, budget_tokens: BudgetTokens = None, as_json: Json = False) -> None:
    """Make the vectors that pages lack, without asking the vision model."""
    settings = load()
    archive, cancel = open_archive(settings), CancelToken()
    with closing(open_index(settings)) as index:
        require_collection(archive, collection, index)
        projector = open_projector(settings, archive, index, cancel)
        if projector.vectors is None:
            raise SettingsError(
                "no model for vectors is available",
                remedy="Set PAGESIGHT_EMBED_URL to an endpoint or to local; docs/search.md has the choices.",
            )
        model = projector.vectors.embedder.model
        if not index.vectors.require(model.dimensions):
            raise SettingsError(
                f"the index takes no vectors of {model.dimensions} dimensions", remedy="Run `pagesight reindex`."
            )
        count = index.queries.count_without_vector(model.id, collection=collection)
        exhausted, embedded = False, 0
        with interruptible(cancel) as interrupted, PageProgress(count, "seen", cancel, stderr()) as progress:
            try:
                for group in batched(index.queries.pages_without_vector(model.id, collection=collection), _AT_ONCE):
                    if budget_tokens is not None and projector.vectors.tokens >= budget_tokens:
                        exhausted = True
                        break
                    embedded += embed_again(projector, list(_readings(archive, group)))
                    progress.show(progress.done + len(group))
                projector.refresh()
            except Stopped:
                pass
    result = {"pages": count, "embedded": embedded, "tokens": projector.vectors.tokens, "model": model.id}
    if as_json:
        print_json(result)
    else:
        stdout().print(plain(f"{embedded} of {count} pages embedded by {model.id}."))
    raise typer.Exit(_exit_code(bool(interrupted), exhausted, count - embedded))


def _exit_code(interrupted: bool, exhausted: bool, left: int) -> ExitCode:
    if interrupted:
        return ExitCode.INTERRUPTED
    if exhausted:
        return ExitCode.EXHAUSTED
    return ExitCode.SOME_FAILED if left else ExitCode.OK


def _readings(archive: Archive, pages: list[tuple[str, str, int]]) -> Iterator[Reading]:
    """Yield the newest reading of each page, unless it was deleted."""
    for collection, document, number in pages:
        for reading in archive.readings(collection, document).newest((number,)):
            if isinstance(reading, Reading):
                yield reading

"""`pagesight retry`: enqueue again what failed."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from pipeline.cli.fleet import PUBLISH_SECONDS, open_fleet, project_batch
from pipeline.cli.options import BatchFilter, CollectionFilter, DocumentFilter, ErrorFilter, Json, PageFilter
from pipeline.cli.output import batch_json, plain, print_json, stderr, stdout
from pipeline.core.models import BatchEntry, Lane
from pipeline.core.retry import CancelToken
from pipeline.core.settings import load
from pipeline.services import open_archive, open_index
from pipeline.verbs.lookup import require_collection, require_error_class

EXAMPLES = """
**Examples**

`pagesight retry` · everything that failed, for any reason

`pagesight retry --error quarantined --lane backfill`

`pagesight retry --batch 20261124T065448-612691 --collection works`

Only failed pages are processed again, not whole documents.

Exit codes: 0 done (also if nothing failed), 2 usage or settings, 3 Elasticsearch or Redis refuses or is unreachable.
"""


def retry(
    collection: CollectionFilter = None,
    batch: BatchFilter = None,
    error: ErrorFilter = None,
    document: DocumentFilter = None,
    page: PageFilter = None,
    lane: Annotated[Lane, typer.Option("--lane", help="Priority in the queue.")] = Lane.NORMAL,
    as_json: Json = False,
) -> None:
    """Enqueue failed pages and files again, as one batch per collection."""
    from workers.recovery.retry import Selection
    from workers.recovery.retry import retry as enqueue_failures

    require_error_class(error)
    settings = load()
    archive = open_archive(settings)
    require_collection(archive, collection)
    fleet = open_fleet(settings, archive, CancelToken().within(PUBLISH_SECONDS))
    fleet.queues.epoch()  # fails here if Redis is unreachable, before a batch is created
    chosen = _Chosen()
    with closing(open_index(settings)) as index:
        selection = Selection(collection, batch, error, document, page)
        begun = enqueue_failures(fleet, archive, index, selection, settings, lane=lane, on_entry=chosen.add)
    for new in begun:
        project_batch(archive, settings, new)
    if as_json:
        print_json({"batches": [batch_json(new) for new in begun], "pages": chosen.pages, "files": chosen.files})
        return
    if not begun:
        stdout().print("Nothing that failed matches.")
        return
    stdout().print(plain(f"{chosen.pages} pages and {chosen.files} whole files are enqueued again:"))
    for new in begun:
        stdout().print(plain(f"{new.id}  {new.collection}"))
        stderr().print(plain(f"Follow it with `pagesight status {new.id} --watch`.", "dim"))


class _Chosen:
    """Counts the pages and files that are enqueued again."""

    def __init__(self) -> None:
        self.pages = 0
        self.files = 0

    def add(self, entry: BatchEntry) -> None:
        self.pages += len(entry.pages or ())
        self.files += entry.pages is None

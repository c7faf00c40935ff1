"""`pagesight delete`: delete a document or a collection."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from pipeline.batches.lifecycle import DEFAULT_COLLECTION, collection_name
from pipeline.cli.exits import ExitCode
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, stdout
from pipeline.core.errors import SettingsError
from pipeline.core.retry import CancelToken
from pipeline.core.settings import load
from pipeline.pages.deletion import carry_out, request_deletion
from pipeline.services import open_archive, open_index, open_projector
from pipeline.verbs.lookup import find_document, require_collection

EXAMPLES = """
**Examples**

`pagesight delete letter.pdf` · one document of the default collection

`pagesight delete --collection works --yes` · a whole collection, without confirmation

`pagesight delete letter.pdf --purge` · also from the archive: readings, answers, page images

A deleted document returns only if it is indexed again.

Exit codes: 0 done, 2 usage, or no such document, 3 the cluster or the archive refuses.
"""


def delete(
    document: Annotated[
        str | None,
        typer.Argument(help="Start of an id, or part of a name or path. Without it, the whole collection is deleted."),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option("--collection", "-c", help="Collection to delete from, or to delete.", show_default="default"),
    ] = None,
    purge: Annotated[bool, typer.Option("--purge", help="Also remove from the archive.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a document or a collection: its pages leave the index, and only a new indexing brings them back."""
    if document is None and collection is None:
        raise SettingsError(
            "no document or collection was named", remedy="Name a document, or a collection with --collection."
        )
    settings = load()
    archive = open_archive(settings)
    name = collection_name(collection or DEFAULT_COLLECTION)
    with closing(open_index(settings)) as index:
        require_collection(archive, name)
        target = find_document(index, document, name)["document"]["id"] if document is not None else None
        _confirm(yes, f"{document} of collection {name}" if document else f"the whole collection {name}", purge)
        index.ensure()
        deletion = request_deletion(archive, name, target, purge)
        pages = carry_out(deletion, open_projector(settings, archive, index, CancelToken()))
    if as_json:
        print_json(
            {"deletion": deletion.revision, "collection": name, "document": target, "pages": pages, "purged": purge}
        )
    else:
        stdout().print(plain(f"{pages} pages deleted" + (" and purged" if purge else "") + "."))


def _confirm(yes: bool, what: str, purge: bool) -> None:
    extent = ", also from the archive" if purge else ""
    if not yes and not typer.confirm(f"Delete {plain(what).plain}{extent}?", err=True):
        raise typer.Exit(ExitCode.OK)

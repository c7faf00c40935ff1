"""Options and arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
BudgetTokens = Annotated[
    int | None,
    typer.Option(
        "--budget-tokens",
        min=1,
        metavar="N",
        help="Stop before the run uses more than N tokens (sent plus received).",
        show_default="no limit",
    ),
]
MaxPages = Annotated[
    int | None,
    typer.Option("--max-pages", min=1, metavar="N", help="Stop after N pages.", show_default="no limit"),
]
Downgrade = Annotated[
    bool,
    typer.Option(
        "--downgrade",
        help="Without a model, read again what a model described: text and measurements replace descriptions.",
    ),
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="Profile of questions: see `pagesight profile list`.",
        show_default="the collection's",
    ),
]
CollectionName = Annotated[str, typer.Option("--collection", "-c", help="Collection of the documents.")]
LanguageTag = Annotated[
    str | None,
    typer.Option(
        "--language", "-l", help="Language of the descriptions, as a BCP 47 tag.", show_default="the collection's"
    ),
]
CollectionFilter = Annotated[
    str | None, typer.Option("--collection", "-c", help="Only this collection.", show_default="all")
]
BatchFilter = Annotated[
    str | None, typer.Option("--batch", "-b", help="Only failures of this batch.", show_default="all")
]
ErrorFilter = Annotated[
    str | None,
    typer.Option("--error", "-e", metavar="CLASS", help="Only this class, such as `encrypted`.", show_default="all"),
]
DocumentFilter = Annotated[
    str | None,
    typer.Option(
        "--document",
        "-d",
        help="Only documents with this start of an id, or part of a name or path.",
        show_default="all",
    ),
]
PageFilter = Annotated[
    int | None, typer.Option("--page", "-p", min=1, help="Only pages with this number.", show_default="all")
]
MaybeBatch = Annotated[str | None, typer.Argument(metavar="BATCH", help="Batch id.", show_default="the whole fleet")]

"""Options that several commands share."""

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
        help="End before more tokens are sent and received than so many.",
        show_default="any number",
    ),
]
MaxPages = Annotated[
    int | None,
    typer.Option(
        "--max-pages", min=1, metavar="N", help="End once so many pages were worked.", show_default="any number"
    ),
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="The questions asked of a page: see `pagesight profile list`.",
        show_default="the collection's",
    ),
]
CollectionName = Annotated[str, typer.Option("--collection", "-c", help="The named set that the documents belong to.")]
LanguageTag = Annotated[
    str | None,
    typer.Option(
        "--language", "-l", help="BCP 47 tag of the language to describe pages in.", show_default="the collection's"
    ),
]
CollectionFilter = Annotated[
    str | None, typer.Option("--collection", "-c", help="Only this collection.", show_default="all")
]
BatchFilter = Annotated[
    str | None, typer.Option("--batch", "-b", help="Only what failed in this batch.", show_default="all")
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
        help="Only documents with this beginning of an id, or part of a name or path.",
        show_default="all",
    ),
]
PageFilter = Annotated[
    int | None, typer.Option("--page", "-p", min=1, help="Only pages of this number.", show_default="all")
]
MaybeBatch = Annotated[
    str | None, typer.Argument(metavar="BATCH", help="A batch's id.", show_default="the whole fleet")
]

"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from pipeline.core.file_patterns import parse_patterns
from pipeline.core.models import FilePatterns

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
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="PATTERN",
        help="Only files that match one of these patterns (gitignore's syntax); may be repeated.",
        show_default="all files",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="PATTERN",
        help="No files, folders and members that match one of these patterns; may be repeated.",
        show_default="none",
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


def file_patterns(roots: Iterable[str], include: list[str] | None, exclude: list[str] | None) -> FilePatterns | None:
    """Return the patterns of `--include` and `--exclude` for root URLs; None without any.

    Raises:
        SettingsError: one of them cannot be parsed.
    """
    if not include and not exclude:
        return None
    parse_patterns([*(include or ()), *(exclude or ())])
    return FilePatterns(roots=tuple(roots), include=tuple(include or ()), exclude=tuple(exclude or ()))

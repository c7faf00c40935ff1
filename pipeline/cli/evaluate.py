"""`pagesight evaluate`: score readings against expected texts, or searches against queries with known pages."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipeline.analysis.evaluate import Evaluation, Group, Scored, Unmatched
from pipeline.analysis.evaluate import evaluate as score
from pipeline.analysis.query_evaluation import Score, read_queries, score_queries, unknown_names
from pipeline.batches.lifecycle import DEFAULT_COLLECTION, collection_name
from pipeline.cli.configuration import load_apart_from
from pipeline.cli.exits import ExitCode
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, rows, stderr, stdout, table
from pipeline.core.errors import SettingsError
from pipeline.search.query_builder import Filters
from pipeline.services import open_archive, open_embedder, open_index
from pipeline.verbs.lookup import require_collection

EXAMPLES = """
**Examples**

`pagesight evaluate expected/` · every text in the folder, against the newest readings of the collection `default`

`pagesight evaluate expected/ --collection works --json | jq .total.recall`

`pagesight evaluate --queries queries.jsonl` · how well searches find known pages, by words and by meaning

`expected/report.pdf.txt` has the expected text of all pages of report.pdf, `expected/report.pdf.3.txt` the text of its
third page. A line of `queries.jsonl` is `{"query": "harbour dues", "relevant": ["report.pdf:3"], "kind": "exact"}`.

Exit codes: 0 everything was scored, 1 some texts or relevant pages match no document or page, 2 usage, or no text
matches, 3 a service refuses or is unreachable.
"""

_NAMING = (
    "Name each text after its document with .txt added (report.pdf.txt), or with a page number before .txt "
    "(report.pdf.3.txt). Check the collection with --collection, and document names with `pagesight show`."
)


def evaluate(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPECTED_FOLDER",
            help="Folder of UTF-8 texts, named DOCUMENT.txt, or DOCUMENT.PAGE.txt for one page.",
            show_default=False,
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option("--queries", metavar="FILE", help="Score searches instead: JSON lines with known pages."),
    ] = None,
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="Collection whose readings are scored.")
    ] = DEFAULT_COLLECTION,
    as_json: Json = False,
) -> None:
    """Score readings against expected texts (recall, error rate), or searches against queries with known pages."""
    name = collection_name(collection)
    if queries is not None and folder is None:
        _evaluate_queries(queries, name, as_json)
        return
    if folder is None or queries is not None:
        raise SettingsError("name a folder of texts, or a file with --queries", remedy=_NAMING)
    found = score(folder, open_archive(load_apart_from([str(folder)])), name)
    if not found.scored:
        cause = (
            f"none of the {len(found.unmatched)} texts in {folder} belongs to a document of collection {name!r}"
            if found.unmatched
            else f"there is no .txt file in {folder}"
        )
        raise SettingsError(cause, remedy=_NAMING)
    if as_json:
        print_json(_json(name, found))
    else:
        _print(found)
    raise typer.Exit(ExitCode.SOME_FAILED if found.unmatched else ExitCode.OK)


def _evaluate_queries(file: Path, collection: str, as_json: bool) -> None:
    known = read_queries(file)
    settings = load_apart_from([str(file)])
    embedder = open_embedder(settings)
    columns = (TextColumn("queries"), BarColumn(), TextColumn("{task.completed} of {task.total}"))
    with (
        closing(open_index(settings)) as index,
        Progress(*columns, TimeRemainingColumn(), console=stderr(), disable=not stderr().is_terminal) as progress,
    ):
        require_collection(open_archive(settings, require=False), collection, index)
        unknown = unknown_names(index.queries, known, collection)
        task = progress.add_task("queries", total=len(known))
        scores = score_queries(
            index.queries, known, Filters(collection=collection), embedder, lambda: progress.advance(task)
        )
    unavailable = [] if embedder is not None else ["meaning", "both"]
    if as_json:
        shown = {"scores": [asdict(one) for one in scores], "unavailable": unavailable, "unknown": unknown}
        print_json({"collection": collection, **shown})
    else:
        _print_scores(scores, unavailable, unknown)
    raise typer.Exit(ExitCode.SOME_FAILED if unknown else ExitCode.OK)


def _print_scores(scores: Sequence[Score], unavailable: Sequence[str], unknown: Sequence[str]) -> None:
    grid = _right(table("search", "kind", "queries", "nDCG@10", "recall@10", "MRR@10"), 2, 3, 4, 5)
    lines = ((one.way, one.kind, one.queries, _share(one.ndcg), _share(one.recall), _share(one.mrr)) for one in scores)
    stdout().print(rows(grid, lines))
    if unavailable:
        stderr().print(plain("By meaning was not measured: no model for vectors is available.", "dim"))
    for name in unknown:
        stderr().print(plain(f"no page is named {name}: no search can find it", "yellow"))


def _json(collection: str, found: Evaluation) -> dict[str, Any]:
    return {
        "collection": collection,
        "total": asdict(found.total),
        "groups": [asdict(group) for group in found.groups],
        "texts": [asdict(one) | {"language_agrees": one.language_agrees} for one in found.scored],
        "unmatched": [asdict(one) for one in found.unmatched],
    }


def _print(found: Evaluation) -> None:
    console = stdout()
    grid = _right(table("document", "page", "pages", "failed", "language", "recall", "CER"), 1, 2, 3, 5, 6)
    console.print(rows(grid, map(_text_row, found.scored)))
    console.print()
    grid = _right(table("language", "format", "texts", "pages", "recall", "CER", "language right"), 2, 3, 4, 5, 6)
    console.print(rows(grid, (_group_row(group) for group in [*found.groups, found.total])))
    for one in found.unmatched:
        stderr().print(_unmatched(one))
    if found.unmatched:
        stderr().print(plain(_NAMING, "dim"))


def _right(grid: Table, *columns: int) -> Table:
    for column in columns:
        grid.columns[column].justify = "right"
    return grid


def _text_row(one: Scored) -> tuple[object, ...]:
    language = one.language or "not told"
    if one.language_agrees is False:
        language += f", read as {one.language_read or 'none'}"
    return one.document, one.page, one.pages, one.failed or "", language, _share(one.recall), _share(one.error_rate)


def _group_row(group: Group) -> tuple[object, ...]:
    is_total = group.media_type is None
    return (
        "all" if is_total else group.language or "not told",
        "" if group.media_type is None else group.media_type.name.lower(),
        group.texts,
        group.pages,
        _share(group.recall),
        _share(group.error_rate),
        _share(group.language_agrees),
    )


def _unmatched(one: Unmatched) -> Text:
    return plain(f"not scored: {one.file}: {one.reason}", "yellow")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

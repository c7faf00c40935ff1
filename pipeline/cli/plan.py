"""`pagesight plan`: estimate what indexing would still cost, without calling a model or indexing anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

import typer

from pipeline.analysis.estimate import Forecast, Rates, forecast, measure
from pipeline.analysis.inspect import Inspected, Totals, inspect_below
from pipeline.batches.lifecycle import DEFAULT_COLLECTION, collection_name
from pipeline.cli.configuration import load_apart_from
from pipeline.cli.exits import ExitCode
from pipeline.cli.options import CollectionName, Exclude, Include, Json, LanguageTag, ProfileName, file_patterns
from pipeline.cli.output import plain, print_json, rows, stderr, stdout, table
from pipeline.cli.progress import InspectionProgress
from pipeline.cli.signals import interruptible
from pipeline.core.errors import PagesightError, Stopped
from pipeline.core.languages import normalise_tag
from pipeline.core.models import PageKind
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings
from pipeline.pages.recipe import CurrentRecipe
from pipeline.services import open_archive, open_current_recipe, open_planner, own_folders, pace
from pipeline.sources import display_path, is_below, root_url
from pipeline.vision.profile import load_profile

EXAMPLES = """
**Examples**

`pagesight plan scans/` · the calls and the time that `pagesight index scans/` would still take

`pagesight plan scans/ letters/ --collection works --language de` · one row per path

`pagesight plan scans/ --json | jq .totals.calls`

Nothing is indexed and no model is called. Unchanged files are not opened.

Exit codes: 0 done (also if something would fail), 2 usage or settings, 3 a service refused, 130 interrupted.
"""


def plan(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files and folders, local or in a bucket (`s3://…`). Folders include everything below them."
        ),
    ],
    collection: CollectionName = DEFAULT_COLLECTION,
    language: LanguageTag = None,
    profile: ProfileName = None,
    include: Include = None,
    exclude: Exclude = None,
    as_json: Json = False,
) -> None:
    """Estimate what indexing would still cost: pages by kind, archived answers, calls, tokens and time."""
    settings = load_apart_from(paths)
    name = collection_name(collection)
    roots = tuple(dict.fromkeys(map(root_url, paths)))
    patterns = file_patterns(roots, include, exclude)
    archive = open_archive(settings)
    named = load_profile(profile, settings.profiles_folder) if profile else None
    current = open_current_recipe(settings, archive, name, normalise_tag(language) if language else None, named)
    cancel, sums = CancelToken(), Sums(roots)
    refusal: PagesightError | None = None
    with (
        open_planner(settings, cancel, archive, name, current) as inspector,
        interruptible(cancel) as interrupted,
        InspectionProgress(sums.all, cancel, stderr()) as progress,
    ):
        try:
            for seen in inspect_below(
                roots, own_folders(settings), inspector, cancel, sums.all, progress.tick, patterns
            ):
                sums.add(seen)
        except Stopped:
            pass
        except PagesightError as error:
            refusal = error
    rates = measure(archive, name, current.models) if current.models else None
    report = PlanReport(settings, name, current, sums, rates)
    if as_json:
        print_json(report.json())
    else:
        report.print()
    if refusal is not None:
        raise refusal
    if interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)


class Sums:
    """Totals of each root, and of all roots."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self.roots = {root: Totals() for root in roots}
        self.all = Totals()
        """Counted by `inspect_below`."""

    @property
    def complete(self) -> bool:
        """Whether every file was inspected."""
        return self.all.walked and self.all.files == self.all.found

    def add(self, seen: Inspected) -> None:
        """Count a file for its root. If several roots contain it, the longest counts."""
        root = max((root for root in self.roots if is_below(seen.url, root)), key=len)
        self.roots[root].add(seen)


class PlanReport:
    """Prints a plan."""

    def __init__(
        self, settings: Settings, collection: str, current: CurrentRecipe, sums: Sums, rates: Rates | None
    ) -> None:
        self._pace = pace(settings)
        self._collection = collection
        self._current = current
        self._sums = sums
        self._rates = rates

    def json(self) -> dict[str, Any]:
        """Return the JSON object of the plan."""
        rates, recipe = self._rates, self._current.recipe
        return {
            "collection": self._collection,
            "language": recipe.language,
            "reader": recipe.reader,
            "profile": recipe.profile,
            "complete": self._sums.complete,
            "measured": None
            if rates is None
            else {"newest": rates.newest.isoformat()}
            | asdict(rates.overall)
            | {"questions": {question: asdict(some) for question, some in rates.by_question.items()}},
            "paths": [{"path": display_path(root)} | self._sum(sums) for root, sums in self._sums.roots.items()],
            "totals": self._sum(self._sums.all),
        }

    def print(self) -> None:
        """Print one row per path, and the totals."""
        names = ("files", "digital", "scan", "mixed", "blank", "up to date", "fail", "there", "calls", "tokens", "time")
        grid = table(*names, "path")
        for column in grid.columns[:-1]:
            column.justify = "right"
        lines = [(*self._cells(sums), display_path(root)) for root, sums in self._sums.roots.items()]
        if len(lines) > 1:
            lines.append((*self._cells(self._sums.all), "all"))
        stdout().print(rows(grid, lines))
        for note in self._notes():
            stdout().print(plain(note, "dim"))

    def _forecast(self, sums: Totals) -> Forecast:
        return forecast(sums.calls, sums.cost, self._rates, self._pace)

    def _sum(self, sums: Totals) -> dict[str, Any]:
        took = self._forecast(sums)
        return {
            "files": sums.files,
            "pages": {kind.value: sums.pages[kind] for kind in PageKind} | {"failed": sums.pages_failed},
            "pages_up_to_date": sums.settled,
            "failures": dict(sums.failures),
            "answers_archived": sums.archived,
            "calls": took.calls,
            "calls_by_question": dict(sums.calls),
            "tokens_in": took.tokens_in,
            "tokens_out": took.tokens_out,
            "tokens_out_max": sums.cost.tokens_out_max,
            "seconds": None if took.seconds is None else round(took.seconds, 1),
        }

    def _cells(self, sums: Totals) -> Iterator[str]:
        took = self._forecast(sums)
        yield f"{sums.files:,}"
        yield from (f"{sums.pages[kind]:,}" for kind in PageKind)
        yield f"{sums.settled:,}"
        yield f"{sums.failures.total():,}"
        yield f"{sums.archived:,}"
        yield f"{took.calls:,}"
        known = took.tokens_out is not None
        tokens = took.tokens_in + (took.tokens_out or 0 if known else sums.cost.tokens_out_max)
        yield f"{'' if known else '≤ '}{tokens:,}"
        yield "?" if took.seconds is None else str(timedelta(seconds=round(took.seconds)))

    def _notes(self) -> Iterator[str]:
        if not self._sums.complete:
            yield "Not every file was inspected."
        if self._current.models is None:
            yield "No vision model is configured: pages are read locally, without calls."
        elif self._rates is None:
            yield "No call was made yet: tokens are an upper bound, and the time is unknown."
        else:
            mean = self._rates.overall
            yield (
                f"Measured on {mean.answers} answers up to {self._rates.newest:%Y-%m-%d %H:%M}: "
                f"{mean.seconds:.1f} s, {mean.tokens_in:,.0f} tokens sent and {mean.tokens_out:,.0f} received each; "
                f"{self._pace.in_flight} calls at once."
            )

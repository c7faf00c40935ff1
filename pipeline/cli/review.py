"""`pagesight review`: write an HTML page for judging a sample of readings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.analysis.inspect import Inspector
from pipeline.analysis.review import (
    FileCandidates,
    PageReaders,
    Review,
    ReviewedPage,
    SampleCandidate,
    Unreadable,
    archived_page,
    collection_candidates,
    draw,
    read_pages,
    write_review,
)
from pipeline.archive import Archive
from pipeline.batches.lifecycle import DEFAULT_COLLECTION, collection_name
from pipeline.cli.configuration import load_apart_from
from pipeline.cli.exits import ExitCode
from pipeline.cli.output import plain, stderr, stdout
from pipeline.cli.progress import LiveProgress
from pipeline.cli.signals import interruptible
from pipeline.core.errors import SettingsError
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings
from pipeline.core.threads import PrioritySemaphore
from pipeline.services import (
    FleetServices,
    open_archive,
    open_cropper,
    open_inspector,
    open_leases,
    open_limiter,
    open_reader,
    own_folders,
    pages_in_hand,
)
from pipeline.sources import root_url
from pipeline.verbs.lookup import require_collection
from pipeline.vision.profile import Profile, kept_profile, load_profile

EXAMPLES = """
**Examples**

`pagesight review` · 50 pages of the collection `default`, of all kinds and languages, as review.html

`pagesight review --collection works --suspect --sample 200` · suspect pages first

`pagesight review scans/` · pages of these files; unindexed files are read now, without indexing them

`pagesight review scans/ --profile standard --profile accessible` · two profiles side by side

The HTML page is self-contained: open it in a browser, accept or reject pages with `a` and `r`, export the marks.

Exit codes: 0 written, 1 written without some files, 2 usage, or no pages, 3 a service refused, 130 interrupted.
"""

#: The page has room for two columns.
_MAX_PROFILES = 2


def review(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Files and folders, local or in a bucket (`s3://…`). Without any, the whole collection.",
            show_default=False,
        ),
    ] = None,
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="Collection whose readings are shown.")
    ] = DEFAULT_COLLECTION,
    profiles: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            help="Read the pages of PATH… now with this profile; repeat it to compare two.",
            show_default="archived readings",
        ),
    ] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, max=5000, help="Maximum number of pages.")] = 50,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random sample.")] = 0,
    suspect: Annotated[bool, typer.Option("--suspect", help="Show suspect and failed pages first.")] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="HTML file to write.", show_default=True)
    ] = Path("review.html"),
) -> None:
    """Write an HTML page that shows a sample of pages next to their readings, for judging by eye."""
    settings = load_apart_from(paths or ())
    name = collection_name(collection)
    chosen = _profiles(profiles or [], paths or [], settings)
    archive = open_archive(settings)
    choice = _ReviewChoice(sample, seed, suspect)
    cancel = CancelToken()
    with interruptible(cancel), ReviewProgress(cancel, stderr()) as progress:
        if paths:
            found = _from_files(paths, settings, archive, name, chosen, choice, cancel, progress)
        else:
            require_collection(archive, name)
            found = _from_collection(archive, name, choice, cancel, progress)
    for file in found.unreadable:
        stderr().print(plain(f"skipped: {file.path}: {file.failure.message}", "yellow"))
    if not found.pages:
        raise SettingsError(
            f"no pages found in {', '.join(paths) if paths else f'collection {name!r}'}",
            remedy="Index files with `pagesight index PATH…`, or name files here.",
        )
    pages = sorted(found.pages, key=lambda page: (suspect and not page.suspect, *page.sort_key))
    title = ", ".join(paths) if paths else f"collection {name}"
    made = Review(title, pages, found.candidates, seed, datetime.now(UTC), version("pagesight"))
    size = write_review(made, archive, output)
    stdout().print(plain(f"{output}: {len(pages)} of {found.candidates} pages, {size / 1e6:.1f} MB"))
    raise typer.Exit(ExitCode.SOME_FAILED if found.unreadable else ExitCode.OK)


@dataclass(frozen=True, slots=True)
class _ReviewChoice:
    """How to draw the sample."""

    size: int
    seed: int
    suspect_first: bool

    def draw(self, candidates: Sequence[SampleCandidate]) -> list[SampleCandidate]:
        return draw(candidates, self.size, self.seed, suspect_first=self.suspect_first)


@dataclass(frozen=True, slots=True)
class _ReviewSources:
    """The sample, and the number of candidates that it was drawn from."""

    pages: list[ReviewedPage]
    candidates: int
    unreadable: list[Unreadable] = field(default_factory=list)


class ReviewProgress(LiveProgress):
    """Shows the number of candidates, then how many pages of the sample are ready."""

    unit = "pages"

    def __init__(self, cancel: CancelToken, console: Console) -> None:
        self._found = 0
        self._drawn: int | None = None
        self._ready = 0
        super().__init__(cancel, console)

    def saw(self) -> None:
        """Count a candidate."""
        self._found += 1
        self.tick()

    def drew(self, pages: int) -> None:
        """Set the size of the sample."""
        self._drawn = pages

    def got(self) -> None:
        """Count a page of the sample that is ready."""
        self._ready += 1
        self.tick()

    @property
    def done(self) -> int:
        """Pages of the sample that are ready."""
        return self._ready

    @property
    def found(self) -> int:
        """Pages of the sample; before it is drawn, candidates."""
        return self._found if self._drawn is None else self._drawn

    @property
    def total(self) -> int | None:
        """Pages of the sample, once it is drawn."""
        return self._drawn

    def _outcome(self) -> str:
        return f"of {self._found} candidates"


def _profiles(names: Sequence[str], paths: Sequence[str], settings: Settings) -> list[Profile]:
    """Return the profiles with these names.

    Raises:
        SettingsError: a profile does not exist, or needs files or a model that are missing.
    """
    if names and not paths:
        raise SettingsError(
            "--profile needs files to read",
            remedy="Name the files: `pagesight review PATH… --profile NAME`.",
        )
    if names and not settings.uses_model:
        raise SettingsError(
            "--profile needs a vision model, and none is configured",
            remedy="Set JINA_API_KEY or PAGESIGHT_VLM_URL.",
        )
    if len(set(names)) != len(names) or len(names) > _MAX_PROFILES:
        raise SettingsError("--profile takes one name, or two different names", remedy="Remove the others.")
    return [load_profile(name, settings.profiles_folder) for name in names]


def _from_collection(
    archive: Archive, collection: str, choice: _ReviewChoice, cancel: CancelToken, progress: ReviewProgress
) -> _ReviewSources:
    candidates = []
    for candidate in collection_candidates(archive, collection, cancel):
        candidates.append(candidate)
        progress.saw()
    drawn = choice.draw(candidates)
    progress.drew(len(drawn))
    return _ReviewSources(_archived(archive, collection, drawn, progress), len(candidates))


def _from_files(
    paths: Sequence[str],
    settings: Settings,
    archive: Archive,
    collection: str,
    profiles: Sequence[Profile],
    choice: _ReviewChoice,
    cancel: CancelToken,
    progress: ReviewProgress,
) -> _ReviewSources:
    candidates: list[SampleCandidate] = []
    unreadable: list[Unreadable] = []
    with open_inspector(settings, cancel) as inspector:
        files = FileCandidates(inspector, archive, collection, anew=bool(profiles), cancel=cancel)
        for found in files.below(map(root_url, paths), own_folders(settings)):
            if isinstance(found, Unreadable):
                unreadable.append(found)
            else:
                candidates.append(found)
                progress.saw()
        drawn = choice.draw(candidates)
        progress.drew(len(drawn))
        pages = _archived(archive, collection, [one for one in drawn if one.source is None], progress)
        if unread := [one for one in drawn if one.source is not None]:
            with _page_readers(settings, archive, collection, profiles, inspector) as tools:
                for page in read_pages(unread, tools, cancel, progress.tick):
                    pages.append(page)
                    progress.got()
    return _ReviewSources(pages, len(candidates), unreadable)


def _archived(
    archive: Archive, collection: str, drawn: Sequence[SampleCandidate], progress: ReviewProgress
) -> list[ReviewedPage]:
    pages = []
    for candidate in drawn:
        page = archived_page(archive, collection, candidate)
        if page is not None:
            pages.append(page)
        progress.got()
    return pages


@contextmanager
def _page_readers(
    settings: Settings, archive: Archive, collection: str, profiles: Sequence[Profile], inspector: Inspector
) -> Iterator[PageReaders]:
    """Open one reader per profile, by default for the collection's profile. They share the limits of the endpoint."""
    shared = FleetServices(open_leases(settings), open_limiter(settings))
    known = archive.collections[collection].newest()
    pages = pages_in_hand(settings)
    with ExitStack() as stack:
        usual = kept_profile(known.profile, known.own_profile) if known else load_profile()
        readers = [
            stack.enter_context(closing(open_reader(settings, archive, profile, shared)))
            for profile in profiles or (usual,)
        ]
        executor = stack.enter_context(ThreadPoolExecutor(pages, thread_name_prefix="pages"))
        language = known.language if known else settings.language
        cropper = stack.enter_context(open_cropper(settings, inspector.opener))
        yield PageReaders(inspector, cropper, archive, readers, language, executor, PrioritySemaphore(pages))

"""`pagesight index`: index files in this process."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.batches.lifecycle import DEFAULT_COLLECTION, collection_name
from pipeline.batches.local_batch import IndexRequest
from pipeline.cli.configuration import load_apart_from
from pipeline.cli.local_run import print_summary, run_here, summary
from pipeline.cli.options import (
    BudgetTokens,
    CollectionName,
    Downgrade,
    Exclude,
    Include,
    Json,
    LanguageTag,
    MaxPages,
    ProfileName,
    file_patterns,
)
from pipeline.cli.output import print_json
from pipeline.core.languages import normalise_tag
from pipeline.services import own_folders
from pipeline.sources import root_url
from pipeline.vision.profile import load_profile

EXAMPLES = """
**Examples**

`pagesight index scans/` · everything below a folder

`pagesight index report.pdf plan.tif --collection works` · into the collection `works`

`pagesight index s3://archive/1987/` · a folder in a bucket (`pip install 'pagesight[s3]'`)

`pagesight index scans/ --language de` · descriptions in German

`pagesight index photos/ --profile visual` · with another profile of questions

`pagesight index scans/ --include '*.pdf' --exclude drafts/` · only some files, by patterns as in `.gitignore`

`pagesight index scans/ --budget-tokens 200000` · stop at this many tokens

Run the same command again to process only missing pages.

Exit codes: 0 every page succeeded, 1 some pages failed, 2 usage or settings, 3 a service refused, 4 the budget is used
up, 130 interrupted.
"""


def index(
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
    budget_tokens: BudgetTokens = None,
    max_pages: MaxPages = None,
    downgrade: Downgrade = False,
    as_json: Json = False,
) -> None:
    """Index files in this process: render, read, archive and index every page."""
    settings = load_apart_from(paths)
    roots = tuple(map(root_url, paths))
    order = IndexRequest(
        roots=roots,
        excluded=own_folders(settings),
        collection=collection_name(collection),
        language=normalise_tag(language) if language else None,
        default_language=settings.language,
        profile=load_profile(profile, settings.profiles_folder) if profile else None,
        downgrade=downgrade,
        patterns=file_patterns(roots, include, exclude),
        max_pages=max_pages,
    )
    ran = run_here(order, settings, budget_tokens)
    if as_json:
        print_json(summary(ran.batch))
    else:
        print_summary(ran.batch)
    raise typer.Exit(ran.code())

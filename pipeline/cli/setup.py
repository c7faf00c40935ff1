"""`pagesight setup`: create or update indices, roles and Kibana objects."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.cli.exits import ExitCode
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, stdout
from pipeline.core.settings import Settings, load
from pipeline.kibana import differences as kibana_differences
from pipeline.kibana import install as install_kibana
from pipeline.search.analysis import LanguageSupport
from pipeline.search.index import Index
from pipeline.services import open_index

EXAMPLES = """
**Examples**

`pagesight setup` · templates, indices, languages, roles and, if PAGESIGHT_KIBANA_URL is set, Kibana objects

`pagesight setup --check` · only list differences

`pagesight setup --check --json | jq .differences`

Safe to run again: existing objects are kept. Indices with an older schema need `pagesight reindex`.

Exit codes: 0 everything is up to date, 1 `--check` found differences, 2 usage or settings, 3 Elasticsearch or Kibana
refuses or is unreachable.
"""


def setup(
    check: Annotated[bool, typer.Option("--check", help="Only list differences; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Create or update indices, roles and Kibana objects for this version of Pagesight."""
    settings = load()
    with closing(open_index(settings)) as index:
        left_alone = index.security.roles_left_alone()
        changes = _differences(index, settings) if check else _install(index, settings)
        languages = index.search_languages.live()
        learnt = index.search_languages.learnt(languages) if languages else ()
    if as_json:
        support = asdict(languages) | {"after_reindex": learnt} if languages else None
        print_json(
            {"differences" if check else "changed": changes, "roles_left_alone": left_alone, "languages": support}
        )
    else:
        _print(changes, left_alone, check)
        _print_languages(languages, learnt)
    raise typer.Exit(ExitCode.SOME_FAILED if check and changes else ExitCode.OK)


def _install(index: Index, settings: Settings) -> list[str]:
    changes = [*index.install(), *index.security.install_roles()]
    return changes + list(install_kibana(settings, settings.kibana_space) if settings.kibana_url else ())


def _differences(index: Index, settings: Settings) -> list[str]:
    found = [*index.differences(), *index.security.role_differences()]
    return found + list(kibana_differences(settings, settings.kibana_space) if settings.kibana_url else ())


def _print_languages(languages: LanguageSupport | None, learnt: tuple[str, ...]) -> None:
    if languages is not None:
        stdout().print(plain(f"Searches: {languages}.", "dim"))
    if learnt:
        stdout().print(plain(f"The server can now analyse {', '.join(learnt)}: run `pagesight reindex` to use that."))


def _print(changes: list[str], left_alone: str | None, check: bool) -> None:
    for change in changes:
        stdout().print(plain(change))
    if left_alone is not None:
        stdout().print(plain(f"Roles are left alone: {left_alone}.", "dim"))
    if not changes:
        stdout().print(plain("Nothing differs." if check else "Nothing was changed: everything is up to date."))
    elif check:
        stdout().print(plain(f"{len(changes)} things differ: `pagesight setup` changes them."))
    else:
        stdout().print(plain(f"{len(changes)} things were changed."))

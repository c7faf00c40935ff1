"""`pagesight profile`: list, show and check profiles, which are sets of questions about pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from pipeline.cli.exits import ErrorReportingGroup
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, rows, stdout, table
from pipeline.core.errors import SettingsError
from pipeline.core.languages import normalise_tag
from pipeline.core.settings import load
from pipeline.vision.profile import RECORD_FIELDS, Profile, Question, built_in_names, load_profile, own_names, read_own

LIST_EXAMPLES = """
**Examples**

`pagesight profile list` · built-in profiles and your own

Exit codes: 0 done, 2 usage or settings.
"""
SHOW_EXAMPLES = """
**Examples**

`pagesight profile show visual` · each question, its condition and its prompt

`pagesight profile show mine --language de` · the prompts for descriptions in German

Exit codes: 0 done, 2 usage or settings, or no such profile.
"""
CHECK_EXAMPLES = """
**Examples**

`pagesight profile check invoices.toml` · before you add it to your profiles

Exit codes: 0 valid, 2 invalid; the error names the problem.
"""

app = typer.Typer(
    cls=ErrorReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="List, show and check profiles: the questions about pages.",
)


@app.command("list", epilog=LIST_EXAMPLES)
def list_profiles(as_json: Json = False) -> None:
    """List the built-in profiles and your own."""
    folder = load().profiles_folder
    entries = [_entry(name, folder) for name in (*built_in_names(), *own_names(folder))]
    if as_json:
        print_json({"profiles": entries})
        return
    grid = table("profile", "", "questions")
    stdout().print(rows(grid, ((entry["name"], _origin(entry), _asked(entry)) for entry in entries)))


@app.command(epilog=SHOW_EXAMPLES)
def show(
    name: Annotated[str, typer.Argument(help="Profile name, as printed by `pagesight profile list`.")],
    language: Annotated[
        str | None,
        typer.Option(
            "--language", "-l", help="Language of the prompts, as a BCP 47 tag.", show_default="PAGESIGHT_LANGUAGE"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the questions of a profile, with the prompts as they are sent."""
    settings = load()
    profile = load_profile(name, settings.profiles_folder)
    tag = normalise_tag(language) if language else settings.language
    if as_json:
        print_json(_as_json(profile, tag))
        return
    stdout().print(plain(f"{profile.name}, revision {profile.revision}", "bold"))
    for question in profile.questions:
        for line in _lines(question, tag):
            stdout().print(line)


@app.command(epilog=CHECK_EXAMPLES)
def check(
    file: Annotated[Path, typer.Argument(help="A TOML file.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Check whether a file is a valid profile."""
    profile = read_own(file)
    if as_json:
        print_json({"name": profile.name, "revision": profile.revision, "questions": _names(profile)})
    else:
        stdout().print(plain(f"{profile.name} is valid: {', '.join(_names(profile))}."))


def _entry(name: str, folder: Path) -> dict[str, Any]:
    """Return the row of a profile. An invalid profile has its error in place of questions."""
    own = name not in built_in_names()
    try:
        profile = read_own(folder / f"{name}.toml") if own else load_profile(name)
    except SettingsError as error:
        return {"name": name, "own": True, "questions": [], "error": str(error)}
    return {"name": name, "own": own, "questions": _names(profile), "error": None}


def _origin(entry: dict[str, Any]) -> str:
    return "yours" if entry["own"] else "built in"


def _asked(entry: dict[str, Any]) -> str:
    return entry["error"] or ", ".join(entry["questions"])


def _names(profile: Profile) -> list[str]:
    return [question.name for question in profile.questions]


def _as_json(profile: Profile, tag: str) -> dict[str, Any]:
    questions = [
        question.model_dump(mode="json") | {"field": _field(question), "prompt": question.prompt_in(tag)}
        for question in profile.questions
    ]
    return {"name": profile.name, "revision": profile.revision, "own": profile.is_own, "questions": questions}


def _field(question: Question) -> str:
    return question.name if question.name in RECORD_FIELDS else f"answers.{question.name}"


def _lines(question: Question, tag: str) -> Iterator[Text]:
    yield Text()
    kind = f"{question.kind}: {', '.join(question.choices)}" if question.choices else question.kind.value
    yield plain(_field(question), "bold") + plain(f"  {kind}, up to {question.max_tokens} tokens")
    if question.when is not None:
        yield plain(f"asked when {question.when}", "dim")
    yield plain(question.prompt_in(tag))

"""`pagesight kibana`: install or export Pagesight's objects in Kibana."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.exits import ErrorReportingGroup, ExitCode
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, stdout
from pipeline.core.errors import SettingsError
from pipeline.core.settings import Settings, load
from pipeline.kibana import bundle, differences
from pipeline.kibana import install as install_objects

INSTALL_EXAMPLES = """
**Examples**

`pagesight kibana install` · data views, saved searches, charts, dashboards and alert rules; safe to run again

`pagesight kibana install --space archive` · into another space, which is created if missing

`pagesight kibana install --check` · only list differences

Exit codes: 0 done, 1 something differs (`--check`), 2 usage, or no Kibana is configured, 3 Kibana refuses or is
unreachable.
"""
EXPORT_EXAMPLES = """
**Examples**

`pagesight kibana export pagesight.ndjson` · for Stack Management → Saved Objects → Import

Exit codes: 0 done, 2 usage, or the file cannot be written.
"""

app = typer.Typer(
    cls=ErrorReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Data views, saved searches, dashboards and alert rules in Kibana.",
)

Space = Annotated[
    str | None, typer.Option("--space", "-s", help="Id of the space.", show_default="PAGESIGHT_KIBANA_SPACE")
]


@app.command(epilog=INSTALL_EXAMPLES)
def install(
    space: Space = None,
    check: Annotated[bool, typer.Option("--check", help="Only list differences; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Create missing objects, update changed ones, and list the changes."""
    settings = load()
    name = _space(space, settings)
    found = differences(settings, name) if check else install_objects(settings, name)
    if as_json:
        print_json({"space": name, "differences" if check else "changes": found})
    else:
        for words in found or ("Nothing differs." if check else "Nothing changed.",):
            stdout().print(plain(words))
    raise typer.Exit(ExitCode.SOME_FAILED if check and found else ExitCode.OK)


@app.command(epilog=EXPORT_EXAMPLES)
def export(
    file: Annotated[Path, typer.Argument(help="File to write, ending in .ndjson.", show_default=False)],
    space: Space = None,
    as_json: Json = False,
) -> None:
    """Write the objects to a file for importing by hand. Alert rules are not included."""
    settings = load()
    if file.suffix != ".ndjson":
        raise SettingsError(f"{file} does not end in .ndjson", remedy="Kibana only imports files with this ending.")
    ndjson = bundle(settings, _space(space, settings)).ndjson()
    try:
        file.write_text(ndjson, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}", remedy="Name another file.") from None
    count = len(ndjson.splitlines())
    if as_json:
        print_json({"file": str(file), "objects": count})
    else:
        stdout().print(plain(f"{count} objects in {file}"))


def _space(given: str | None, settings: Settings) -> str:
    """Return the space to use.

    Raises:
        SettingsError: Kibana does not allow this id.
    """
    if given is None:
        return settings.kibana_space
    if not re.fullmatch(r"[a-z0-9_-]+", given):
        raise SettingsError(f"{given!r} is not a valid space id", remedy="Use lower-case letters, digits, `-` and `_`.")
    return given

"""`pagesight security`: create API keys with the rights of a role."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from pipeline.cli.exits import ErrorReportingGroup
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, stderr, stdout
from pipeline.core.errors import SettingsError
from pipeline.core.settings import load
from pipeline.search import ROLES
from pipeline.services import open_index

KEY_EXAMPLES = """
**Examples**

`pagesight security key writer` · for workers, as PAGESIGHT_ELASTICSEARCH_API_KEY

`pagesight security key reader --name "archive search" --expires 365d`

`pagesight security key reindexer --json | jq -r .encoded`

Sign in with the right to manage security: `PAGESIGHT_ELASTICSEARCH_URL=https://elastic:…@search.example.org:9200`.

Exit codes: 0 done, 2 usage or settings, 3 the cluster refuses, has security disabled or is unreachable.
"""

app = typer.Typer(
    cls=ErrorReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Create API keys with the rights of a role.",
)


@app.callback()
def _root() -> None:
    pass


@app.command("key", epilog=KEY_EXAMPLES)
def key(
    role: Annotated[str, typer.Argument(help=f"One of: {', '.join(ROLES)}.")],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the key in the cluster.", show_default="pagesight-ROLE")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="Lifetime of the key, such as 90d.", show_default="never"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create an API key with the rights of a role, and print it. Store it: the cluster keeps only its hash."""
    if role not in ROLES:
        raise SettingsError(f"unknown role: {role!r}", remedy=f"The roles are {', '.join(ROLES)}.")
    with closing(open_index(load())) as index:
        made = index.security.create_key(role, name or f"pagesight-{role}", expires)
    if as_json:
        print_json(asdict(made))
    else:
        stderr().print(plain(f"The key {made.name} ({made.id}), which cannot be shown again:", "dim"))
        stdout().print(plain(made.encoded))

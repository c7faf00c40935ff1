"""`pagesight token`: make, list and revoke tokens for `pagesight serve`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from pipeline.batches.lifecycle import collection_name
from pipeline.cli.exits import ErrorReportingGroup
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, rows, stderr, stdout, table
from pipeline.core.models import AccessToken, Scope
from pipeline.core.settings import load
from pipeline.services import open_archive
from pipeline.verbs import tokens

CREATE_EXAMPLES = """
**Examples**

`pagesight token create "reading room"` · for searching and looking at pages

`pagesight token create scanner --scope write --collection works --expires 90d` · for queueing files of one collection

`curl -H "Authorization: Bearer TOKEN" http://127.0.0.1:8765/api/v1/collections`

Exit codes: 0 done, 2 usage or settings, 3 the archive refuses.
"""
LIST_EXAMPLES = """
**Examples**

`pagesight token list` · names and rights; the tokens themselves are not stored

`pagesight token list --json | jq -r '.tokens[] | select(.valid) | .name'`

Exit codes: 0 done, 2 usage or settings, 3 the archive is unusable.
"""
REVOKE_EXAMPLES = """
**Examples**

`pagesight token revoke "reading room"` · by its name or id; servers refuse it within 10 seconds

Exit codes: 0 done, 2 no such token, 3 the archive refuses.
"""

app = typer.Typer(
    cls=ErrorReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Make, list and revoke tokens for `pagesight serve`.",
)


@app.command("create", epilog=CREATE_EXAMPLES)
def create(
    name: Annotated[str, typer.Argument(help="Name of the token, for people.")],
    scope: Annotated[
        Scope, typer.Option("--scope", help="Level of rights; a higher level includes the lower ones.")
    ] = Scope.READ,
    collections: Annotated[
        list[str] | None,
        typer.Option("--collection", "-c", help="Only this collection; may be repeated.", show_default="all"),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="Lifetime, such as 90d.", show_default="never")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it. Store it: the archive keeps only its hash."""
    lifetime = tokens.parse_lifetime(expires) if expires else None
    only = frozenset(map(collection_name, collections)) if collections else None
    made = tokens.create_token(open_archive(load()), name, scope, only, datetime.now(UTC), lifetime)
    if as_json:
        print_json({"token": made.text} | _json(made.token))
    else:
        stderr().print(plain(f"The token {name} ({made.token.id}), which cannot be shown again:", "dim"))
        stdout().print(plain(made.text))


@app.command("list", epilog=LIST_EXAMPLES)
def list_tokens(as_json: Json = False) -> None:
    """List tokens with their rights and their state."""
    found = list(tokens.list_tokens(open_archive(load())))
    if as_json:
        print_json({"tokens": [_json(token) for token in found]})
    elif found:
        stdout().print(
            rows(table("name", "id", "scope", "collections", "created", "expires", "state"), map(_row, found))
        )
    else:
        stdout().print("No tokens yet: `pagesight token create NAME` makes one.")


@app.command("revoke", epilog=REVOKE_EXAMPLES)
def revoke(token: Annotated[str, typer.Argument(help="Name or id of the token.")], as_json: Json = False) -> None:
    """Revoke a token for good."""
    revoked = tokens.revoke_token(open_archive(load()), token, datetime.now(UTC))
    if as_json:
        print_json(_json(revoked))
    else:
        stdout().print(plain(f"The token {revoked.name} ({revoked.id}) is revoked."))


def _json(token: AccessToken) -> dict[str, Any]:
    fields = token.model_dump(mode="json", exclude={"digest", "revision"})
    return fields | {"valid": tokens.is_valid(token, datetime.now(UTC))}


def _row(token: AccessToken) -> tuple[object, ...]:
    expires = f"{token.expires_at:%Y-%m-%d %H:%M}" if token.expires_at else "never"
    collections = "all" if token.collections is None else ", ".join(token.collections)
    return token.name, token.id, token.scope, collections, f"{token.created_at:%Y-%m-%d}", expires, _state(token)


def _state(token: AccessToken) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "valid" if tokens.is_valid(token, datetime.now(UTC)) else "expired"

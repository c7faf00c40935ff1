"""The command tree."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Annotated

import typer

from pipeline.cli import doctor, index, keeping, node, searching
from pipeline.cli.exits import CalmGroup

app = typer.Typer(
    name="pagesight",
    cls=CalmGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Makes piles of PDFs and scans searchable by what their pages show.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("pagesight"))
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("index", epilog=index.EXAMPLES)(index.index)
app.command("search", epilog=searching.SEARCH_EXAMPLES)(searching.search)
app.command("show", epilog=searching.SHOW_EXAMPLES)(searching.show)
app.command("status", epilog=searching.STATUS_EXAMPLES)(searching.status)
app.command("failures", epilog=searching.FAILURES_EXAMPLES)(searching.failures)
app.command("delete", epilog=keeping.DELETE_EXAMPLES)(keeping.delete)
app.command("rebuild", epilog=keeping.REBUILD_EXAMPLES)(keeping.rebuild)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.add_typer(node.app, name="elasticsearch")


def main() -> None:
    """Run `pagesight`."""
    # It warns of every failed connection; those are waited for, and progress says so.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    app()

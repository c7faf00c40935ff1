"""`pagesight elasticsearch`: start, stop and inspect the local node."""

from __future__ import annotations

import typer

from pipeline.cli.exits import ErrorReportingGroup
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, rows, stderr, stdout, table
from pipeline.core.settings import load
from pipeline.local.elasticsearch import LocalNode

START_EXAMPLES = """
**Examples**

`pagesight elasticsearch start` · downloads it the first time (needs Maven and JDK 21 or newer), then starts it

Exit codes: 0 it runs, 3 the download or the start failed.
"""
STOP_EXAMPLES = """
**Examples**

`pagesight elasticsearch stop` · its data is kept

Exit codes: 0 it has stopped, 3 it cannot be stopped.
"""
STATUS_EXAMPLES = """
**Examples**

`pagesight elasticsearch status --json`

Exit codes: 0 done, 2 usage or settings.
"""

app = typer.Typer(
    cls=ErrorReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Start and stop a local Elasticsearch node, for demonstration and development.",
)


@app.command(epilog=START_EXAMPLES)
def start(as_json: Json = False) -> None:
    """Start the local node; download it first if necessary."""
    console = stderr()
    url = LocalNode(load().home).start(lambda words: console.print(plain(words, "dim")))
    if as_json:
        print_json({"url": url})
    else:
        stdout().print(plain(f"Elasticsearch runs at {url}"))


@app.command(epilog=STOP_EXAMPLES)
def stop(as_json: Json = False) -> None:
    """Stop the local node; its data is kept."""
    ran = LocalNode(load().home).stop()
    if as_json:
        print_json({"stopped": ran})
    else:
        stdout().print("Stopped." if ran else "It was not running.")


@app.command(epilog=STATUS_EXAMPLES)
def status(as_json: Json = False) -> None:
    """Show whether the local node runs, and its URL."""
    node = LocalNode(load().home).status()
    facts = {"running": node.running, "url": node.url, "pid": node.pid, "folder": str(node.folder)}
    if as_json:
        print_json(facts)
    else:
        stdout().print(rows(table("local node", ""), facts.items()))

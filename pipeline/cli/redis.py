"""`pagesight redis`: start, stop and inspect the local Redis."""

from __future__ import annotations

import typer

from pipeline.cli.exits import ErrorReportingGroup
from pipeline.cli.options import Json
from pipeline.cli.output import plain, print_json, rows, stdout, table
from pipeline.core.masking import masked
from pipeline.core.settings import load
from pipeline.local.redis import LocalRedis

START_EXAMPLES = """
**Examples**

`pagesight redis start` · start the system's `redis-server`; without one, `apt-get install redis-server`

Exit codes: 0 it runs, 3 no server program was found, or it does not start.
"""
STOP_EXAMPLES = """
**Examples**

`pagesight redis stop` · queued messages are kept

Exit codes: 0 it has stopped, 3 it cannot be stopped.
"""
STATUS_EXAMPLES = """
**Examples**

`pagesight redis status --json`

Exit codes: 0 done, 2 usage or settings.
"""

app = typer.Typer(
    cls=ErrorReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Start and stop a local Redis, for demonstration and development.",
)


@app.command(epilog=START_EXAMPLES)
def start(as_json: Json = False) -> None:
    """Start the local Redis."""
    url = LocalRedis(load().home).start()
    if as_json:
        print_json({"url": url})
    else:
        stdout().print(plain(f"Redis runs at {masked(url)}"))


@app.command(epilog=STOP_EXAMPLES)
def stop(as_json: Json = False) -> None:
    """Stop the local Redis; its data is kept."""
    ran = LocalRedis(load().home).stop()
    if as_json:
        print_json({"stopped": ran})
    else:
        stdout().print("Stopped." if ran else "It was not running.")


@app.command(epilog=STATUS_EXAMPLES)
def status(as_json: Json = False) -> None:
    """Show whether the local Redis runs, and its URL."""
    redis = LocalRedis(load().home).status()
    facts = {"running": redis.running, "url": redis.url, "pid": redis.pid, "folder": str(redis.folder)}
    if as_json:
        print_json(facts)
    else:
        facts["url"] = masked(redis.url or "")
        stdout().print(rows(table("local Redis", ""), facts.items()))

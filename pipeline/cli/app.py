"""The command tree."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Annotated

import typer

from pipeline.cli import (
    archive,
    ask,
    beat,
    delete,
    doctor,
    elasticsearch,
    enqueue,
    evaluate,
    failures,
    fleet,
    index,
    inspect,
    kibana,
    plan,
    profile,
    redescribe,
    redis,
    reindex,
    repair,
    review,
    schedule,
    search,
    security,
    serve,
    setup,
    status,
    sync,
    watch,
    worker,
)
from pipeline.cli.exits import ErrorReportingGroup

app = typer.Typer(
    name="pagesight",
    cls=ErrorReportingGroup,
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
app.command("inspect", epilog=inspect.EXAMPLES)(inspect.inspect)
app.command("plan", epilog=plan.EXAMPLES)(plan.plan)
app.command("search", epilog=search.SEARCH_EXAMPLES)(search.search)
app.command("ask", epilog=ask.EXAMPLES)(ask.ask)
app.command("show", epilog=search.SHOW_EXAMPLES)(search.show)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("enqueue", epilog=enqueue.EXAMPLES)(enqueue.enqueue)
app.command("status", epilog=status.EXAMPLES)(status.status)
app.command("batches", epilog=fleet.BATCHES_EXAMPLES)(fleet.batches)
app.command("cancel", epilog=fleet.CANCEL_EXAMPLES)(fleet.cancel)
app.command("pause", epilog=fleet.PAUSE_EXAMPLES)(fleet.pause)
app.command("resume", epilog=fleet.RESUME_EXAMPLES)(fleet.resume)
app.command("failures", epilog=failures.FAILURES_EXAMPLES)(failures.failures)
app.command("retry", epilog=failures.RETRY_EXAMPLES)(failures.retry)
app.command("redescribe", epilog=redescribe.EXAMPLES)(redescribe.redescribe)
app.command("repair", epilog=repair.EXAMPLES)(repair.repair)
app.command("delete", epilog=delete.DELETE_EXAMPLES)(delete.delete)
app.command("review", epilog=review.EXAMPLES)(review.review)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("setup", epilog=setup.EXAMPLES)(setup.setup)
app.command("reindex", epilog=reindex.EXAMPLES)(reindex.reindex_command)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.command("worker", epilog=worker.WORKER_EXAMPLES)(worker.worker)
app.command("sync", epilog=sync.SYNC_EXAMPLES)(sync.sync)
app.command("watch", epilog=watch.WATCH_EXAMPLES)(watch.watch)
app.command("beat", epilog=beat.BEAT_EXAMPLES)(beat.beat)
app.add_typer(profile.app, name="profile")
app.add_typer(archive.app, name="archive")
app.add_typer(schedule.app, name="schedule")
app.add_typer(kibana.app, name="kibana")
app.add_typer(security.app, name="security")
app.add_typer(elasticsearch.app, name="elasticsearch")
app.add_typer(redis.app, name="redis")


def main() -> None:
    """Run `pagesight`."""
    # It warns of every failed connection; those are waited for, and progress says so.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    app()

"""The command tree."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Annotated

import typer

from pipeline.cli import (
    ask,
    backing_up,
    batches,
    beat,
    cancel,
    delete,
    doctor,
    elasticsearch,
    enqueue,
    evaluate,
    failures,
    index,
    inspect,
    kibana,
    pause,
    plan,
    profile,
    redescribe,
    redis,
    reindex,
    repair,
    resume,
    retry,
    review,
    schedule,
    search,
    security,
    serve,
    setup,
    show,
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
app.command("search", epilog=search.EXAMPLES)(search.search)
app.command("ask", epilog=ask.EXAMPLES)(ask.ask)
app.command("show", epilog=show.EXAMPLES)(show.show)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("enqueue", epilog=enqueue.EXAMPLES)(enqueue.enqueue)
app.command("status", epilog=status.EXAMPLES)(status.status)
app.command("batches", epilog=batches.EXAMPLES)(batches.batches)
app.command("cancel", epilog=cancel.EXAMPLES)(cancel.cancel)
app.command("pause", epilog=pause.EXAMPLES)(pause.pause)
app.command("resume", epilog=resume.EXAMPLES)(resume.resume)
app.command("failures", epilog=failures.EXAMPLES)(failures.failures)
app.command("retry", epilog=retry.EXAMPLES)(retry.retry)
app.command("redescribe", epilog=redescribe.EXAMPLES)(redescribe.redescribe)
app.command("repair", epilog=repair.EXAMPLES)(repair.repair)
app.command("delete", epilog=delete.EXAMPLES)(delete.delete)
app.command("review", epilog=review.EXAMPLES)(review.review)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("setup", epilog=setup.EXAMPLES)(setup.setup)
app.command("reindex", epilog=reindex.EXAMPLES)(reindex.reindex_command)
app.command("backup", epilog=backing_up.BACKUP_EXAMPLES)(backing_up.backup)
app.command("restore", epilog=backing_up.RESTORE_EXAMPLES)(backing_up.restore)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.command("worker", epilog=worker.EXAMPLES)(worker.worker)
app.command("sync", epilog=sync.EXAMPLES)(sync.sync)
app.command("watch", epilog=watch.EXAMPLES)(watch.watch)
app.command("beat", epilog=beat.EXAMPLES)(beat.beat)
app.add_typer(profile.app, name="profile")
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

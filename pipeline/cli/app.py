"""The command tree."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Annotated

import typer

from pipeline.cli import (
    ask,
    backing_up,
    broker,
    doctor,
    enqueue,
    evaluate,
    failing,
    fleet,
    fleet_beat,
    fleet_processes,
    index,
    inspecting,
    keeping,
    kibana,
    node,
    plan,
    profile,
    redescribe,
    reindexing,
    repairing,
    review,
    scheduling,
    searching,
    securing,
    serving,
    setting_up,
    status,
    syncing,
    watching,
)
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
app.command("inspect", epilog=inspecting.EXAMPLES)(inspecting.inspect)
app.command("plan", epilog=plan.EXAMPLES)(plan.plan)
app.command("search", epilog=searching.SEARCH_EXAMPLES)(searching.search)
app.command("ask", epilog=ask.EXAMPLES)(ask.ask)
app.command("show", epilog=searching.SHOW_EXAMPLES)(searching.show)
app.command("serve", epilog=serving.EXAMPLES)(serving.serve)
app.command("enqueue", epilog=enqueue.EXAMPLES)(enqueue.enqueue)
app.command("status", epilog=status.EXAMPLES)(status.status)
app.command("batches", epilog=fleet.BATCHES_EXAMPLES)(fleet.batches)
app.command("cancel", epilog=fleet.CANCEL_EXAMPLES)(fleet.cancel)
app.command("pause", epilog=fleet.PAUSE_EXAMPLES)(fleet.pause)
app.command("resume", epilog=fleet.RESUME_EXAMPLES)(fleet.resume)
app.command("failures", epilog=failing.FAILURES_EXAMPLES)(failing.failures)
app.command("retry", epilog=failing.RETRY_EXAMPLES)(failing.retry)
app.command("redescribe", epilog=redescribe.EXAMPLES)(redescribe.redescribe)
app.command("repair", epilog=repairing.EXAMPLES)(repairing.repair)
app.command("delete", epilog=keeping.DELETE_EXAMPLES)(keeping.delete)
app.command("review", epilog=review.EXAMPLES)(review.review)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("setup", epilog=setting_up.EXAMPLES)(setting_up.setup)
app.command("reindex", epilog=reindexing.EXAMPLES)(reindexing.reindex_command)
app.command("backup", epilog=backing_up.BACKUP_EXAMPLES)(backing_up.backup)
app.command("restore", epilog=backing_up.RESTORE_EXAMPLES)(backing_up.restore)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.command("worker", epilog=fleet_processes.WORKER_EXAMPLES)(fleet_processes.worker)
app.command("sync", epilog=syncing.SYNC_EXAMPLES)(syncing.sync)
app.command("watch", epilog=watching.WATCH_EXAMPLES)(watching.watch)
app.command("beat", epilog=fleet_beat.BEAT_EXAMPLES)(fleet_beat.beat)
app.add_typer(profile.app, name="profile")
app.add_typer(scheduling.app, name="schedule")
app.add_typer(kibana.app, name="kibana")
app.add_typer(securing.app, name="security")
app.add_typer(node.app, name="elasticsearch")
app.add_typer(broker.app, name="redis")


def main() -> None:
    """Run `pagesight`."""
    # It warns of every failed connection; those are waited for, and progress says so.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    app()

"""The command tree: the table of commands, and the program `pagesight`."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Annotated, ClassVar

import typer

from pipeline.cli.lazy import Entry, LazyGroup
from pipeline.core.configuration import CONFIG_VARIABLE, announcer
from pipeline.core.masking import masked
from pipeline.core.process_secrets import withhold_secrets


class RootGroup(LazyGroup):
    """Every command, in the sections and the order of `pagesight --help`."""

    sections: ClassVar = {
        "Index": (
            Entry("index", "Index files in this process: render, read, archive, index."),
            Entry("inspect", "Show pages, cost and failures to expect; index nothing."),
            Entry("plan", "Estimate the calls, tokens and time that are left to spend."),
            Entry("profile", "List, show and check profiles: the questions about pages."),
        ),
        "Queue": (
            Entry("enqueue", "Queue files for the workers."),
            Entry("status", "Show the progress of a batch, or of the whole fleet."),
            Entry("batches", "List batches, newest first."),
            Entry("cancel", "Cancel a batch."),
            Entry("pause", "Pause the fleet or a batch."),
            Entry("resume", "Resume the fleet or a batch."),
            Entry("failures", "List failed pages and files, with causes and remedies."),
            Entry("retry", "Enqueue failed pages and files again."),
        ),
        "Search": (
            Entry("search", "Search pages by description and text."),
            Entry("show", "Show everything known about a document or a page."),
            Entry("ask", "Answer a question from page images."),
            Entry("serve", "Serve pages and search in a browser."),
        ),
        "Collections and index life": (
            Entry("collections", "List collections with documents, pages, size and state."),
            Entry("documents", "List documents with pages, size and status."),
            Entry("sync", "Compare a folder with its collection; enqueue differences."),
            Entry("watch", "Enqueue files as they arrive in a folder."),
            Entry("redescribe", "Read stale pages again with the current settings."),
            Entry("embed", "Make the vectors that pages lack, for the search by meaning."),
            Entry("review", "Write an HTML page for judging a sample of readings."),
            Entry("evaluate", "Score readings against expected texts."),
            Entry("delete", "Delete a document or a collection."),
            Entry("reindex", "Rebuild the indices from the archive, or roll back."),
            Entry("repair", "Compare sources, archive and index; repair differences."),
            Entry("archive", "Check the archive, or accept another one."),
        ),
        "Operate": (
            Entry("setup", "Create or update indices, roles and Kibana objects."),
            Entry("doctor", "Check services, programs and, on request, settings."),
            Entry("worker", "Run a worker."),
            Entry("beat", "Run the beat, which triggers scheduled work every minute."),
            Entry("schedule", "List schedules and their runs, or run one now."),
            Entry("token", "Make, list and revoke tokens for `serve`."),
            Entry("security", "Create API keys with the rights of a role."),
            Entry("kibana", "Install or export dashboards, searches and alert rules."),
            Entry("elasticsearch", "Start or stop a local Elasticsearch node."),
            Entry("redis", "Start or stop a local Redis."),
        ),
    }


app = typer.Typer(
    name="pagesight",
    cls=RootGroup,
    no_args_is_help=True,
    rich_markup_mode=None,  # the plain help of the root needs no rich, which takes as long to import as all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Make PDFs, slides and scans searchable by what their pages show.",
    epilog="`pagesight COMMAND --help` shows options, examples and exit codes.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # here, since only this option needs it

        typer.echo(version("pagesight"))
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Read the settings from this file.",
            show_default="PAGESIGHT_CONFIG, or the first safe pagesight.toml",
        ),
    ] = None,
) -> None:
    announcer.tell = lambda notice: typer.echo(notice, err=True)
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.absolute())


def main() -> None:
    """Run `pagesight`, as a process that keeps its secrets to itself."""
    withhold_secrets()
    run()


def run() -> None:
    """Run `pagesight` with the arguments of this process."""
    # This logger warns about every failed connection. Commands wait for those, and their progress reports the wait.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    sys.excepthook = _print_unexpected
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda thrown: _print_unexpected(thrown.exc_type, thrown.exc_value, thrown.exc_traceback)
    app()


def _print_unexpected(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Print a traceback without secrets: libraries quote URLs and headers in their errors."""
    import traceback  # here, since only a fault of Pagesight needs it

    sys.stderr.write(masked("".join(traceback.format_exception(kind, error, trace))))

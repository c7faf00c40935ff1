"""Exit codes, and how an error becomes one: print cause and remedy, never a traceback."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import typer
from typer.core import TyperGroup

from pipeline.core.errors import (
    ArchiveDamaged,
    PagesightError,
    ServiceRefused,
    ServiceUnavailable,
    SettingsError,
    Stopped,
)


class ExitCode(IntEnum):
    """Exit codes of all commands. The README has this table."""

    OK = 0
    """Everything succeeded."""
    SOME_FAILED = 1
    """Finished, but some pages or files failed: `pagesight failures` lists them."""
    USAGE = 2
    """An argument, an option or a setting is wrong."""
    REFUSED = 3
    """A service refuses or is unreachable: key, balance, model, cluster, archive."""
    EXHAUSTED = 4
    """The budget of tokens or pages is used up. The same command with a larger budget continues."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C or SIGTERM. The same command continues."""


def exit_code(error: PagesightError) -> ExitCode:
    """Return the exit code of a command that this error ended."""
    match error:
        case SettingsError():
            return ExitCode.USAGE
        case ServiceRefused() | ServiceUnavailable() | ArchiveDamaged():
            return ExitCode.REFUSED
        case Stopped():
            return ExitCode.INTERRUPTED
        case _:
            return ExitCode.SOME_FAILED


class ErrorReportingGroup(TyperGroup):
    """A group of commands that prints expected errors as cause and remedy."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except PagesightError as error:
            from pipeline.cli.output import (
                print_error,  # here, since rich is slow to import and most calls print no error
            )

            print_error(error)
            raise typer.Exit(exit_code(error)) from None

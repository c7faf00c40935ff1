"""Exit codes, and errors turned into them: the cause, the remedy, never a traceback."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import typer
from typer.core import TyperGroup

from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable, SettingsError, Stopped


class ExitCode(IntEnum):
    """Exit codes of every command; the README shows this table."""

    OK = 0
    """All that was asked is done, and every page is fine."""
    SOME_FAILED = 1
    """Done, but some pages or files failed: `pagesight failures` names them."""
    USAGE = 2
    """A word on the command line or a setting is wrong."""
    REFUSED = 3
    """A service refuses or is away: key, balance, model, cluster, archive."""
    EXHAUSTED = 4
    """A budget of tokens or pages is used up; the same command with another one goes on."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C or SIGTERM; the same command goes on."""


def exit_code(error: PagesightError) -> ExitCode:
    """Return the exit code of a command that ended by this error."""
    match error:
        case SettingsError():
            return ExitCode.USAGE
        case ServiceRefused() | ServiceUnavailable():
            return ExitCode.REFUSED
        case Stopped():
            return ExitCode.INTERRUPTED
        case _:
            return ExitCode.SOME_FAILED


class ErrorReportingGroup(TyperGroup):
    """A group of commands whose expected errors are printed as cause and remedy."""

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

"""A group whose commands are imported when they are called.

Importing every command takes about a second, most of it for libraries that one command needs and the others do not. The
root's `--help` and shell completion therefore read a table, and only the command that was named is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand
from typer.main import get_group

from pipeline.cli.exits import ErrorReportingGroup


@dataclass(frozen=True, slots=True)
class Entry:
    """A command in the table. Module `pipeline.cli.NAME` has the function NAME and its EXAMPLES, or a Typer `app`."""

    name: str
    summary: str
    """What `pagesight --help` says about it."""


class LazyGroup(ErrorReportingGroup):
    """Commands from a table with titled sections. `get_command` returns a summary only; `resolve_command` imports."""

    sections: ClassVar[dict[str, tuple[Entry, ...]]]
    """Entries by section title. Set by a subclass."""

    def __init__(self, **options: Any) -> None:
        stubs = {entry.name: TyperCommand(entry.name, help=entry.summary) for entry in self.entries()}
        super().__init__(**options | {"commands": stubs})

    @classmethod
    def entries(cls) -> Iterable[Entry]:
        """Return every entry of the table, in order."""
        return (entry for section in cls.sections.values() for entry in section)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is called, and import it."""
        name, stub, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name and stub else None, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each section of the table under its title, all with the same indentation."""
        width = max(len(entry.name) for entry in self.entries())
        for title, entries in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(entry.name.ljust(width), entry.summary) for entry in entries])


def load_command(name: str) -> Any:
    """Import the module of a command and return its `TyperCommand`, or its `TyperGroup` if it has subcommands.

    A module whose command parses its arguments itself has a class for it, named `Command`.
    """
    module = import_module(f"pipeline.cli.{name}")
    if hasattr(module, "app"):
        group = get_group(module.app)
        group.name = name
        return group
    parent = typer.Typer(rich_markup_mode="markdown")
    cls = getattr(module, "Command", TyperCommand)
    parent.command(name, cls=cls, epilog=module.EXAMPLES)(getattr(module, name))
    return get_group(parent).commands[name]

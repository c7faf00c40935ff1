"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
CollectionFilter = Annotated[
    str | None, typer.Option("--collection", "-c", help="Only this collection.", show_default="all")
]

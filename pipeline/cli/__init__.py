"""What people type: `pagesight`, its commands, their output and exit codes."""

from pipeline.cli.app import main

__all__ = ["main"]

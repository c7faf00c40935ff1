"""`pagesight restore`."""

from pipeline.cli.backing_up import RESTORE_EXAMPLES as EXAMPLES
from pipeline.cli.backing_up import restore

__all__ = ["EXAMPLES", "restore"]

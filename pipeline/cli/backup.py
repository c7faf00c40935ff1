"""`pagesight backup`."""

from pipeline.cli.backing_up import BACKUP_EXAMPLES as EXAMPLES
from pipeline.cli.backing_up import backup

__all__ = ["EXAMPLES", "backup"]

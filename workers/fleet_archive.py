"""The archive of a fleet: all its processes use one archive, and Redis has its id beside the epoch.

Messages name batches of this archive. With another archive, or an empty one, a worker would drop them.
"""

from __future__ import annotations

import structlog

from pipeline.archive import Archive
from pipeline.core.errors import ArchiveMissing
from pipeline.core.objects import OBJECT_WAITS_SECONDS
from pipeline.core.retry import CancelToken, retry_until_available
from pipeline.core.settings import Settings
from pipeline.services import open_archive
from workers.redis.queues import RedisQueues

log = structlog.get_logger()


def require_fleet_archive(archive: Archive, queues: RedisQueues) -> None:
    """Check that an archive is the fleet's, and name it in Redis where Redis has no archive.

    Raises:
        ArchiveMissing: the fleet's archive is not at this location.
        ServiceUnavailable: Redis is away.
    """
    archive.require(queues.archive_id())
    archive.require(queues.claim_archive(archive.establish()))


def wait_for_fleet_archive(settings: Settings, queues: RedisQueues, cancel: CancelToken) -> Archive:
    """Open the fleet's archive as soon as it is there. Its calls do not wait.

    Raises:
        Stopped: the token ended first.
        ServiceRefused: the archive or Redis refuses.
    """

    def open_present() -> Archive:
        try:
            archive = open_archive(settings)
            require_fleet_archive(archive, queues)
        except ArchiveMissing as error:
            log.warning("waiting for the archive", cause=str(error), remedy=error.remedy)
            raise
        return archive

    return retry_until_available(open_present, cancel, OBJECT_WAITS_SECONDS)

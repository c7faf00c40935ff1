"""The archive of a fleet: all its processes use one archive. Redis has its id beside the epoch, the indices in `_meta`.

Messages name batches of this archive. With another archive, or an empty one, a worker would drop them.
"""

from __future__ import annotations

from contextlib import closing

import structlog

from pipeline.archive import Archive
from pipeline.core.errors import ArchiveUnavailable, ServiceRefused, ServiceUnavailable
from pipeline.core.objects import OBJECT_WAITS_SECONDS
from pipeline.core.retry import CancelToken, retry_until_available
from pipeline.core.settings import Settings
from pipeline.projection.ownership import require_archive_of_indices
from pipeline.search.index import Index
from pipeline.services import open_archive, open_index
from workers.redis.queues import RedisQueues

log = structlog.get_logger()


def require_known_archive(archive: Archive, queues: RedisQueues, index: Index) -> None:
    """Check that an archive is the one of the fleet and of the indices, and name it where none is named.

    While Elasticsearch is away or refuses, what Redis and the home remember counts.

    Raises:
        ArchiveMissing: the known archive is not at this location.
        ServiceUnavailable: Redis is away.
    """
    archive.require(queues.archive_id())
    try:
        require_archive_of_indices(archive, index)
    except ArchiveUnavailable:
        raise
    except (ServiceUnavailable, ServiceRefused) as error:
        log.info("the indices were not asked for their archive", cause=str(error))
    require_fleet_archive(archive, queues)


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
            with closing(open_index(settings)) as index:
                require_known_archive(archive, queues, index)
        except ArchiveUnavailable as error:
            log.warning("waiting for the archive", cause=str(error), remedy=error.remedy)
            raise
        return archive

    return retry_until_available(open_present, cancel, OBJECT_WAITS_SECONDS)

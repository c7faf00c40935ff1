"""Each installation of indices is made from one archive, whose id it has in `_meta`. Another archive is refused.

A home that is new and a Redis that was lost do not know an archive; the indices then tell that its disk is missing.
"""

from __future__ import annotations

import logging

from pipeline.archive import Archive
from pipeline.core.errors import ServiceRefused, ServiceUnavailable
from pipeline.search.index import Index

log = logging.getLogger(__name__)


def require_archive_of_indices(archive: Archive, index: Index) -> None:
    """Check that an archive is the one of the indices. Indices that know none get its id.

    Raises:
        ArchiveMissing: the archive of the indices is not at the location.
        ServiceUnavailable: the cluster is unavailable.
        ServiceRefused: the cluster refuses.
    """
    known = index.generations.archive_id()
    archive.require(known)
    if known is None:
        name_archive(archive.establish(), index)


def name_archive(identifier: str, index: Index) -> None:
    """Note in the indices which archive they are made from, where the key may do that and no block forbids it.

    A writer's key changes no mapping. The id is then noted by the next command, worker or tick whose key may do that;
    `pagesight setup` does not open the archive, so it notes none.
    """
    try:
        index.generations.name_archive(identifier)
    except (ServiceRefused, ServiceUnavailable) as error:
        log.info("The indices do not have the id of the archive: %s", error)

"""Helpers of the commands that use the queue: connection, time limits, indices, batch records."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from pipeline.archive import Archive
from pipeline.cli.output import plain, stderr
from pipeline.core.errors import ArchiveUnavailable, PagesightError, ServiceRefused, ServiceUnavailable, Stopped
from pipeline.core.models import Batch
from pipeline.core.retry import CancelToken
from pipeline.core.settings import Settings
from pipeline.projection.ownership import require_archive_of_indices
from pipeline.services import open_index, open_projector

if TYPE_CHECKING:
    from pipeline.vision.profile import Profile
    from workers.client import Fleet

#: Time limits for a batch's record (Elasticsearch) and its messages (Redis). The archive already has both.
RECORD_SECONDS = 3.0
PUBLISH_SECONDS = 30.0


def open_fleet(settings: Settings, archive: Archive, cancel: CancelToken) -> Fleet:
    """Connect to the fleet. Nothing is sent yet.

    Raises:
        ServiceRefused: no Redis is configured and the local one does not run.
        SettingsError: its URL cannot be used.
    """
    from workers.client import Fleet

    return Fleet(settings, archive, cancel)


def install_indices(settings: Settings, archive: Archive, profile: Profile | None = None) -> bool:
    """Create missing indices, and fields for the answers to a profile's questions; check whose indices they are.

    Returns False if Elasticsearch refuses or is unreachable: workers wait for it.

    Raises:
        SettingsError: the answers do not fit the mapping of the indices.
        ArchiveMissing: the indices are made from another archive.
    """
    try:
        with closing(open_index(settings)) as index:
            index.ensure()
            require_archive_of_indices(archive, index)
            if profile is not None:
                index.require_answers(profile.own_kinds)
    except ArchiveUnavailable:
        raise
    except (ServiceUnavailable, ServiceRefused) as error:
        words = f"{error}. The batch is queued anyway: pages are archived, and their records are written later."
        stderr().print(plain(words, "yellow"))
        return False
    return True


def project_batch(archive: Archive, settings: Settings, batch: Batch) -> None:
    """Write the record of a batch. If Elasticsearch cannot take it now, print a note: the archive already has it."""
    try:
        with closing(open_index(settings)) as index:
            cancel = CancelToken().within(RECORD_SECONDS)
            open_projector(settings, archive, index, cancel).batch(batch)
    except PagesightError as error:
        cause = "Elasticsearch is unreachable" if isinstance(error, Stopped) else str(error)
        stderr().print(plain(f"The batch is not in the index yet ({cause}); the workers add it later.", "dim"))

"""The identity of an archive: a random id in its file `archive.json`, created with the first thing that is written.

An unmounted disk looks like an empty archive. So each home remembers the id that it has seen at each location, a fleet
remembers its id in Redis, and the indices have it in `_meta`. Where the remembered archive is missing, nothing is read,
written or paid for.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline.core.errors import ArchiveMissing, ServiceRefused
from pipeline.core.models import Archived
from pipeline.core.private import create_private, make_private_folder

#: Name of the file in the archive.
IDENTITY = "archive.json"
#: Version of the layout that `pipeline.archive.archive` describes. A version that reads it differently raises it.
LAYOUT = 1
_ADOPT = "`pagesight archive adopt` accepts what is there now as this archive."


class Identity(Archived):
    """The content of `archive.json`."""

    id: str
    layout: int = LAYOUT


@dataclass(frozen=True, slots=True)
class KnownArchives:
    """The ids of the archives that a home has seen, one small file for each location."""

    folder: Path

    def get(self, url: str) -> str | None:
        """Return the id that was seen at a location, None without one."""
        try:
            return Identity.model_validate_json(self._path(url).read_bytes(), extra="ignore").id
        except (OSError, ValidationError):
            return None

    def remember(self, url: str, identifier: str) -> None:
        """Remember the id of a location. A home that cannot be written remembers nothing."""
        if self.get(url) == identifier:
            return
        path = self._path(url)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            make_private_folder(self.folder)
            with create_private(temporary, exclusive=True) as file:
                file.write(Identity(id=identifier).model_dump_json().encode())
            temporary.replace(path)
        except OSError:
            with suppress(OSError):  # on a disk that fails, removing it can fail as well
                temporary.unlink(missing_ok=True)

    def forget(self, url: str) -> None:
        """Forget the id of a location.

        Raises:
            ServiceRefused: the home cannot be written.
        """
        try:
            self._path(url).unlink(missing_ok=True)
        except OSError as error:
            raise ServiceRefused(
                "archive",
                f"{self._path(url)} cannot be removed: {error.strerror}",
                remedy="Mend the rights of the home.",
            ) from error

    def _path(self, url: str) -> Path:
        return self.folder / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"


def new_identity() -> Identity:
    """Return the identity of a new archive."""
    return Identity(id=secrets.token_hex(16))


def parse_identity(data: bytes, url: str) -> str:
    """Return the id in the content of an `archive.json`.

    Raises:
        ArchiveMissing: the file is damaged.
        ServiceRefused: a newer version of Pagesight, with another layout, made the archive.
    """
    try:
        identity = Identity.model_validate_json(data, extra="ignore")
    except ValidationError:
        raise ArchiveMissing(
            f"{IDENTITY} of the archive at {url} is damaged",
            remedy=f"Restore that file from a backup; or remove it, then {_ADOPT}",
        ) from None
    if identity.layout > LAYOUT:
        raise ServiceRefused(
            "archive",
            f"the archive at {url} has layout {identity.layout}, and this version knows layout {LAYOUT}",
            remedy="Use the version of Pagesight that made it, or a newer one.",
        )
    return identity.id


def missing(url: str, known: str) -> ArchiveMissing:
    """Return the error for a known archive that is not at its location."""
    return ArchiveMissing(
        f"the archive is missing: {url} has no {IDENTITY}, and the archive {known} is expected there",
        remedy=f"Mount its disk, or set PAGESIGHT_ARCHIVE to where it is now. {_ADOPT}",
    )


def another(url: str, known: str, found: str) -> ArchiveMissing:
    """Return the error for another archive at the location of a known one."""
    return ArchiveMissing(
        f"another archive is at {url} than before: {found} instead of {known}",
        remedy=f"Mount the right disk, or set PAGESIGHT_ARCHIVE to where the archive is now; another archive needs its "
        f"own PAGESIGHT_ELASTICSEARCH_PREFIX and Redis. {_ADOPT}",
    )


def mark_of(path: Path) -> tuple[int, int, int] | None:
    """Return what tells one version of a file from another: device, inode and time; None without the file."""
    try:
        found = os.stat(path)  # noqa: PTH116  each read that finds nothing does this, and pathlib takes twice as long
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns

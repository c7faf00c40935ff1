"""Mount points: where the file system of a file is mounted, and whether anything is mounted there now."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.sources.urls import is_local, source_path, source_url


def mount_of(url: str) -> str | None:
    """Return the URL of the folder where a local file's file system is mounted, with links resolved.

    Return None for the root file system, and for an object. A bind mount within one file system is not recognised.
    """
    if not is_local(url):
        return None
    folder = Path(os.path.realpath(source_path(url).parent))
    mounted = next(parent for parent in (folder, *folder.parents) if os.path.ismount(parent))
    return None if mounted == mounted.parent else source_url(mounted)


def is_unmounted(mount: str | None) -> bool:
    """Whether a folder that `mount_of` returned is not a mount point now, so that its files cannot be examined."""
    return mount is not None and not os.path.ismount(source_path(mount))

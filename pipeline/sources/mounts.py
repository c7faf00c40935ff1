"""Mount points: where the file system of a file is mounted, and whether anything is mounted there now."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.core.models import Root
from pipeline.sources.urls import is_local, source_path, source_url


def mount_of(url: str, root: Root | None = None) -> str | None:
    """Return the URL of the folder where a local file's file system is mounted, with links resolved.

    Links that lead out of the root are not followed: the file counts as one on the root's own file system.
    Return None for the root file system, and for an object. A bind mount within one file system is not recognised.
    """
    if not is_local(url):
        return None
    folder = _real_folder(source_path(url).parent, root)
    mounted = next(parent for parent in (folder, *folder.parents) if os.path.ismount(parent))
    return None if mounted == mounted.parent else source_url(mounted)


def _real_folder(folder: Path, root: Root | None) -> Path:
    if root is None or not folder.is_relative_to(source_path(root.url)):
        return Path(os.path.realpath(folder))
    top = source_path(root.target or root.url)
    real = Path(os.path.realpath(top / folder.relative_to(source_path(root.url))))
    return real if real.is_relative_to(top) else top


def is_unmounted(mount: str | None) -> bool:
    """Whether a folder that `mount_of` returned is not a mount point now, so that its files cannot be examined."""
    return mount is not None and not os.path.ismount(source_path(mount))

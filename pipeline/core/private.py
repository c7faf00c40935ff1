"""Folders and files that only the user may use, whatever the umask.

Home, archive and caches hold content of documents, and files that decide where keys are sent.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def make_private_folder(folder: Path) -> None:
    """Create a folder, and those above it, for this user only. An existing folder keeps its mode."""
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileNotFoundError:
        make_private_folder(folder.parent)
        make_private_folder(folder)
    except OSError:
        if not folder.is_dir():
            raise
    else:
        folder.chmod(FOLDER_MODE)  # the umask may have taken bits away


def append_private(path: Path) -> BinaryIO:
    """Open a file for writing at its end; one that is created is for this user only. A link is refused.

    Raises:
        OSError: the path is a link, or cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, FILE_MODE), "ab")


def create_private(path: Path, *, exclusive: bool = False) -> BinaryIO:
    """Open a file for writing, empty; one that is created is for this user only. A link is refused.

    Raises:
        FileExistsError: the file exists, and `exclusive` is set.
        OSError: the path is a link, or cannot be written.
    """
    kind = os.O_EXCL if exclusive else os.O_TRUNC
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | kind
    return os.fdopen(os.open(path, flags, FILE_MODE), "wb")

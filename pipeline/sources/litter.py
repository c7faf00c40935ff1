"""Litter: files and folders that systems, programs and downloads leave beside documents. It is passed over.

A path that a person names itself is never litter. A file that was indexed before stays indexed: it is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

#: Files of macOS and Windows, locks of Microsoft Office and LibreOffice, and unfinished downloads.
_FILES = (".DS_Store", "._*", "Thumbs.db", "desktop.ini", "~$*", ".~lock.*#", "*.part", "*.crdownload")
#: Folders of git, of Synology's and QNAP's shares, and of Syncthing (a file in later versions).
_FOLDERS = (".git", "@eaDir", "#recycle", ".stfolder")
_FILE = re.compile("|".join(map(translate, (*_FILES, ".stfolder"))), re.IGNORECASE)
_FOLDER = re.compile("|".join(map(translate, _FOLDERS)), re.IGNORECASE)


def is_litter_file(name: str) -> bool:
    """Whether a file of this name is litter, whatever its folder."""
    return _FILE.match(name) is not None


def is_litter_folder(name: str) -> bool:
    """Whether a folder of this name is litter, with everything in it."""
    return _FOLDER.match(name) is not None


def is_litter(parts: Iterable[str]) -> bool:
    """Whether a file with this path below a root or within a container is litter."""
    *folders, name = parts
    return is_litter_file(name) or any(map(is_litter_folder, folders))

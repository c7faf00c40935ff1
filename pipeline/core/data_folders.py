"""Remembers the folders that were read as documents: no later command takes configuration from them either.

An archive that somebody sends may unpack to `pagesight.toml` beside its scans. After `pagesight index scans`, a
`pagesight search` within that folder must not run what this file says, nor look in another home than `index` wrote to.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.core.configuration import FILE_NAME as CONFIGURATION
from pipeline.core.configuration import LOCAL_HOME
from pipeline.core.errors import SettingsError
from pipeline.core.private import append_private, make_private_folder

#: A line of JSON for each folder. A folder whose line is removed may have configuration again.
FILE_NAME = "data-folders"


def configuration_in(path: Path) -> tuple[Path, ...]:
    """Return what later commands do not take from the path of documents: a folder, or what is beside a file."""
    return (path,) if path.is_dir() else (path.parent / CONFIGURATION, path.parent / LOCAL_HOME)


class DataFolders:
    """The list of one user: folders, and single paths of configuration. No configuration file can move it.

    Args:
        home: `PAGESIGHT_HOME`, or else the default home.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / FILE_NAME

    def known(self) -> tuple[Path, ...]:
        """Return the paths, without links in them.

        Raises:
            SettingsError: the list cannot be read.
        """
        try:
            return tuple(_folders(self._path.read_bytes()))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._unusable(error) from None

    def add(self, paths: Iterable[Path]) -> None:
        """Note paths, unless they are in a folder of the list. Several processes may do so at once.

        Raises:
            SettingsError: the list cannot be read or written.
        """
        known = self.known()
        new = [path for path in dict.fromkeys(paths) if not any(map(path.is_relative_to, known))]
        if not new:
            return
        # The line before may be cut off by a crash.
        lines = "".join(f"\n{json.dumps(os.fspath(path))}\n" for path in new)
        try:
            make_private_folder(self._path.parent)
            with append_private(self._path) as file:
                file.write(lines.encode())
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> SettingsError:
        return SettingsError(
            f"{self._path}, the list of folders that are read as documents, cannot be used: {error.strerror}",
            remedy="Correct its rights, or set PAGESIGHT_HOME to a folder of your own.",
        )


def _folders(content: bytes) -> Iterator[Path]:
    """Yield the folders of the list. A line that a crash has cut off names none."""
    for line in content.splitlines():
        try:
            folder = json.loads(line)
        except ValueError:
            continue
        if isinstance(folder, str):
            yield Path(folder)

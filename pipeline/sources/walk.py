"""Finds every file below the given roots, each once, in a fixed order, and an error for each that cannot be read.

`list_folder` lists one directory, or one page of a bucket's listing; `walk` calls it for folder after folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipeline.core.configuration import LOCAL_HOME
from pipeline.core.errors import LinkOutOfTree, OutcomeError, SourceUnreadable, SourceVanished, UnsupportedFormat
from pipeline.core.objects import LIST_KEYS, OBJECT_WAITS_SECONDS
from pipeline.core.retry import CancelToken, retry_until_available
from pipeline.sources.urls import (
    display_path,
    folder_url,
    is_local,
    object_url,
    source_objects,
    source_path,
    source_url,
)


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file, or the URL and the error of one that cannot be read."""

    url: str
    """With links not resolved, as the user named it."""
    error: OutcomeError | None = None
    bytes: int = 0
    """Size of a member of a container; 0 for any other file, whose size its state has."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files and folders in a directory, sorted by name."""

    found: tuple[FoundFile, ...] = ()
    folders: tuple[str, ...] = ()
    """URLs."""
    cursor: str = ""
    """Position from which the listing of a bucket continues; "" at its end."""


def walk(roots: Iterable[str], excluded: Iterable[str], cancel: CancelToken) -> Iterator[FoundFile]:
    """Yield every file below the roots, depth first, the files of a folder before its folders. Nothing is opened.

    Raises:
        ServiceRefused: a bucket refuses every request.
        Stopped: `cancel` was stopped while the bucket was unavailable.
    """
    skipped = tuple(excluded)
    for root in roots:
        waiting = [(root, "")]
        while waiting:
            url, cursor = waiting.pop()
            listing = retry_until_available(
                partial(list_folder, url, root, cursor, skipped), cancel, OBJECT_WAITS_SECONDS
            )
            yield from listing.found
            if listing.cursor:
                waiting.append((url, listing.cursor))
            waiting += [(folder, "") for folder in reversed(listing.folders)]


def list_folder(
    url: str, root: str, cursor: str = "", excluded: Iterable[str] = (), page_keys: int = LIST_KEYS
) -> Listing:
    """List a directory, or up to `page_keys` objects and folders of one in a bucket, from a cursor on.

    A link to a file inside the root is a file. A link to a folder inside it is not followed, since that folder is
    listed itself. A link out of the root, or a broken one, is an error in the listing. A root may be a file. Folders
    in `excluded` (the archive's own) and folders with the name of a home are skipped. All arguments are URLs.

    Raises:
        ServiceUnavailable: the bucket cannot be listed now.
        ServiceRefused: it refuses every request.
        SettingsError: no installed package supports its protocol.
    """
    if not is_local(url):
        return _list_objects(url, cursor, {f"{folder.rstrip('/')}/" for folder in excluded}, page_keys)
    path, top = source_path(url), source_path(root)
    if path == top and not path.is_dir():
        return Listing((_file(path),))
    skipped = {os.path.realpath(source_path(folder)) for folder in excluded if is_local(folder)}
    return _list_directory(path, Path(os.path.realpath(top)), skipped)


def _list_objects(url: str, cursor: str, skipped: set[str], page_keys: int) -> Listing:
    objects, key = source_objects(url)
    if url in skipped:
        return Listing()
    try:
        if not url.endswith("/"):
            objects.state(key)
            return Listing((FoundFile(url),))
        page = objects.page(key, cursor, page_keys)
    except FileNotFoundError:
        return Listing((FoundFile(url, SourceVanished("the object is gone")),))
    except PermissionError as error:
        return Listing((FoundFile(url, SourceUnreadable(f"it cannot be examined: {error}")),))
    return Listing(
        tuple(FoundFile(object_url(url, name.removeprefix(key))) for name in page.keys),
        tuple(folder_url(url, name.removeprefix(key)) for name in page.folders),
        page.after,
    )


def _list_directory(folder: Path, root: Path, skipped: set[str]) -> Listing:
    if os.path.realpath(folder) in skipped:
        return Listing()
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except FileNotFoundError:
        return Listing((FoundFile(source_url(folder), SourceVanished("the folder is gone")),))
    except OSError as error:
        error_ = SourceUnreadable(f"the folder cannot be listed: {error.strerror}")
        return Listing((FoundFile(source_url(folder), error_),))
    found: list[FoundFile] = []
    folders: list[str] = []
    for entry in entries:
        path = folder / entry.name
        if entry.is_symlink():
            found += _link(path, root)
        elif entry.is_dir(follow_symlinks=False):
            if entry.name != LOCAL_HOME:  # a home; its page images are not documents
                folders.append(source_url(path))
        else:
            found.append(_file(path))
    return Listing(tuple(found), tuple(folders))


def _link(path: Path, root: Path) -> Iterator[FoundFile]:
    url = source_url(path)
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        yield FoundFile(url, LinkOutOfTree("the link leads nowhere"))
        return
    if not target.is_relative_to(root):
        where = display_path(source_url(target))
        yield FoundFile(url, LinkOutOfTree(f"the link leads out of the folder, to {where}"))
    elif not target.is_dir():
        yield _file(path)


def _file(path: Path) -> FoundFile:
    """Return a regular file, or the error for anything else: opening a pipe or a device could block for ever."""
    found = FoundFile(source_url(path))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return replace(found, error=SourceVanished("the file is gone"))
    except OSError as error:
        return replace(found, error=SourceUnreadable(f"the file cannot be examined: {error.strerror}"))
    if not stat.S_ISREG(mode):
        return replace(found, error=UnsupportedFormat("not a regular file but a pipe, socket or device"))
    return found

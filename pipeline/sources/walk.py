"""Finds every file below the given roots, each once, in a fixed order, and an error for each that cannot be read.

`list_folder` lists one directory, or one page of a bucket's listing; `walk` calls it for folder after folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipeline.core.configuration import LOCAL_HOME
from pipeline.core.errors import LinkOutOfTree, OutcomeError, SourceUnreadable, SourceVanished, UnsupportedFormat
from pipeline.core.models import Root
from pipeline.core.objects import LIST_KEYS, OBJECT_WAITS_SECONDS
from pipeline.core.retry import CancelToken, retry_until_available
from pipeline.sources.beneath import named_root, open_beneath, open_folder, status_beneath
from pipeline.sources.litter import is_litter_file, is_litter_folder
from pipeline.sources.urls import (
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
    root: Root | None = None
    """The folder beneath which it is opened; None in buckets, and where only the archive knows it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files and folders in a directory, sorted by name."""

    found: tuple[FoundFile, ...] = ()
    folders: tuple[str, ...] = ()
    """URLs."""
    passed_over: int = 0
    """Number of files and folders that are litter, or left out by patterns."""
    cursor: str = ""
    """Position from which the listing of a bucket continues; "" at its end."""


def walk(
    roots: Iterable[str],
    excluded: Iterable[str],
    cancel: CancelToken,
    pass_over: Callable[[int], None] = lambda _number: None,
    choose: Callable[[Listing], Listing] = lambda listing: listing,
) -> Iterator[FoundFile]:
    """Yield every file below the roots, depth first, the files of a folder before its folders. Nothing is opened.

    `choose` leaves files and folders out of a listing. `pass_over` is called with the number of those that are litter
    or left out.

    Raises:
        ServiceRefused: a bucket refuses every request.
        Stopped: `cancel` was stopped while the bucket was unavailable.
    """
    skipped = tuple(excluded)
    for url in roots:
        yield from _walk(url, named_root(url) if is_local(url) else None, skipped, cancel, pass_over, choose)


def _walk(
    first: str,
    root: Root | None,
    excluded: tuple[str, ...],
    cancel: CancelToken,
    pass_over: Callable[[int], None],
    choose: Callable[[Listing], Listing],
) -> Iterator[FoundFile]:
    waiting = [(first, "")]
    while waiting:
        url, cursor = waiting.pop()
        listed = retry_until_available(partial(list_folder, url, root, cursor, excluded), cancel, OBJECT_WAITS_SECONDS)
        listing = choose(listed)
        pass_over(listing.passed_over)
        yield from listing.found
        if listing.cursor:
            waiting.append((url, listing.cursor))
        waiting += [(folder, "") for folder in reversed(listing.folders)]


def list_folder(
    url: str, root: Root | None, cursor: str = "", excluded: Iterable[str] = (), page_keys: int = LIST_KEYS
) -> Listing:
    """List a directory, or up to `page_keys` objects and folders of one in a bucket, from a cursor on.

    A link to a file inside the root is a file. A link to a folder inside it is not followed, since that folder is
    listed itself. A link out of the root, or a broken one, is an error in the listing. The URL may be that of a file.
    Folders in `excluded` (the archive's own) and folders with the name of a home are skipped. Litter is passed over.

    Raises:
        ServiceUnavailable: the bucket cannot be listed now.
        ServiceRefused: it refuses every request.
        SettingsError: no installed package supports its protocol.
    """
    if not is_local(url):
        return _list_objects(url, cursor, {f"{folder.rstrip('/')}/" for folder in excluded}, page_keys)
    return _list_path(source_path(url), root, filter(is_local, excluded))


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
    names = [name.removeprefix(key) for name in page.keys]
    files = [name for name in names if not is_litter_file(name)]
    names_of_folders = [name.removeprefix(key) for name in page.folders]
    folders = [name for name in names_of_folders if not is_litter_folder(name.rstrip("/"))]
    return Listing(
        tuple(FoundFile(object_url(url, name)) for name in files),
        tuple(folder_url(url, name) for name in folders),
        len(names) - len(files) + len(names_of_folders) - len(folders),
        page.after,
    )


def _list_path(path: Path, root: Root | None, excluded: Iterable[str]) -> Listing:
    """List a directory, or the file at this path."""
    here = FoundFile(source_url(path), root=root)
    try:
        descriptor = open_beneath(path, root)
    except FileNotFoundError:
        return Listing((replace(here, error=SourceVanished("it is gone")),))
    except LinkOutOfTree as error:
        return Listing((replace(here, error=error),))
    except OSError as error:
        return Listing((replace(here, error=SourceUnreadable(f"it cannot be examined: {error.strerror}")),))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISDIR(status.st_mode):
            return Listing((_checked(here, status),))
        return Listing() if _is_any(status, excluded) else _list_directory(descriptor, path, root)
    except OSError as error:
        return Listing((replace(here, error=SourceUnreadable(f"the folder cannot be listed: {error.strerror}")),))
    finally:
        os.close(descriptor)


def _is_any(status: os.stat_result, folders: Iterable[str]) -> bool:
    """Whether a status is that of one of the folders with these URLs."""
    for folder in folders:
        with suppress(OSError):
            if os.path.samestat(status, source_path(folder).stat()):
                return True
    return False


def _list_directory(descriptor: int, folder: Path, root: Root | None) -> Listing:
    """List the directory of a descriptor. Its entries are examined relative to it."""
    found: list[FoundFile] = []
    folders: list[str] = []
    passed_over = 0
    listed = open_folder(descriptor)
    try:
        with os.scandir(listed) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = folder / entry.name
                if _is_litter(entry):
                    passed_over += 1
                elif entry.is_symlink():
                    found += _link(path, root)
                elif not entry.is_dir(follow_symlinks=False):
                    found.append(_file(entry, path, root))
                elif entry.name != LOCAL_HOME:  # a home; its page images are not documents
                    folders.append(source_url(path))
    finally:
        os.close(listed)
    return Listing(tuple(found), tuple(folders), passed_over)


def _is_litter(entry: os.DirEntry[str]) -> bool:
    return is_litter_folder(entry.name) if entry.is_dir(follow_symlinks=False) else is_litter_file(entry.name)


def _link(path: Path, root: Root | None) -> Iterator[FoundFile]:
    found = FoundFile(source_url(path), root=root)
    try:
        status = status_beneath(path, root)
    except LinkOutOfTree as error:
        yield replace(found, error=error)
    except OSError:
        yield replace(found, error=LinkOutOfTree("the link leads nowhere"))
    else:
        if not stat.S_ISDIR(status.st_mode):
            yield _checked(found, status)


def _file(entry: os.DirEntry[str], path: Path, root: Root | None) -> FoundFile:
    found = FoundFile(source_url(path), root=root)
    try:
        return _checked(found, entry.stat(follow_symlinks=False))
    except FileNotFoundError:
        return replace(found, error=SourceVanished("the file is gone"))
    except OSError as error:
        return replace(found, error=SourceUnreadable(f"the file cannot be examined: {error.strerror}"))


def _checked(found: FoundFile, status: os.stat_result) -> FoundFile:
    """Return a regular file, or the error for anything else: opening a pipe or a device could block for ever."""
    if not stat.S_ISREG(status.st_mode):
        return replace(found, error=UnsupportedFormat("not a regular file but a pipe, socket or device"))
    return found

"""Watches a folder for files that arrive and no longer change. Its caller lists the whole folder first.

    inotify ──▶ Arrivals.note ──▶ unchanged for the settling time ──▶ Arrivals.burst ──▶ one batch

A file is at rest when its size, time and inode have stayed the same for the settling time. Litter is passed over, as in
listings. Other names are not filtered: a temporary file is gone by then, and every file that stays is processed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from watchfiles import Change, watch
from watchfiles._rust_notify import WatchfilesRustInternalError

from pipeline.core.errors import OutcomeError, ServiceRefused, SourceVanished
from pipeline.core.models import BatchEntry, Failure, FileState
from pipeline.sources import (
    FoundFile,
    PathFilter,
    display_path,
    file_state,
    list_folder,
    named_root,
    source_path,
    source_url,
)
from pipeline.sources.litter import is_litter, is_litter_file, is_litter_folder

#: Longest time that files at rest wait for the other files of their burst.
HOLD_SECONDS = 30.0
#: Seconds between two checks whether files are at rest.
TICK_SECONDS = 0.5
#: Seconds between two listings where the system does not report changes.
POLL_SECONDS = 5.0
_GONE = "the folder is gone"


class Ended(Protocol):
    """Tells when to stop; `threading.Event` is one."""

    def is_set(self) -> bool:
        """Whether to stop."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Changes that the system reported within `TICK_SECONDS`."""

    gone: int
    """Number of removed files that were not among the arrivals."""
    walk: bool
    """Whether changes are reported only from now on, so that the folder has to be listed."""


@dataclass(slots=True)
class _Seen:
    state: FileState | None
    """None without permission to read it."""
    since: float
    found: FoundFile


class Arrivals:
    """Changed files, until they are at rest and enqueued."""

    def __init__(
        self,
        folder: Path,
        excluded: Iterable[str],
        settle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        chosen: PathFilter | None = None,
    ) -> None:
        """Collect changes of chosen files below an absolute folder, except in the folders whose URLs are `excluded`."""
        self._chosen = chosen or PathFilter(None)
        self._folder = folder
        self._root = named_root(source_url(folder))
        self._real_root = Path(os.path.realpath(folder))
        self._excluded = tuple(excluded)
        self._shut = [Path(os.path.realpath(source_path(url))) for url in self._excluded if url.startswith("file:")]
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._moving: dict[str, _Seen] = {}
        self._resting: dict[str, tuple[float, FoundFile]] = {}
        self._folders: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._moving) + len(self._resting)

    def note(self, path: Path) -> None:
        """Add a changed path. A folder adds all files in it."""
        if not self._counts(path):
            return
        url = source_url(path)
        if path.is_symlink():
            parent = list_folder(source_url(path.parent), self._root, "", self._excluded)
            self._note_all(found for found in parent.found if found.url == url)
        elif path.is_dir():
            self._list(url)
            # Files that came into a new folder before it was watched are not reported, so it is listed again.
            self._folders[url] = self._clock() + self._settle_seconds
        elif os.path.lexists(path):
            self._note_all([FoundFile(url, root=self._root)])

    def forget(self, path: Path) -> bool:
        """Drop a removed path; return whether it was among the arrivals, or litter."""
        url = source_url(path)
        self._folders.pop(url, None)
        known = self._moving.pop(url, None) is not None or self._resting.pop(url, None) is not None
        return known or not self._chosen.keeps(url) or is_litter(path.parts[len(self._folder.parts) :] or (path.name,))

    def burst(self) -> list[BatchEntry]:
        """Return the files at rest, once all are or the first has waited `HOLD_SECONDS`; call `taken` afterwards."""
        now = self._clock()
        for url in [url for url, at in self._folders.items() if now >= at]:
            del self._folders[url]
            self._list(url)
        for url, seen in list(self._moving.items()):
            self._update(url, seen, now)
        oldest = min((since for since, _ in self._resting.values()), default=now)
        if (self._moving or self._folders) and now - oldest < HOLD_SECONDS:
            return []
        return [
            BatchEntry(url=url, error=Failure.of(found.error) if found.error else None, root=self._root)
            for url, (_, found) in sorted(self._resting.items())
        ]

    def taken(self, entries: Iterable[BatchEntry]) -> None:
        """Drop enqueued files."""
        for entry in entries:
            self._resting.pop(entry.url, None)

    def _counts(self, path: Path) -> bool:
        """Whether a listing would include a path: not through a link, and not in an excluded folder."""
        try:
            relative = path.parent.relative_to(self._folder)
        except ValueError:  # the folder itself
            return False
        if any(map(is_litter_folder, relative.parts)) or _is_litter(path):
            return False
        if not self._is_chosen(path):
            return False
        real = Path(os.path.realpath(path.parent))
        if real != self._real_root / relative:
            return False
        return not any((real / path.name).is_relative_to(shut) for shut in self._shut)

    def _is_chosen(self, path: Path) -> bool:
        """Whether the patterns keep a file, or a folder that may have kept files."""
        url = source_url(path)
        is_folder = path.is_dir() and not path.is_symlink()
        return self._chosen.keeps_folder(url) if is_folder else self._chosen.keeps(url)

    def _list(self, url: str) -> None:
        waiting = [url]
        while waiting:
            listing = self._chosen.listing(list_folder(waiting.pop(), self._root, "", self._excluded))
            self._note_all(listing.found)
            waiting += listing.folders

    def _note_all(self, found: Iterable[FoundFile]) -> None:
        for one in found:
            if isinstance(one.error, SourceVanished):
                continue
            state = _state(one)
            seen = self._moving.get(one.url)
            resting = self._resting.pop(one.url, None)
            if seen is None or resting is not None or seen.state != state:
                self._moving[one.url] = _Seen(state, self._clock(), one)

    def _update(self, url: str, seen: _Seen, now: float) -> None:
        try:
            state = _state(seen.found)
        except SourceVanished:
            del self._moving[url]
            return
        if state != seen.state:
            seen.state, seen.since = state, now
        elif now - seen.since >= self._settle_seconds:
            del self._moving[url]
            self._resting[url] = (now, seen.found)


def _is_litter(path: Path) -> bool:
    is_folder = path.is_dir() and not path.is_symlink()
    return is_litter_folder(path.name) if is_folder else is_litter_file(path.name)


def _state(found: FoundFile) -> FileState | None:
    if found.error:
        return None
    try:
        return file_state(source_path(found.url), found.root)
    except SourceVanished:
        raise
    except OutcomeError:
        return None


def watch_folder(folder: Path, arrivals: Arrivals, ended: Ended, *, poll: bool) -> Iterator[Heard]:
    """Add changes below a folder to `arrivals`, and yield a summary every `TICK_SECONDS`.

    Raises:
        ServiceRefused: the folder is gone, or cannot be watched.
    """
    here = _identity(folder)
    try:
        while not ended.is_set():
            try:
                yield from _watch(folder, here, arrivals, ended, poll)
            except WatchfilesRustInternalError:
                # A name with invalid UTF-8 ends the watcher (watchfiles 1.3); the next one begins with a listing.
                continue
    except OSError as error:
        raise _refused(folder, str(error)) from error


def _watch(folder: Path, here: tuple[int, int] | None, arrivals: Arrivals, ended: Ended, poll: bool) -> Iterator[Heard]:
    begun = False
    for changes in watch(
        folder,
        watch_filter=None,
        stop_event=ended,
        rust_timeout=int(TICK_SECONDS * 1000),
        yield_on_timeout=True,
        force_polling=poll or None,
        poll_delay_ms=int(POLL_SECONDS * 1000),
        ignore_permission_denied=True,
    ):
        if _identity(folder) != here:
            raise _refused(folder, _GONE)
        yield Heard(_apply(changes, arrivals), walk=not begun)
        begun = True


def _apply(changes: Iterable[tuple[Change, str]], arrivals: Arrivals) -> int:
    gone = 0
    for change, name in changes:
        path = Path(name)
        if not os.path.lexists(path):
            gone += not arrivals.forget(path)
        elif change is Change.modified and not path.is_symlink() and path.is_dir():
            continue  # a folder changes with each file in it
        else:
            arrivals.note(path)
    return gone


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _refused(folder: Path, cause: str) -> ServiceRefused:
    remedy = (
        "Check that it is mounted and readable, then start again: the first listing finds the files of the meantime."
    )
    if cause != _GONE:
        remedy = "Raise the system's limit (fs.inotify.max_user_watches), or list it at intervals with --poll."
    return ServiceRefused("folder", f"{display_path(source_url(folder))} cannot be watched: {cause}", remedy=remedy)

"""What arrives in a folder, once it is at rest. A hint only: who watches begins with a walk, which finds all there is.

    inotify ──▶ Arrivals.note ──▶ unchanged for the settling time ──▶ Arrivals.burst ──▶ one batch

A file is at rest when its size, time and inode have stayed the same for the settling time. There are no lists of names
that do not count: what stays lying at rest is a file like any other, and a name that was temporary is gone by then.
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
from pipeline.sources import FoundFile, display_path, file_state, list_folder, source_path, source_url

#: How long what is at rest waits for others of its burst that are not.
HOLD_SECONDS = 30.0
#: How often one looks whether files are at rest.
TICK_SECONDS = 0.5
#: Between two looks at everything where the system does not tell of changes.
POLL_SECONDS = 5.0
_GONE = "the folder is gone"


class Ended(Protocol):
    """Says when to stop; an event of `threading` is one."""

    def is_set(self) -> bool:
        """Whether to stop."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the system told of within half a second."""

    gone: int
    """Places, not among the arrivals, at which nothing lies any more."""
    walk: bool
    """Whether only from here on everything is heard of, so that the folder is to be walked."""


@dataclass(slots=True)
class _Seen:
    state: FileState | None
    """None where it may not be looked at."""
    since: float
    found: FoundFile


class Arrivals:
    """Files of which something was heard, until they are at rest and somebody has taken them."""

    def __init__(
        self,
        folder: Path,
        excluded: Iterable[str],
        settle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what is heard of an absolute folder; `excluded` are URLs of folders that do not count."""
        self._folder = folder
        self._root = source_url(folder)
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
        """Hear that something happened at a path. A folder stands for all that is in it."""
        if not self._counts(path):
            return
        url = source_url(path)
        if path.is_symlink():
            parent = list_folder(source_url(path.parent), self._root, "", self._excluded)
            self._note_all(found for found in parent.found if found.url == url)
        elif path.is_dir():
            self._list(url)
            # What came into a new folder before the system watched it is heard of by nobody: it is listed once more.
            self._folders[url] = self._clock() + self._settle_seconds
        elif os.path.lexists(path):
            self._note_all([FoundFile(url)])

    def forget(self, path: Path) -> bool:
        """Hear that nothing lies at a path any more; return whether it was one of those not taken yet."""
        url = source_url(path)
        self._folders.pop(url, None)
        return self._moving.pop(url, None) is not None or self._resting.pop(url, None) is not None

    def burst(self) -> list[BatchEntry]:
        """Return what is at rest, once all of it is or the first has waited long enough; `taken` ends its story."""
        now = self._clock()
        for url in [url for url, at in self._folders.items() if now >= at]:
            del self._folders[url]
            self._list(url)
        for url, seen in list(self._moving.items()):
            self._look(url, seen, now)
        oldest = min((since for since, _ in self._resting.values()), default=now)
        if (self._moving or self._folders) and now - oldest < HOLD_SECONDS:
            return []
        return [
            BatchEntry(url=url, error=Failure.of(found.error) if found.error else None)
            for url, (_, found) in sorted(self._resting.items())
        ]

    def taken(self, entries: Iterable[BatchEntry]) -> None:
        """Forget what somebody has enqueued."""
        for entry in entries:
            self._resting.pop(entry.url, None)

    def _counts(self, path: Path) -> bool:
        """Whether a walk would come by here: not through a link, and not within the archive."""
        try:
            relative = path.parent.relative_to(self._folder)
        except ValueError:  # the folder itself
            return False
        real = Path(os.path.realpath(path.parent))
        if real != self._real_root / relative:
            return False
        return not any((real / path.name).is_relative_to(shut) for shut in self._shut)

    def _list(self, url: str) -> None:
        waiting = [url]
        while waiting:
            listing = list_folder(waiting.pop(), self._root, "", self._excluded)
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

    def _look(self, url: str, seen: _Seen, now: float) -> None:
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


def _state(found: FoundFile) -> FileState | None:
    if found.error:
        return None
    try:
        return file_state(source_path(found.url))
    except SourceVanished:
        raise
    except OutcomeError:
        return None


def watch_folder(folder: Path, arrivals: Arrivals, ended: Ended, *, poll: bool) -> Iterator[Heard]:
    """Tell `arrivals` of what happens below a folder, and yield twice a second what came of it.

    Raises:
        ServiceRefused: the folder is gone, or cannot be watched.
    """
    here = _identity(folder)
    try:
        while not ended.is_set():
            try:
                yield from _watch(folder, here, arrivals, ended, poll)
            except WatchfilesRustInternalError:
                # A name that is no UTF-8 ends the watcher (watchfiles 1.3); the next one begins with a walk, as always.
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
        yield Heard(_hear(changes, arrivals), walk=not begun)
        begun = True


def _hear(changes: Iterable[tuple[Change, str]], arrivals: Arrivals) -> int:
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
    remedy = "See that it is mounted and may be listed, then start again: the first walk finds what came meanwhile."
    if cause != _GONE:
        remedy = "Raise the system's limit (fs.inotify.max_user_watches), or look at intervals with --poll."
    return ServiceRefused("folder", f"{display_path(source_url(folder))} cannot be watched: {cause}", remedy=remedy)

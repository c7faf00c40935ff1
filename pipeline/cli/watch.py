"""`pagesight watch`: enqueue files as they arrive in a folder."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.batches.lifecycle import DEFAULT_COLLECTION, collection_name
from pipeline.cli.configuration import load_apart_from
from pipeline.cli.exits import ExitCode
from pipeline.cli.fleet import install_indices, open_fleet
from pipeline.cli.options import CollectionName, Exclude, Include, Json, LanguageTag, ProfileName, file_patterns
from pipeline.cli.output import plain, print_json, stderr, stdout
from pipeline.core.errors import ServiceUnavailable, SettingsError, Stopped
from pipeline.core.languages import normalise_tag
from pipeline.core.models import Batch, Lane
from pipeline.core.retry import CancelToken
from pipeline.maintenance.folder_watch import Arrivals, Heard, watch_folder
from pipeline.services import open_archive, own_folders
from pipeline.sources import PathFilter, argument_url, display_path, is_local, source_path
from pipeline.vision.profile import load_profile

if TYPE_CHECKING:
    from workers.client import EnqueueRequest, Fleet

EXAMPLES = """
**Examples**

`pagesight watch inbox/` · enqueue existing files, then new ones once they stop growing

`pagesight watch /mnt/share/scans --poll` · for network file systems, which do not report changes by other machines

`pagesight watch inbox/ --settle 60 --lane urgent` · for slow uploads that are urgent

Ctrl-C and SIGTERM stop it. At the next start it lists the folder, and so finds files that it missed.

Exit codes: 0 stopped by a signal, 2 usage or settings, 3 the folder is gone, or the archive or Redis refuses.
"""
#: Time between two attempts while Redis is unreachable.
RETRY_SECONDS = 2.0


def watch(
    folder: Annotated[str, typer.Argument(help="Folder on this machine.")],
    collection: CollectionName = DEFAULT_COLLECTION,
    language: LanguageTag = None,
    profile: ProfileName = None,
    include: Include = None,
    exclude: Exclude = None,
    lane: Annotated[Lane, typer.Option("--lane", help="Priority in the queue.")] = Lane.NORMAL,
    settle: Annotated[float, typer.Option("--settle", min=0.1, help="Seconds that a file must stay unchanged.")] = 5.0,
    poll: Annotated[bool, typer.Option("--poll", help="Check at intervals: for network file systems.")] = False,
    as_json: Json = False,
) -> None:
    """Enqueue files as they arrive in a folder, until stopped."""
    from workers.client import EnqueueRequest

    settings = load_apart_from([folder])
    url = argument_url(folder)
    if not is_local(url) or not source_path(url).is_dir():
        raise SettingsError(
            f"{display_path(url)} is not a folder on this machine",
            remedy="Watch a local folder. For a bucket, run `pagesight sync` regularly.",
        )
    order = EnqueueRequest(
        collection=collection_name(collection),
        language=normalise_tag(language) if language else None,
        default_language=settings.language,
        lane=lane,
        profile=load_profile(profile, settings.profiles_folder) if profile else None,
        patterns=file_patterns([url], include, exclude),
    )
    cancel = CancelToken()
    path = source_path(url)
    arrivals = Arrivals(path, own_folders(settings), settle, chosen=PathFilter(order.patterns))
    archive = open_archive(settings, cancel)
    fleet = open_fleet(settings, archive, cancel)
    install_indices(settings, archive, order.profile)
    watching = _Watching(url, arrivals, fleet, order, settle, quiet=as_json)
    with _until_stopped(cancel) as ended:
        try:
            for heard in watch_folder(path, arrivals, ended, poll=poll):
                watching.step(heard)
        except Stopped:
            pass
    if as_json:
        print_json({"batches": watching.batches, "files": watching.files, "gone": watching.gone, "left": len(arrivals)})
    else:
        watching.print_summary()
    raise typer.Exit(ExitCode.OK)


@dataclass(slots=True)
class _Watching:
    """Counts enqueued files, and keeps the pending ones while Redis is unreachable."""

    url: str
    arrivals: Arrivals
    fleet: Fleet
    order: EnqueueRequest
    settle_seconds: float
    quiet: bool
    batches: int = 0
    files: int = 0
    """Files that arrived and were enqueued. Files found by listing the folder are not counted."""
    gone: int = 0
    _walk_at: float | None = None
    _try_at: float = 0.0
    _away: bool = False
    _shown: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self._shown = [display_path(self.url)]

    def step(self, heard: Heard) -> None:
        """Enqueue due files, if Redis is reachable."""
        now = time.monotonic()
        if heard.gone:
            self.gone += heard.gone
            self._say(f"{heard.gone} files or folders are gone; `pagesight sync` lists them.")
        if heard.walk:
            # After the first time, a walk means that changes were lost. Wait, since files may still be growing.
            self._walk_at = now + (self.settle_seconds if self.batches else 0)
        if now < self._try_at:
            return
        if self._walk_at is not None and now >= self._walk_at and self._enqueue(self._begin_walk):
            self._walk_at = None
        entries = self.arrivals.burst()
        if entries and self._enqueue(lambda: self.fleet.enqueue_sources(self.order, entries, self._shown)):
            self.arrivals.taken(entries)
            self.files += len(entries)
            self._say(f"  {len(entries)} files arrived")

    def print_summary(self) -> None:
        """Print the totals."""
        left = len(self.arrivals)
        rest = f" {left} were still growing or not enqueued yet: the next start finds them." if left else ""
        stdout().print(
            plain(f"{self.files} files arrived, in {self.batches} batches, including the first listing.{rest}")
        )

    def _begin_walk(self) -> Batch:
        return self.fleet.enqueue(self.order, [self.url], self._shown)

    def _enqueue(self, begin: Callable[[], Batch]) -> bool:
        """Begin a batch. If Redis is unreachable, print that once and return False."""
        try:
            batch = begin()
        except ServiceUnavailable as error:
            if not self._away:
                stderr().print(plain(f"waiting for {error.service}: {error}"))
            self._away = True
            self._try_at = time.monotonic() + RETRY_SECONDS
            return False
        self._away = False
        self.batches += 1
        self._say(f"batch {batch.id}")
        return True

    def _say(self, words: str) -> None:
        if not self.quiet:
            stdout().print(plain(words))


@contextmanager
def _until_stopped(cancel: CancelToken) -> Iterator[threading.Event]:
    """Set the event at the first Ctrl-C or SIGTERM; the second stops the process at once."""
    ended = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if ended.is_set():
            os._exit(ExitCode.INTERRUPTED)
        ended.set()
        cancel.stop()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Walking: every file below the named paths, each once, in a fixed order, and every reason why one cannot be had."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from pipeline.errors import LinkOutOfTree, OutcomeError, SourceUnreadable, SourceVanished, UnsupportedFormat


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or the place and the reason why there is none."""

    path: Path
    """Absolute; not resolved, so that it is what people named."""
    error: OutcomeError | None = None


def source_url(path: Path) -> str:
    """Return a file's URL. It is ASCII and unambiguous for every name that a file system allows."""
    return path.as_uri()


def source_path(url: str) -> Path:
    """Return the path of a `file://` URL made by `source_url`."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(url).path)))


def display_path(path: Path) -> str:
    """Return a path as text that can be stored and shown: bytes that are no UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def walk(roots: Iterable[Path], excluded: Iterable[Path] = ()) -> Iterator[Found]:
    """Yield every file below the roots, depth first, by name. Nothing is opened.

    A link to a file inside its root counts as a file, a link to a folder inside it is not followed since that folder
    is walked itself; a link out of the root, or to nowhere, is an outcome. `excluded` folders (the archive's own) are
    left out.
    """
    shut = {os.path.realpath(path) for path in excluded}
    for root in roots:
        path = Path(os.path.abspath(root))
        if path.is_dir():
            yield from _walk_folder(path, Path(os.path.realpath(path)), shut)
        else:
            yield _file(path)


def _walk_folder(folder: Path, root: Path, shut: set[str]) -> Iterator[Found]:
    if os.path.realpath(folder) in shut:
        return
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except FileNotFoundError:
        yield Found(folder, SourceVanished("the folder is gone"))
        return
    except OSError as error:
        yield Found(folder, SourceUnreadable(f"the folder cannot be listed: {error.strerror}"))
        return
    for entry in entries:
        path = folder / entry.name
        if entry.is_symlink():
            yield from _link(path, root)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk_folder(path, root, shut)
        else:
            yield _file(path)


def _link(path: Path, root: Path) -> Iterator[Found]:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        yield Found(path, LinkOutOfTree("the link leads nowhere"))
        return
    if not target.is_relative_to(root):
        yield Found(path, LinkOutOfTree(f"the link leads out of the folder, to {display_path(target)}"))
    elif not target.is_dir():
        yield _file(path)


def _file(path: Path) -> Found:
    """Let regular files pass; opening a pipe or a device could block for ever."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Found(path, SourceVanished("the file is gone"))
    except OSError as error:
        return Found(path, SourceUnreadable(f"the file cannot be looked at: {error.strerror}"))
    if not stat.S_ISREG(mode):
        return Found(path, UnsupportedFormat("not a regular file but a pipe, socket or device"))
    return Found(path)

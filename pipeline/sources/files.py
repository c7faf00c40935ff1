"""Opens a local file beneath its root, and checks that it is the one that was identified."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipeline.core.errors import SourceChanged, SourceUnreadable, SourceVanished, UnsupportedFormat
from pipeline.core.models import FileState, Root
from pipeline.sources.beneath import READ, open_beneath, status_beneath


def file_state(path: Path, root: Root | None = None) -> FileState:
    """Return a file's state without opening it.

    Raises:
        SourceVanished: it is gone.
        SourceUnreadable: examining it is not permitted.
        LinkOutOfTree: its path leads out of its root.
        UnsupportedFormat: it is a folder, pipe or device.
    """
    with _translated("examined"):
        status = status_beneath(path, root)
    _require_regular(status)
    return _state(status)


def open_unchanged(path: Path, expected: FileState, root: Root | None = None) -> BinaryIO:
    """Open a file for reading and check that its state is `expected`.

    Raises:
        SourceVanished: it is gone.
        SourceUnreadable: reading it is not permitted.
        LinkOutOfTree: its path leads out of its root.
        SourceChanged: size, modification time or inode differ.
        UnsupportedFormat: it is a pipe or device by now.
    """
    with _translated("read"):
        descriptor = open_beneath(path, root, READ)
    try:
        _require(descriptor, expected)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def require_unchanged(file: BinaryIO, expected: FileState) -> None:
    """Compare an open file with its expected state. A copy of an object is not compared: it does not change.

    Raises:
        SourceChanged: the state differs.
        UnsupportedFormat: it is a pipe or device.
    """
    if expected.etag is None:
        _require(file.fileno(), expected)


def _require(descriptor: int, expected: FileState) -> None:
    status = os.fstat(descriptor)
    _require_regular(status)
    if _state(status) != expected:
        raise SourceChanged("the file changed while it was read")


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsupportedFormat("not a regular file but a folder, pipe, socket or device")


def _state(status: os.stat_result) -> FileState:
    return FileState(bytes=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino)


@contextmanager
def _translated(attempt: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise SourceVanished("the file is gone") from None
    except OSError as error:
        raise SourceUnreadable(f"the file cannot be {attempt}: {error.strerror}") from error

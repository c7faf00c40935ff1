"""Opens a local file and checks that it is the one that was identified."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from pipeline.core.errors import SourceChanged, SourceUnreadable, SourceVanished, UnsupportedFormat
from pipeline.core.models import FileState


def file_state(path: Path) -> FileState:
    """Return a file's state without opening it.

    Raises:
        SourceVanished: it is gone.
        SourceUnreadable: examining it is not permitted.
    """
    try:
        return _state(path.stat())
    except FileNotFoundError:
        raise SourceVanished("the file is gone") from None
    except OSError as error:
        raise SourceUnreadable(f"the file cannot be examined: {error.strerror}") from error


def open_unchanged(path: Path, expected: FileState) -> BinaryIO:
    """Open a file for reading and check that its state is `expected`.

    Raises:
        SourceVanished: it is gone.
        SourceUnreadable: reading it is not permitted.
        SourceChanged: size, modification time or inode differ.
        UnsupportedFormat: it is a pipe or device by now.
    """
    try:
        # O_NONBLOCK: a pipe that replaced the file must not block us; regular files ignore the flag.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SourceVanished("the file is gone") from None
    except OSError as error:
        raise SourceUnreadable(f"the file cannot be read: {error.strerror}") from error
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
    if not stat.S_ISREG(status.st_mode):
        raise UnsupportedFormat("not a regular file but a folder, pipe, socket or device")
    if _state(status) != expected:
        raise SourceChanged("the file changed while it was read")


def _state(status: os.stat_result) -> FileState:
    return FileState(bytes=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino)

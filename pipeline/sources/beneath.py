"""Opens local files beneath their root. No other module opens, lists or examines a source file on a disk.

    path ──▶ open, and follow no link ──▶ descriptor
               │ a link is on the path
               ▼
             read where the path leads ──▶ beneath the root? ──▶ open that path, and follow no link

Names can be exchanged at any time, descriptors cannot. A link that replaces a file or a folder after the walk therefore
leads to files beneath the root, or to an error. This includes the root itself and the folders above it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pipeline.core.errors import LinkOutOfTree
from pipeline.core.models import Root
from pipeline.sources.urls import display_path, source_path, source_url

#: Opens a file to examine it: it may be unreadable, a pipe or a device. Systems without O_PATH need the right to read.
LOOK = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK)
#: Opens a file to read it. O_NONBLOCK: a pipe that replaced the file must not block; regular files ignore it.
READ = os.O_RDONLY | os.O_NONBLOCK
#: The system call `openat2` (Linux 5.6) has this number on all architectures but Alpha.
_OPENAT2 = 437
#: RESOLVE_NO_MAGICLINKS and RESOLVE_NO_SYMLINKS in linux/openat2.h.
_NO_LINKS = 0x02 | 0x04
#: AT_FDCWD in linux/fcntl.h; all paths are absolute.
_NO_FOLDER = -100
_MOVED = "Index the folder again under its current path, if that link is meant to be there."


class _OpenHow(ctypes.Structure):
    """`struct open_how` in linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def named_root(url: str) -> Root:
    """Return the root of a file or folder that a person names by this `file://` URL, and where it leads now.

    The root of a file is its folder.
    """
    path = source_path(url)
    folder = path if path.is_dir() else path.parent
    target = Path(os.path.realpath(folder))
    return Root(url=source_url(folder), target=None if target == folder else source_url(target))


def open_beneath(path: Path, root: Root | None, flags: int = LOOK) -> int:
    """Open a file or folder, and return its descriptor. Opening never blocks.

    Without a root, the path may have no links except a last one that leads to a file in the same folder.

    Raises:
        LinkOutOfTree: the path does not lead to a file beneath the root.
        OSError: as `open` raises it.
    """
    root = root or Root(url=source_url(path.parent))
    folder = source_path(root.url)
    if ".." in path.parts or not path.is_relative_to(folder):
        raise LinkOutOfTree(f"the path is not beneath {display_path(root.url)}")
    try:
        return _open_without_links(path, flags)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    target = _target(path, folder, root)
    try:
        return _open_without_links(target, flags)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    raise LinkOutOfTree("a link on its path was exchanged while it was followed")


def status_beneath(path: Path, root: Root | None) -> os.stat_result:
    """Return the status of a file or folder without reading it; raises as `open_beneath` does."""
    descriptor = open_beneath(path, root)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def open_folder(descriptor: int) -> int:
    """Return a descriptor to list the folder of a descriptor that was opened to examine it.

    Raises:
        OSError: it is not a folder, or listing it is not permitted.
    """
    return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor)


def _target(path: Path, folder: Path, root: Root) -> Path:
    """Return where a path with links leads.

    Raises:
        LinkOutOfTree: out of the root, or the root leads to another folder than when it was named.
        OSError: to nowhere.
    """
    now = Path(os.path.realpath(folder))
    if now != folder and (root.target is None or now != source_path(root.target)):
        raise LinkOutOfTree(
            f"a link that was not there when {display_path(root.url)} was named now leads elsewhere", remedy=_MOVED
        )
    target = Path(os.path.realpath(path, strict=True))
    if not target.is_relative_to(now):
        raise LinkOutOfTree(f"the link leads out of the folder, to {display_path(source_url(target))}")
    return target


def _open_without_links(path: Path, flags: int) -> int:
    """Open an absolute path. A link on it, also in `/proc`, raises an `OSError` with ELOOP."""
    return _openat2(path, flags) if _has_openat2() else _open_stepwise(path, flags)


@cache
def _has_openat2() -> bool:
    """Whether the kernel has `openat2`, and no filter of system calls refuses it."""
    if sys.platform != "linux":
        return False
    try:
        os.close(_openat2(Path("/"), LOOK))
    except OSError:
        return False
    return True


def _openat2(path: Path, flags: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _NO_LINKS)
    while True:
        descriptor = _syscall()(_OPENAT2, _NO_FOLDER, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        if descriptor >= 0:
            return descriptor
        if (number := ctypes.get_errno()) != errno.EINTR:
            raise OSError(number, os.strerror(number), str(path))


@cache
def _syscall() -> Callable[..., int]:
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    return function


def _open_stepwise(path: Path, flags: int) -> int:
    """Open folder after folder, each within the one before it, for kernels without `openat2`."""
    steps = [*((name, LOOK) for name in path.parts[:-1]), (path.parts[-1], flags)]
    folder: int | None = None
    for name, how in steps:
        try:
            found = os.open(name, how | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        finally:
            if folder is not None:
                os.close(folder)
        folder = found
        if stat.S_ISLNK(os.fstat(found).st_mode):  # O_PATH opens the link itself
            os.close(found)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    assert folder is not None
    return folder

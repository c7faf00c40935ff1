"""Restricts a thread and the programs that it starts to some files and no network, by Linux' Landlock.

Landlock needs no privileges, works within containers, and cannot be undone. The system calls are made by number, since
glibc does not name them; numbers, structures and flags are from `linux/landlock.h` and from
https://docs.kernel.org/userspace-api/landlock.html. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1 << 0
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _MAKE_SOCK = (1 << bit for bit in (0, 1, 2, 3, 9))
#: Rights that a rule about a single file may grant.
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE
#: Rights to files that each version of Landlock knows: the first 13, then renaming between folders, truncating, and
#: commands to devices.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
#: Binding and connecting by TCP, from version 4 on.
_TCP = 0b11
#: Abstract sockets of others and signals to them, from version 6 on.
_SCOPES = 0b11

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("descriptor", ctypes.c_int32))


def version() -> int:
    """Return the version of Landlock that the kernel enforces, 0 if it enforces none."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)))


def restrict(readable: Iterable[Path], own: Path, sockets: Path) -> None:
    """Restrict the calling thread: it may read and run the `readable` files and folders, and use its `own` folder.

    It may also make sockets in the folder `sockets` and write to the devices in `/dev`. TCP is forbidden if the kernel
    supports that. Without Landlock nothing is restricted.
    """
    known = version()
    if not known:
        return
    every = (1 << _RIGHTS.get(known, 16)) - 1
    wanted = _Ruleset(every, _TCP if known >= 4 else 0, _SCOPES if known >= 6 else 0)
    size = 8 if known < 4 else 16 if known < 6 else 24
    ruleset = _done(_libc.syscall(_CREATE_RULESET, ctypes.byref(wanted), ctypes.c_size_t(size), 0))
    try:
        for path in readable:
            _allow(ruleset, path, _EXECUTE | _READ_FILE | _READ_DIR)
        _allow(ruleset, Path("/dev"), _READ_FILE | _WRITE_FILE)
        _allow(ruleset, sockets, _MAKE_SOCK)
        _allow(ruleset, own, every)
        _done(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _done(_libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rule = _Beneath(rights if is_folder else rights & _OF_FILES, descriptor)
        _done(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(descriptor)


def _done(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock refuses")
    return result

"""The user that a local server runs as: never root, and never a person by chance."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
from pathlib import Path

from pipeline.core.errors import ServiceRefused

#: A server that root starts runs as this account, if the account exists.
NODE_ACCOUNT = "pagesight-node"
#: Otherwise it runs under one of these ids that has no account. systemd gives none of them to homes or to services.
NODE_IDS = range(60_578, 61_184)


def node_account(folder: Path, service: str = "elasticsearch") -> tuple[int, int] | None:
    """Return user and group of the server with this folder, or None for the current user.

    An id without an account is chosen by the folder's path. So servers of several homes have several ids, and a server
    that starts again has the same one.

    Raises:
        ServiceRefused: each id of `NODE_IDS` has an account.
    """
    if os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwnam(NODE_ACCOUNT)
        return account.pw_uid, account.pw_gid
    except KeyError:
        first = int(digest(folder), 16) % len(NODE_IDS)
    for number in (*NODE_IDS[first:], *NODE_IDS[:first]):
        if _is_free(number):
            return number, number
    raise ServiceRefused(service, "no user id is free for the local server", remedy=f"Add an account {NODE_ACCOUNT}.")


def digest(folder: Path) -> str:
    """Return a short name of a folder."""
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]


def lets_through(folder: Path, uid: int) -> bool:
    """Whether a user may pass through a folder; true for one that is missing."""
    if not folder.exists():
        return True
    state = folder.stat()
    return bool(state.st_mode & (0o100 if state.st_uid == uid else 0o001))


def give(folder: Path, account: tuple[int, int]) -> None:
    """Make a user the owner of a folder and of everything in it, once.

    Afterwards the user could lead root, by links, to files of others.
    """
    if folder.stat().st_uid == account[0]:
        return
    for path in (*folder.rglob("*"), folder):
        os.chown(path, *account, follow_symlinks=False)


def _is_free(number: int) -> bool:
    """Whether neither a user nor a group has this id."""
    for look_up in (pwd.getpwuid, grp.getgrgid):
        try:
            look_up(number)
        except KeyError:
            continue
        return False
    return True

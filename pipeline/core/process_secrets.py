"""Secrets of the environment, taken out of it when a command begins, and the process shut to others of its user.

A decoder that a file has taken over, and every other process of the same user, could read `/proc/<pid>/environ` and the
memory of the worker. Children get an environment of their own; other processes started here inherit what is left.
"""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

_PR_SET_DUMPABLE = 4
#: Variables with a key, and of other tools the one that a setting takes its key from.
_NAMES = re.compile(r"PAGESIGHT_\w*(?:API_KEY|SECRET|TOKEN|PASSWORDS)|JINA_API_KEY", re.ASCII)
#: URLs with a user's name, and maybe a password.
_USER_INFO = re.compile(r"//[^/@\s]+@")
#: Where the kernel says that the environment begins and ends, counted after the command in `/proc/self/stat`.
_ENVIRONMENT_FIELDS = slice(47, 49)

#: What was taken out, by the name of its variable. `pipeline.core.settings.load` reads it beside the environment.
withheld: dict[str, str] = {}


def withhold_secrets() -> None:
    """Take the secrets of Pagesight out of the environment, and let no other process of the user look in here.

    Variables of other tools, such as `AWS_SECRET_ACCESS_KEY`, stay: their libraries read them when they need them.
    """
    secrets = {name: value for name, value in os.environ.items() if is_secret(name, value)}
    for name in secrets:
        del os.environ[name]
    withheld.update(secrets)
    if secrets:
        _erase(secrets)
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable is a secret of Pagesight, by its name, or because it is a URL with a user."""
    return bool(_NAMES.fullmatch(name) or (name.startswith("PAGESIGHT_") and _USER_INFO.search(value)))


def _erase(secrets: dict[str, str]) -> None:
    """Overwrite the values in the block of memory with which the process was started: `unsetenv` leaves it."""
    stat = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
    first, last = map(int, stat.rpartition(")")[2].split()[_ENVIRONMENT_FIELDS])
    offset = 0
    for entry in ctypes.string_at(first, last - first).split(b"\0"):
        name, _, value = entry.partition(b"=")
        if os.fsdecode(name) in secrets:
            ctypes.memset(first + offset + len(name) + 1, 0, len(value))
        offset += len(entry) + 1

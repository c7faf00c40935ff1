"""Where configuration and state are found: `pagesight.toml` and the home folder.

A folder is data, not configuration. A file decides which programs run and to which servers keys are sent. So a file or
a home in the working directory is used only if nobody else could have put it there, and never from a folder whose files
are read, now or by an earlier command.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import SettingsError

FILE_NAME = "pagesight.toml"
#: Name of a home in the working directory. Pagesight made it there before homes had a place in the user's own folder.
LOCAL_HOME = ".pagesight"
#: Environment variable that names the file.
CONFIG_VARIABLE = "PAGESIGHT_CONFIG"
#: Home of an account without a home folder.
ACCOUNTLESS_HOME = Path("/var/lib/pagesight")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """A file with settings."""

    path: Path
    content: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """The files that were found, and sentences for the user about those that were not used."""

    file: ConfigurationFile | None
    local_home: Path | None
    """The home in the working directory, if it is used."""
    notices: tuple[str, ...]


def find(environ: Mapping[str, str], folder: Path, data: Iterable[Path] = ()) -> Found:
    """Find configuration file and local home for a command.

    Args:
        folder: working directory.
        data: files and folders that are read as documents. Nothing in them is configuration, except the file in the
            user's own folder of settings, which nobody else writes.

    Raises:
        SettingsError: `PAGESIGHT_CONFIG` names a file that cannot be read.
    """
    roots = tuple(path.resolve() for path in data)
    notices: list[str] = []
    explicit = environ.get(CONFIG_VARIABLE)
    file = _named_file(Path(explicit)) if explicit else _first_safe(environ, folder, roots, notices)
    home = None if environ.get("PAGESIGHT_HOME") else _local_home(folder, roots, notices)
    return Found(file, home, tuple(notices))


class _Announcer:
    """Tells the user once about each file that is passed over. Silent until a command sets `tell`."""

    def __init__(self) -> None:
        self.tell: Callable[[str], object] | None = None
        self._told: set[str] = set()

    def announce(self, notices: Iterable[str]) -> None:
        if self.tell is None:
            return
        for notice in notices:
            if notice not in self._told:
                self._told.add(notice)
                self.tell(notice)


announcer = _Announcer()


def default_home() -> Path:
    """Return the home where none is configured: `pagesight` in the user's folder of data."""
    return (_user_folder(os.environ, "XDG_DATA_HOME", ".local/share") or ACCOUNTLESS_HOME.parent) / "pagesight"


def _named_file(path: Path) -> ConfigurationFile:
    try:
        return ConfigurationFile(path.absolute(), path.read_bytes())
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}", remedy=f"Check --config and {CONFIG_VARIABLE}."
        ) from None


def _first_safe(
    environ: Mapping[str, str], folder: Path, roots: tuple[Path, ...], notices: list[str]
) -> ConfigurationFile | None:
    """Return the first file that is safe to use. Every other one is named in `notices`, with the reason."""
    used: ConfigurationFile | None = None
    own = _own_file(environ)
    for path in dict.fromkeys(_candidates(own, folder)):
        if not os.path.lexists(path):
            continue
        reason = f"{used.path} is used" if used else _distrust(path, () if path == own else roots)
        content = None if reason else _read_checked(path)
        if content is None:
            notices.append(
                f"{path} is not used: {reason or 'it cannot be read'}. `--config {path}` uses it nevertheless."
            )
        else:
            used = ConfigurationFile(path, content)
    return used


def _own_file(environ: Mapping[str, str]) -> Path | None:
    folder = _user_folder(environ, "XDG_CONFIG_HOME", ".config")
    return folder / "pagesight" / FILE_NAME if folder else None


def _candidates(own: Path | None, folder: Path) -> Iterator[Path]:
    if own is not None:
        yield own
    for parent in (folder, *folder.parents):
        yield parent / FILE_NAME


def _local_home(folder: Path, roots: tuple[Path, ...], notices: list[str]) -> Path | None:
    path = folder / LOCAL_HOME
    if not path.is_dir():
        return None
    reason = _distrust(path, roots)
    if reason:
        notices.append(f"{path} is not used as home: {reason}. `PAGESIGHT_HOME={path}` uses it nevertheless.")
        return None
    notices.append(f"{path} is used as home, since it exists. PAGESIGHT_HOME names another one.")
    return path


def _user_folder(environ: Mapping[str, str], variable: str, usual: str) -> Path | None:
    """Return a folder of the XDG specification, which ignores relative paths; None for an account without a home."""
    given = Path(environ.get(variable, ""))
    if given.is_absolute():
        return given
    home = _home_of_user(environ)
    return home / usual if home is not None else None


def _home_of_user(environ: Mapping[str, str]) -> Path | None:
    """Return the home folder of the user who runs the command. `sudo` may leave HOME at the folder of another user."""
    for home in (Path(environ.get("HOME", "")), _home_of_account()):
        if home.is_absolute() and _owner(home) in {None, os.geteuid(), 0}:
            return home
    return None


def _home_of_account() -> Path:
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:  # containers often run under an id without an account
        return Path()


def _owner(path: Path) -> int | None:
    """Return the user id of a file's owner, or None if there is no file."""
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _distrust(path: Path, roots: tuple[Path, ...]) -> str | None:
    """Return why a file or folder is not safe to use, or None. A link is as safe as both of its ends."""
    named, target = path.parent.resolve() / path.name, path.resolve()
    for root in roots:
        if root in (named, target):
            return "files beside it are read as documents"
        if named.is_relative_to(root) or target.is_relative_to(root):
            return f"it is in {root}, whose files are read as documents"
    try:
        for place in dict.fromkeys((target, named.parent, target.parent)):
            if reason := _distrust_state(place, place.stat()):
                return reason
    except OSError as error:
        return f"it cannot be examined: {error.strerror}"
    return None


def _distrust_state(path: Path, state: os.stat_result) -> str | None:
    if state.st_uid not in {os.geteuid(), 0}:
        return f"{path} belongs to another user"
    if state.st_mode & _OTHERS_WRITE:
        return f"other users may write to {path}"
    return None


def _read_checked(path: Path) -> bytes | None:
    """Return a file's content. Its state is checked again on the opened file, which nobody can replace."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            state = os.fstat(descriptor)
            safe = stat.S_ISREG(state.st_mode) and _distrust_state(path, state) is None
            return file.read() if safe else None
    except OSError:
        return None

"""Passwords of encrypted files. They never appear in a log, message, record or argument.

They are tried in the sandbox, or in the confined process that converts the document.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import json
import shlex
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import SecretStr

from pipeline.core.errors import ServiceRefused, SettingsError
from pipeline.core.masking import remember

#: Maximum number of passwords tried on one file. A try takes a few milliseconds, or more if the file has a slow hash.
MAX_TRIED = 100
#: Time limit of the command. It may ask a person, or a vault.
COMMAND_SECONDS = 60
#: With these parameters scrypt takes 0.1 s and 32 MiB for each guess.
_SCRYPT = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 64 << 20}
_SEPARATOR = ": "


@dataclass(frozen=True, slots=True)
class Patterned:
    """A password for the files that a pattern names."""

    pattern: str
    """A shell pattern; `*` also matches `/`. Without a `/` it applies to the file name, else to the path or its end."""
    password: SecretStr

    def matches(self, path: str) -> bool:
        """Whether the pattern matches the file at this path."""
        if "/" not in self.pattern:
            return fnmatch.fnmatchcase(PurePosixPath(path).name, self.pattern)
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in (self.pattern, f"*/{self.pattern}"))

    @property
    def literal_chars(self) -> int:
        """Number of characters other than wildcards. A pattern with more of them is more specific."""
        return len(self.pattern) - sum(map(self.pattern.count, "*?"))


class Passwords:
    """The passwords that a person has given. Thread-safe.

    Args:
        patterned: passwords for files that match a pattern.
        general: passwords for all files.
        command: a program and its arguments. It prints further passwords for all files, one per line. It runs once, on
            the first use of passwords; its stderr is shown.
    """

    def __init__(
        self, patterned: Sequence[Patterned] = (), general: Sequence[SecretStr] = (), command: str = ""
    ) -> None:
        remember(one.password.get_secret_value() for one in patterned)
        remember(secret.get_secret_value() for secret in general)
        self._patterned = sorted(patterned, key=lambda one: -one.literal_chars)
        self._general = tuple(general)
        self._command = command
        self._lock = threading.Lock()
        self._printed: tuple[SecretStr, ...] | None = None
        self._key: bytes | None = None

    def of(self, path: str) -> tuple[str, ...]:
        """Return the passwords that may open the file at a path, most specific first, at most `MAX_TRIED`.

        Raises:
            ServiceRefused: the command fails.
        """
        matching = (one.password for one in self._patterned if one.matches(path))
        every = (secret.get_secret_value() for secret in (*matching, *self._general, *self._by_command()))
        return tuple(dict.fromkeys(every))[:MAX_TRIED]

    def mark(self, identifier: str) -> str | None:
        """Return a mark that changes when other passwords are given; None if no password is given.

        It is safe to store: testing one guess of the whole set of passwords takes one run of scrypt.

        Args:
            identifier: of the object that the mark is stored with; marks of two objects differ.

        Raises:
            ServiceRefused: the command fails.
        """
        printed = self._by_command()
        if not (self._patterned or self._general or printed):
            return None
        with self._lock:
            if self._key is None:
                general = {secret.get_secret_value() for secret in (*self._general, *printed)}
                patterned = {(one.pattern, one.password.get_secret_value()) for one in self._patterned}
                every = json.dumps([sorted(general), sorted(patterned)]).encode()
                self._key = hashlib.scrypt(every, salt=b"pagesight passwords", **_SCRYPT)
        return hmac.digest(self._key, identifier.encode(), "sha256").hex()

    def count(self) -> dict[str, int]:
        """Return the number of passwords by their origin.

        Raises:
            ServiceRefused: the command fails.
        """
        return {
            "in the list": len(self._general),
            "in the file": len(self._patterned),
            "by the command": len(self._by_command()),
        }

    def _by_command(self) -> tuple[SecretStr, ...]:
        with self._lock:
            if self._printed is None:
                lines = _lines(_output(self._command)) if self._command else []
                remember(lines)
                self._printed = tuple(map(SecretStr, lines))
            return self._printed


def read_patterned(path: Path) -> tuple[Patterned, ...]:
    """Read a file of `pattern: password` lines. Empty lines and lines that begin with `#` are ignored.

    The password is everything after the first `: ` of its line, including spaces.

    Raises:
        SettingsError: the file cannot be read, or a line is invalid. The message gives the line's number, not its text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise SettingsError(f"the passwords file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"the passwords file {path} is not UTF-8") from None
    return tuple(_patterned(lines, path))


def _patterned(lines: Sequence[str], path: Path) -> Iterator[Patterned]:
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        pattern, separator, password = line.removesuffix("\r").partition(_SEPARATOR)
        if not (pattern.strip() and separator and password):
            raise SettingsError(
                f"line {number} of the passwords file {path} is not of the form `pattern: password`",
                remedy="Write a pattern, a colon, a space, and the password; `*` is the pattern of all files.",
            )
        yield Patterned(pattern.strip(), SecretStr(password))


def _lines(text: str) -> list[str]:
    return [line for line in (line.removesuffix("\r") for line in text.split("\n")) if line]


def _output(command: str) -> str:
    """Run the command and return its output. Error messages do not contain the output."""
    remedy = "Correct PAGESIGHT_PASSWORDS_COMMAND, or remove it from the settings."
    try:
        ended = subprocess.run(
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_SECONDS, check=False
        )
        output = ended.stdout.decode()
    except OSError as error:
        problem = f"cannot be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        problem = f"was not done within {COMMAND_SECONDS} seconds"
    except UnicodeDecodeError:
        problem = "printed bytes that are not UTF-8"
    else:
        if ended.returncode == 0:
            return output
        problem = f"ended with status {ended.returncode}"
    raise ServiceRefused("passwords", f"the command for passwords {problem}", remedy=remedy)

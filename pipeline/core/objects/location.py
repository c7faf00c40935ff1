"""Locations as people write them: `protocol://bucket/key`, in which nothing is escaped."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.core.errors import SettingsError

_LOCATION = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)/?(.*)", re.DOTALL)
#: Other names of the local file system, as fsspec has them.
_LOCAL = ("file", "local")
_SAME = {"s3a": "s3"}


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket or folder outside the local file system."""

    protocol: str
    authority: str
    """A bucket, or a host."""
    key: str
    """As it is, with its slashes; "" for the whole bucket."""

    def __str__(self) -> str:
        return f"{self.protocol}://{self.authority}/{self.key}"


def parse_location(text: str) -> Location | None:
    """Parse a location; return None for a local path or `file://` URL.

    Raises:
        SettingsError: it holds a password, or is a chain of file systems.
    """
    match = _LOCATION.fullmatch(text)
    if match is None or match[1].lower() in _LOCAL:
        return None
    protocol = match[1].lower()
    location = Location(_SAME.get(protocol, protocol), match[2], match[3])
    if "@" in location.authority and ":" in location.authority.rpartition("@")[0]:
        raise SettingsError(
            "a location must not hold a password: locations are archived and shown",
            remedy="Give it by the environment or by the configuration of the package that speaks the protocol.",
        )
    # fsspec would treat the rest as a further file system.
    if "::" in location.authority:
        raise SettingsError("chains of file systems (`::`) are not supported", remedy="Name the location itself.")
    return location

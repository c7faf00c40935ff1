"""URLs of sources: built from the user's input, and converted to paths for display.

    /scans/50%.pdf           file:///scans/50%25.pdf
    s3://bucket/50%.pdf      s3://bucket/50%25.pdf

    member of a ZIP archive  file:///scans/box.zip#letters/50%25.pdf
    member of a member       file:///scans/box.zip#inner.zip#50%25.pdf

Users type and see names unencoded. A URL is ASCII and identifies exactly one name, with any characters. The URL
of a folder in a bucket ends with a slash; the URL of an object does not. `#` in a name is percent-encoded, so a `#` in
a URL always separates a container from its member. If no member follows the `#`, the URL is that of the container as a
folder. The displayed path has a slash instead of `#`: `/scans/box.zip/letters/50%.pdf`.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from pipeline.core.errors import SettingsError
from pipeline.core.objects import BucketMissing, Location, Objects, open_objects, parse_location

#: Name of the object store in errors.
SERVICE = "source store"
_FILE = "file://"
_INTO = "#"


def source_url(path: Path) -> str:
    """Return a file's URL. It is ASCII and unambiguous for every name that a file system allows."""
    return path.as_uri()


def source_path(url: str) -> Path:
    """Return the path of a `file://` URL made by `source_url`."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(url).path)))


def is_local(url: str) -> bool:
    """Whether a URL names a file or folder on this machine."""
    return url.startswith(_FILE)


def object_url(folder: str, name: str) -> str:
    """Return the URL of an object in the folder with this URL."""
    quoted = _quoted(name)
    return folder + (quoted[:-1] + "%2F" if quoted.endswith("/") else quoted)


def folder_url(folder: str, name: str) -> str:
    """Return the URL of a folder in the folder with this URL; the name ends with a slash."""
    return folder + _quoted(name)


def source_location(url: str) -> Location:
    """Return the location of an object or folder."""
    protocol, _, rest = url.partition("://")
    authority, _, key = rest.partition("/")
    return Location(protocol, authority, os.fsdecode(unquote_to_bytes(key)))


def source_objects(url: str) -> tuple[Objects, str]:
    """Return the bucket of a URL, and the key in it.

    Raises:
        SettingsError: no installed package supports its protocol.
    """
    location = source_location(url)
    return open_objects(location, SERVICE), location.key


def display_path(url: str) -> str:
    """Return the path or location of a URL as text to store and display. Invalid UTF-8 becomes U+FFFD."""
    outermost, *members = url.split(_INTO)
    shown = str(source_path(outermost)) if is_local(url) else str(source_location(outermost))
    shown = "/".join((shown, *(unquote(member) for member in members if member)))
    return os.fsencode(shown).decode("utf-8", "replace")


def member_url(container: str, name: str) -> str:
    """Return the URL of a member of the container with this URL. An empty name gives the container as a folder."""
    return container + _INTO + quote(name, safe="/")


def split_member(url: str) -> tuple[str, str | None]:
    """Split a member's URL into the URL of its container and its name there. For other URLs the name is None."""
    container, into, name = url.rpartition(_INTO)
    return (container, unquote(name)) if into else (url, None)


def containers_of(url: str) -> list[str]:
    """Return the URLs of the containers around a member, the innermost first."""
    parts = url.split(_INTO)
    return [_INTO.join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def container_path(url: str) -> str | None:
    """Return the displayed path of a member's container, None outside containers."""
    return next((display_path(container) for container in containers_of(url)), None)


def is_below(url: str, root: str) -> bool:
    """Whether a URL is `root`, or is within that folder or container."""
    return url == root or url.startswith((root.rstrip("/") + "/", root.rstrip(_INTO) + _INTO))


def is_path_below(path: str, root: str) -> bool:
    """Whether a path from `display_path` is `root`, or is within that folder or container."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def argument_url(argument: str) -> str:
    """Return the URL of an argument, a path or an fsspec URL, without checking that it exists.

    Raises:
        SettingsError: the argument cannot be parsed.
    """
    location = parse_location(argument)
    if location is None:
        path = source_path(argument) if argument.startswith(_FILE) else Path(argument)
        return source_url(Path(os.path.abspath(path)))
    return f"{location.protocol}://{location.authority}/{_quoted(location.key)}"


def root_url(argument: str) -> str:
    """Return the URL of an argument, a path or an fsspec URL, and check that it exists.

    If a bucket has both an object and a folder of this name, the object is used. A slash at the end selects the folder.

    Raises:
        SettingsError: it does not exist or may not be examined, or the package for its protocol is missing.
        ServiceUnavailable, ServiceRefused: the bucket cannot be queried.
    """
    url = argument_url(argument)
    if is_local(url):
        if not os.path.lexists(source_path(url)):
            raise _nothing_at(url)
        return url
    objects, key = source_objects(url)
    try:
        if key and not url.endswith("/"):
            if _is_object(objects, key):
                return url
            url, key = url + "/", key + "/"
        page = objects.page(key, "", 1)
        empty = not (page.keys or page.folders or page.after)
        if key and empty and not _is_object(objects, key):  # an empty folder may have a marker
            raise _nothing_at(url)
    except BucketMissing as error:
        raise SettingsError(str(error), remedy=error.remedy) from error
    except PermissionError as error:
        raise SettingsError(f"{display_path(url)} cannot be examined: {error}") from error
    return url


def _is_object(objects: Objects, key: str) -> bool:
    try:
        objects.state(key)
    except FileNotFoundError:
        return False
    return True


def _nothing_at(url: str) -> SettingsError:
    return SettingsError(f"there is no {display_path(url)}", remedy="Name files or folders that exist.")


def _quoted(key: str) -> str:
    return quote(os.fsencode(key), safe="/")

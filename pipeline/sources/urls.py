"""The URLs of sources: what a person typed made into one, and one made into what people read.

    /scans/50%.pdf           file:///scans/50%25.pdf
    s3://bucket/50%.pdf      s3://bucket/50%25.pdf

    member of a ZIP archive  file:///scans/box.zip#letters/50%25.pdf
    member of a member       file:///scans/box.zip#inner.zip#50%25.pdf

People write and read names as they are. A URL is ASCII and leads back to exactly one name, whatever that holds. The URL
of an object ends with a slash where it is a folder, and only there. A `#` in a name is percent-encoded, so that one in
a URL always stands between a container and what lies in it; with nothing behind it, it is the container seen as a
folder. People read a slash there: `/scans/box.zip/letters/50%.pdf`.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from pipeline.core.errors import SettingsError
from pipeline.core.objects import BucketMissing, Location, Objects, open_objects, parse_location

#: What errors call the place where objects lie.
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
    """Whether a URL is that of a file or folder of this machine."""
    return url.startswith(_FILE)


def object_url(folder: str, name: str) -> str:
    """Return the URL of an object directly in a folder, which is given by its URL."""
    quoted = _quoted(name)
    return folder + (quoted[:-1] + "%2F" if quoted.endswith("/") else quoted)


def folder_url(folder: str, name: str) -> str:
    """Return the URL of a folder directly in a folder, which is given by its URL; the name ends with a slash."""
    return folder + _quoted(name)


def source_location(url: str) -> Location:
    """Return where the object or folder of a URL lies."""
    protocol, _, rest = url.partition("://")
    authority, _, key = rest.partition("/")
    return Location(protocol, authority, os.fsdecode(unquote_to_bytes(key)))


def source_objects(url: str) -> tuple[Objects, str]:
    """Return the bucket of a URL, and the key in it.

    Raises:
        SettingsError: no installed package speaks its protocol.
    """
    location = source_location(url)
    return open_objects(location, SERVICE), location.key


def display_path(url: str) -> str:
    """Return where a URL leads as text that can be stored and shown: bytes that are no UTF-8 become U+FFFD."""
    outermost, *members = url.split(_INTO)
    shown = str(source_path(outermost)) if is_local(url) else str(source_location(outermost))
    shown = "/".join((shown, *(unquote(member) for member in members if member)))
    return os.fsencode(shown).decode("utf-8", "replace")


def member_url(container: str, name: str) -> str:
    """Return the URL of a member of a container, which is given by its URL; with no name, of its inside as a folder."""
    return container + _INTO + quote(name, safe="/")


def split_member(url: str) -> tuple[str, str | None]:
    """Return the URL of the container that a URL leads into and the member's name there, None for what lies in none."""
    container, into, name = url.rpartition(_INTO)
    return (container, unquote(name)) if into else (url, None)


def containers_of(url: str) -> list[str]:
    """Return the URLs of the containers that a URL leads into, the innermost first."""
    parts = url.split(_INTO)
    return [_INTO.join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


def container_path(url: str) -> str | None:
    """Return the container that something lies in as text that can be shown, None where it lies in none."""
    return next((display_path(container) for container in containers_of(url)), None)


def is_below(url: str, place: str) -> bool:
    """Whether a URL is that of a place, or of something in it: a folder or a container."""
    return url == place or url.startswith((place.rstrip("/") + "/", place.rstrip(_INTO) + _INTO))


def is_path_below(path: str, place: str) -> bool:
    """The same of paths as `display_path` gives them, where a container is like a folder."""
    return path == place or path.startswith(place.rstrip("/") + "/")


def place_url(argument: str) -> str:
    """Return the URL of what a person typed, a path or an fsspec URL, whether or not something is there.

    Raises:
        SettingsError: it cannot be understood.
    """
    location = parse_location(argument)
    if location is None:
        path = source_path(argument) if argument.startswith(_FILE) else Path(argument)
        return source_url(Path(os.path.abspath(path)))
    return f"{location.protocol}://{location.authority}/{_quoted(location.key)}"


def root_url(argument: str) -> str:
    """Return the URL of what a person typed, after having looked whether something is there.

    Where a bucket has both an object and a folder of a name, the object is meant; a slash at the end means the folder.

    Raises:
        SettingsError: nothing is there, or the package behind its protocol is missing.
        ServiceUnavailable, ServiceRefused: the bucket cannot be asked.
    """
    url = place_url(argument)
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
        raise SettingsError(f"{display_path(url)} may not be looked at: {error}") from error
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

"""Objects by key, in an S3 bucket or at any other location that fsspec knows: the one door for sources and archive."""

from __future__ import annotations

from pipeline.core.errors import SettingsError
from pipeline.core.objects.location import Location, parse_location
from pipeline.core.objects.protocol import LIST_KEYS, OBJECT_WAITS_SECONDS, BucketMissing, ObjectPage, Objects

__all__ = [
    "LIST_KEYS",
    "OBJECT_WAITS_SECONDS",
    "BucketMissing",
    "Location",
    "ObjectPage",
    "Objects",
    "open_objects",
    "parse_location",
]


def open_objects(location: Location, service: str) -> Objects:
    """Return the objects of a location's bucket; nothing is asked yet. `service` is what errors call it.

    Raises:
        SettingsError: no installed package speaks its protocol.
    """
    # The packages behind protocols are extras: each is imported by who needs it.
    try:
        if location.protocol == "s3":
            from pipeline.core.objects.s3 import S3Objects

            return S3Objects(location.authority, service)
        from pipeline.core.objects.fsspec import OtherObjects

        return OtherObjects(location, service)
    except ImportError as error:
        remedy = f"Install it: {error}."
        if location.protocol == "s3":
            remedy = "Install it: `pip install 'pagesight[s3]'`."
        raise SettingsError(f"the package for {location.protocol}:// is not installed", remedy=remedy) from error
    except ValueError as error:  # how fsspec says that it knows no such protocol
        raise SettingsError(
            f"nothing is known of {location.protocol}:// ({error})", remedy="Name a path, or an s3:// location."
        ) from error

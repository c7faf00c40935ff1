"""Where files come from: listing folders and buckets, opening files, identifying them by their bytes, hashing."""

from pipeline.sources.access import SourceFiles
from pipeline.sources.beneath import named_root
from pipeline.sources.cache import SourceCache
from pipeline.sources.files import file_state, open_unchanged, require_unchanged
from pipeline.sources.identify import Identified, identify
from pipeline.sources.members import Containers, MemberFile, Unpacker
from pipeline.sources.mounts import is_unmounted, mount_of
from pipeline.sources.path_filter import PathFilter
from pipeline.sources.signatures import media_type_of
from pipeline.sources.urls import (
    argument_url,
    container_path,
    containers_of,
    display_path,
    is_below,
    is_local,
    is_path_below,
    member_url,
    root_url,
    source_path,
    source_url,
)
from pipeline.sources.walk import FoundFile, Listing, list_folder, walk

__all__ = [
    "Containers",
    "FoundFile",
    "Identified",
    "Listing",
    "MemberFile",
    "PathFilter",
    "SourceCache",
    "SourceFiles",
    "Unpacker",
    "argument_url",
    "container_path",
    "containers_of",
    "display_path",
    "file_state",
    "identify",
    "is_below",
    "is_local",
    "is_path_below",
    "is_unmounted",
    "list_folder",
    "media_type_of",
    "member_url",
    "mount_of",
    "named_root",
    "open_unchanged",
    "require_unchanged",
    "root_url",
    "source_path",
    "source_url",
    "walk",
]

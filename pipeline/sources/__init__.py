"""Where files come from: listing folders and buckets, opening files, identifying them by their bytes, hashing."""

from pipeline.sources.access import SourceFiles
from pipeline.sources.cache import SourceCache
from pipeline.sources.files import file_state, open_unchanged, require_unchanged
from pipeline.sources.identify import Identified, identify
from pipeline.sources.places import display_path, is_local, place_url, root_url, source_path, source_url
from pipeline.sources.walk import Found, Listing, list_folder, walk

__all__ = [
    "Found",
    "Identified",
    "Listing",
    "SourceCache",
    "SourceFiles",
    "display_path",
    "file_state",
    "identify",
    "is_local",
    "list_folder",
    "open_unchanged",
    "place_url",
    "require_unchanged",
    "root_url",
    "source_path",
    "source_url",
    "walk",
]

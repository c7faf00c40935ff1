"""Where files come from: walking folders, identifying a file by its bytes, hashing it."""

from pipeline.sources.files import file_state, open_unchanged, require_unchanged
from pipeline.sources.identify import Identified, identify
from pipeline.sources.walk import Found, display_path, source_path, source_url, walk

__all__ = [
    "Found",
    "Identified",
    "display_path",
    "file_state",
    "identify",
    "open_unchanged",
    "require_unchanged",
    "source_path",
    "source_url",
    "walk",
]

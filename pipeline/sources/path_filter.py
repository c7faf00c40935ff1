"""Chooses files by the patterns of a batch: `--include` and `--exclude`.

Paths are relative to the root that was named, and go on within containers: `box.zip/letters/a.pdf`. A root that is a
file is always kept, since a person named it. `--include` decides about files, and about containers as files: with a
container come its members. `--exclude` decides about files, folders and members, and comes last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pipeline.core.file_patterns import parse_patterns
from pipeline.core.models import FilePatterns
from pipeline.sources.urls import containers_of, display_path, is_below
from pipeline.sources.walk import FoundFile, Listing


class PathFilter:
    """The patterns of a batch, ready to be matched. Without patterns it keeps everything."""

    def __init__(self, patterns: FilePatterns | None) -> None:
        """Parse patterns.

        Raises:
            SettingsError: one of them cannot be parsed.
        """
        patterns = patterns or FilePatterns()
        self._include = parse_patterns(patterns.include) if patterns.include else None
        self._exclude = parse_patterns(patterns.exclude) if patterns.exclude else None
        self._roots = patterns.roots

    def keeps(self, url: str) -> bool:
        """Whether a batch with these patterns looks at a file or at a member of a container."""
        if self._include is None and self._exclude is None:
            return True
        path = self._relative(url)
        if not path or (self._exclude is not None and self._exclude.match_file(path)):
            return not path
        outermost = self._relative(next(reversed(containers_of(url)), url))
        return self._include is None or not outermost or self._include.match_file(outermost)

    def keeps_folder(self, url: str) -> bool:
        """Whether the walk of a batch enters a folder."""
        path = self._relative(url)
        return not path or self._exclude is None or not self._exclude.match_file(f"{path}/")

    def listing(self, listing: Listing) -> Listing:
        """Return a listing without what the patterns leave out, which counts as passed over."""
        found = tuple(one for one in listing.found if self.keeps(one.url))
        folders = tuple(url for url in listing.folders if self.keeps_folder(url))
        left_out = len(listing.found) - len(found) + len(listing.folders) - len(folders)
        return replace(listing, found=found, folders=folders, passed_over=listing.passed_over + left_out)

    def members(self, found: tuple[FoundFile, ...], pass_over: Callable[[int], None]) -> tuple[FoundFile, ...]:
        """Return the members that are kept; `pass_over` is called with the number of the others."""
        kept = tuple(one for one in found if self.keeps(one.url))
        pass_over(len(found) - len(kept))
        return kept

    def _relative(self, url: str) -> str:
        """Return the path below the innermost root that contains a URL; "" for a root itself, and below none."""
        root = max((root for root in self._roots if is_below(url, root)), key=len, default=None)
        if root is None:
            return ""
        return display_path(url).removeprefix(display_path(root).rstrip("/")).strip("/")

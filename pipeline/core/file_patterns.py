"""Patterns of `--include` and `--exclude`, in the syntax of gitignore."""

from __future__ import annotations

from collections.abc import Iterable

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError

from pipeline.core.errors import SettingsError


def parse_patterns(patterns: Iterable[str]) -> GitIgnoreSpec:
    """Return patterns that can be matched with relative paths.

    Raises:
        SettingsError: one of them says nothing.
    """
    lines = list(patterns)
    for line in lines:
        if not line.strip() or line.startswith("#"):
            raise SettingsError(
                f"{line!r} is an empty pattern: in gitignore's syntax `#` begins a comment",
                remedy=r"Write `\#` for a name that begins with `#`.",
            )
    try:
        # Without a choice, pathspec takes whichever engine is installed, and these differ in what they accept.
        return GitIgnoreSpec.from_lines(lines, backend="simple")
    except GitIgnorePatternError as error:
        raise SettingsError(
            f"a pattern cannot be parsed: {error}", remedy="Write it as a line of a .gitignore file."
        ) from None

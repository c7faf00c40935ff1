"""Limits of everything within an outermost file, over all levels: files, their bytes, and conversions.

The limits of one container are checked in the sandbox. A file within files within files passes each of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce

from pipeline.archive import BatchJournal, source_id
from pipeline.core.errors import LimitExceeded, OutcomeError
from pipeline.core.models import Source
from pipeline.rendering.protocol import EXPANSION_FLOOR_BYTES
from pipeline.sources import FoundFile, SourceFiles, containers_of, display_path, member_url


@dataclass(frozen=True, slots=True)
class ContentsLimits:
    """Limits of an outermost file."""

    members: int
    expansion: float
    """Its files on all levels together may have this many times its size."""
    conversions: int
    """Files within it that are converted to PDF."""


@dataclass(frozen=True, slots=True)
class _Counts:
    members: int = 0
    bytes: int = 0
    conversions: int = 0

    def plus(self, other: _Counts) -> _Counts:
        return _Counts(self.members + other.members, self.bytes + other.bytes, self.conversions + other.conversions)


@dataclass(slots=True)
class ContentsTally:
    """What one intake found within outermost files, added to what other messages of the batch noted. For one thread.

    Messages that are handled at the same time do not see each other's counts, so a limit may be passed by their finds.
    """

    journal: BatchJournal
    limits: ContentsLimits
    files: SourceFiles
    _own: dict[str, _Counts] = field(default_factory=lambda: defaultdict(_Counts))
    _noted: dict[str, _Counts] = field(default_factory=dict)
    _most: dict[str, float] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)

    def admit(self, source: Source, list_files: Callable[[], tuple[FoundFile, ...]]) -> tuple[FoundFile, ...]:
        """List the files within a source, count them and return them.

        Beyond a limit the rest of the outermost file is one error at its URL, which is returned once. Its further
        containers are not listed.
        """
        outermost = outermost_of(source.url)
        if outermost in self._ended:
            return ()
        error = self._exceeded(source, outermost)
        found: tuple[FoundFile, ...] = ()
        if error is None:
            found = list_files()
            self._count(outermost, _Counts(len(found), sum(member.bytes for member in found)))
            error = self._exceeded(source, outermost)
        if error is None:
            return found
        self._ended.add(outermost)
        return (FoundFile(member_url(outermost, ""), error),)

    def admit_conversion(self, url: str) -> None:
        """Count the conversion of a file within another one.

        Raises:
            LimitExceeded: the outermost file has too many.
        """
        if not containers_of(url):
            return
        outermost = outermost_of(url)
        if self._total(outermost).conversions >= self.limits.conversions:
            raise LimitExceeded(
                f"{self.limits.conversions:,} files in {outermost_name(url)} were converted before; "
                "PAGESIGHT_MAX_CONVERSIONS is the limit"
            )
        self._count(outermost, _Counts(conversions=1))

    def note(self, part: str) -> None:
        """Archive what was counted, for the other messages of the batch."""
        for outermost, counts in self._own.items():
            self.journal.note_contents(source_id(outermost), part, (counts.members, counts.bytes, counts.conversions))

    def _exceeded(self, source: Source, outermost: str) -> LimitExceeded | None:
        """Return the error of an outermost file beyond a limit. Its words are the same in each message of a batch."""
        name, total = outermost_name(source.url), self._total(outermost)
        if total.members > self.limits.members:
            return LimitExceeded(
                f"more than {self.limits.members:,} files are in {name} over all levels; "
                "PAGESIGHT_MAX_TOTAL_MEMBERS is the limit: the files of its further containers are left out"
            )
        if total.bytes > self._most_bytes(source, outermost):
            return LimitExceeded(
                f"the files in {name} have more than {self.limits.expansion:g} times its size over all levels; "
                "PAGESIGHT_MAX_EXPANSION is the limit: the files of its further containers are left out"
            )
        return None

    def _most_bytes(self, source: Source, outermost: str) -> float:
        if outermost not in self._most:
            try:
                size = self.files.state(outermost, source.root).bytes
            except OutcomeError:
                return math.inf  # the file has gone: opening its members tells so
            self._most[outermost] = max(EXPANSION_FLOOR_BYTES, self.limits.expansion * size)
        return self._most[outermost]

    def _count(self, outermost: str, counts: _Counts) -> None:
        self._own[outermost] = self._own[outermost].plus(counts)

    def _total(self, outermost: str) -> _Counts:
        if outermost not in self._noted:
            noted = (_Counts(*counts) for counts in self.journal.contents(source_id(outermost)).values())
            self._noted[outermost] = reduce(_Counts.plus, noted, _Counts())
        return self._noted[outermost].plus(self._own[outermost])


def outermost_of(url: str) -> str:
    """Return the URL of the outermost container around a member; the URL itself outside containers."""
    return next(reversed(containers_of(url)), url)


def outermost_name(url: str) -> str:
    """Return the file name of the outermost container, for messages."""
    return display_path(outermost_of(url)).rpartition("/")[2]

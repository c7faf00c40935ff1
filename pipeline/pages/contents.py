"""Limits of everything within an outermost file, over all levels: files, their bytes, and conversions.

The limits of one container are checked in the sandbox. A file within files within files passes each of them.
"""

from __future__ import annotations

from collections import defaultdict
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

    def admit(self, source: Source, found: tuple[FoundFile, ...]) -> tuple[FoundFile, ...]:
        """Count the files within a source and return them. Beyond a limit return one error in their place."""
        outermost = outermost_of(source.url)
        self._count(outermost, _Counts(len(found), sum(member.bytes for member in found)))
        total = self._total(outermost)
        try:
            if total.members > self.limits.members:
                raise LimitExceeded(
                    f"{total.members:,} files or more are in {outermost_name(source.url)} over all levels; "
                    f"PAGESIGHT_MAX_TOTAL_MEMBERS allows {self.limits.members:,}: its {len(found):,} files are left out"
                )
            self._require_bytes(total, source, len(found))
        except LimitExceeded as error:
            return (FoundFile(member_url(source.url, ""), error),)
        return found

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

    def _require_bytes(self, total: _Counts, source: Source, members: int) -> None:
        try:
            size = self.files.state(outermost_of(source.url), source.root).bytes
        except OutcomeError:
            return  # the file has gone: opening its members tells so
        if total.bytes > max(EXPANSION_FLOOR_BYTES, self.limits.expansion * size):
            raise LimitExceeded(
                f"{size:,} bytes hold {total.bytes:,} or more over all levels; PAGESIGHT_MAX_EXPANSION allows "
                f"{self.limits.expansion:g} times it: {members:,} files are left out"
            )

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

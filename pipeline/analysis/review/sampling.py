"""Draws the sample for review, in which every kind of page and every language has its share."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pipeline.core.models import PageKind, Source

Stratum = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SampleCandidate:
    """A page that may be drawn, with or without a reading."""

    document: str
    """The document's id."""
    page_number: int
    kind: PageKind | None
    """None if the page cannot be rendered."""
    language: str | None
    suspect: bool
    revision: int | None
    """Revision of the archived reading; None if the page is still to be read."""
    source: Source | None = None
    """Source of a page that is still to be read."""

    @property
    def stratum(self) -> Stratum:
        """Kind and language; pages of one stratum are interchangeable."""
        return self.kind or "", self.language or ""

    @property
    def page_key(self) -> tuple[str, int]:
        """Identifies the page."""
        return self.document, self.page_number


def draw(
    candidates: Iterable[SampleCandidate], size: int, seed: int, *, suspect_first: bool = False
) -> list[SampleCandidate]:
    """Return up to `size` candidates: the same ones for the same seed, regardless of their order.

    Each stratum gets at least one page, if `size` allows it, and the rest are shared by size. With `suspect_first`,
    other pages are drawn only if there are fewer suspect ones.
    """
    chance = random.Random(seed)
    ordered = sorted(candidates, key=lambda candidate: candidate.page_key)
    if not suspect_first:
        return _draw(ordered, size, chance)
    suspect = _draw([one for one in ordered if one.suspect], size, chance)
    return suspect + _draw([one for one in ordered if not one.suspect], size - len(suspect), chance)


def _draw(candidates: Collection[SampleCandidate], size: int, chance: random.Random) -> list[SampleCandidate]:
    strata: dict[Stratum, list[SampleCandidate]] = defaultdict(list)
    for candidate in candidates:
        strata[candidate.stratum].append(candidate)
    seats = _seats({stratum: len(members) for stratum, members in strata.items()}, size)
    return [one for stratum, members in sorted(strata.items()) for one in chance.sample(members, seats[stratum])]


def _seats(sizes: Mapping[Stratum, int], size: int) -> dict[Stratum, int]:
    """Return the number of pages of each stratum: one for each, largest first, then by Sainte-Laguë's method."""
    taken = dict.fromkeys(sizes, 0)

    def claim(stratum: Stratum) -> tuple[bool, float, Stratum]:
        return taken[stratum] == 0, sizes[stratum] / (2 * taken[stratum] + 1), stratum

    for _ in range(min(size, sum(sizes.values()))):
        taken[max((stratum for stratum in sizes if taken[stratum] < sizes[stratum]), key=claim)] += 1
    return taken

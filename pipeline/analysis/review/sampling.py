"""Which pages a person looks at: a sample in which every kind of page and every language has its share."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pipeline.core.models import PageKind, Source

Stratum = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SampleCandidate:
    """A page that may be looked at: one that was read already, or one that is in a file and was not."""

    document: str
    """The document's id."""
    page_number: int
    kind: PageKind | None
    """None where the page could not be rendered."""
    language: str | None
    suspect: bool
    revision: int | None
    """The archived reading's; None where the page is to be read."""
    source: Source | None = None
    """Where the file lies, of a page that is to be read."""

    @property
    def stratum(self) -> Stratum:
        """Kind and language; pages of one stratum stand for one another."""
        return self.kind or "", self.language or ""

    @property
    def place(self) -> tuple[str, int]:
        """What a page is told from all others by."""
        return self.document, self.page_number


def draw(
    candidates: Iterable[SampleCandidate], size: int, seed: int, *, suspect_first: bool = False
) -> list[SampleCandidate]:
    """Return up to `size` of the candidates: the same ones for the same seed, in whatever order they come.

    Every stratum has at least one page where there are enough, the others are shared by size. With `suspect_first`
    others are drawn only where there are fewer suspect ones.
    """
    chance = random.Random(seed)
    ordered = sorted(candidates, key=lambda candidate: candidate.place)
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
    """Return how many pages each stratum gives: Sainte-Laguë's method, after one for each, the largest first."""
    taken = dict.fromkeys(sizes, 0)

    def claim(stratum: Stratum) -> tuple[bool, float, Stratum]:
        return taken[stratum] == 0, sizes[stratum] / (2 * taken[stratum] + 1), stratum

    for _ in range(min(size, sum(sizes.values()))):
        taken[max((stratum for stratum in sizes if taken[stratum] < sizes[stratum]), key=claim)] += 1
    return taken

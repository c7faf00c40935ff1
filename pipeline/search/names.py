"""Names of indices and aliases in a cluster.

The indices of one generation share a number: `pages-v7`, `sources-v7`, … Aliases record the state of an index. The live
indices are behind `pages`, `pages-write`, `sources`, …; every other index has an alias of its own, such as
`pages-v7-kept`. The alias of an index that is being filled ends in a random token of the process that fills it. Numbers
are used again after a deletion, tokens are not, so a process never mistakes the index of another one for its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pipeline.search import templates

#: Name of the service in errors and waits.
SERVICE = "elasticsearch"


class State(StrEnum):
    """State of an index."""

    LIVE = "live"
    FILLING = "filling"
    """A process fills it, or died while it did."""
    KEPT = "kept"
    """It was live before."""
    DROPPED = "dropped"
    """It is about to be deleted. No process may use it."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names of one installation, as seen from the live generation or from another one."""

    prefix: str = ""
    """Prefix of every name."""
    number: int = 0
    """Number of the generation; unused if `state` is live."""
    state: State = State.LIVE
    token: str = ""
    """Token of the process that fills the generation."""

    def alias(self, alias: str) -> str:
        """Return the name in the cluster of one of our aliases."""
        if self.state is State.LIVE:
            return self.prefix + alias
        return own_alias(self.index(templates.family_of(alias), self.number), self.state, self.token)

    def index(self, family: str, number: int) -> str:
        """Return the name of a family's index in a generation."""
        return f"{self.prefix}{family}-v{number}"

    def number_of(self, index: str) -> int | None:
        """Return the generation number in the name of one of our indices, or None for any other index."""
        families = "|".join(templates.FAMILIES)
        found = re.fullmatch(rf"{re.escape(self.prefix)}(?:{families})-v(\d+)", index)
        return int(found[1]) if found else None

    def family_of(self, index: str) -> str:
        """Return the family of one of our indices."""
        return index.removeprefix(self.prefix).rpartition("-v")[0]


def own_alias(index: str, state: State, token: str = "") -> str:
    """Return the alias that records the state of an index other than a live one."""
    return f"{index}-{state}" + (f"-{token}" if token and state is State.FILLING else "")

"""What indices and aliases are called in a cluster, and what their names tell.

The indices of a generation have one number: `pages-v7`, `sources-v7`, … Aliases tell how each stands: the live ones are
behind `pages`, `pages-write`, `sources`, …, and of the others each has an alias of its own, `pages-v7-kept`. That of
one being filled ends in a token of whoever fills it: numbers are given again once what had them is deleted, tokens not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pipeline.search import templates


class State(StrEnum):
    """How an index stands."""

    LIVE = "live"
    FILLING = "filling"
    """Somebody fills it, or has died over it."""
    KEPT = "kept"
    """It was live before."""
    DROPPED = "dropped"
    """It is about to be deleted, and nobody may use it any more."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one installation, seen from the live indices, or from another generation's."""

    prefix: str = ""
    """What every name begins with."""
    number: int = 0
    """Of the generation; nothing where `state` is live."""
    state: State = State.LIVE
    token: str = ""
    """Of whoever fills the generation."""

    def alias(self, alias: str) -> str:
        """Return what one of our aliases is called in the cluster."""
        if self.state is State.LIVE:
            return self.prefix + alias
        return own_alias(self.index(templates.family_of(alias), self.number), self.state, self.token)

    def index(self, family: str, number: int) -> str:
        """Return the name of the index of a family in a generation."""
        return f"{self.prefix}{family}-v{number}"

    def number_of(self, index: str) -> int | None:
        """Return the number that is in the name of an index of ours, or None for one of others."""
        families = "|".join(templates.FAMILIES)
        found = re.fullmatch(rf"{re.escape(self.prefix)}(?:{families})-v(\d+)", index)
        return int(found[1]) if found else None

    def family_of(self, index: str) -> str:
        """Return the family of an index of ours."""
        return index.removeprefix(self.prefix).rpartition("-v")[0]


def own_alias(index: str, state: State, token: str = "") -> str:
    """Return the alias by which an index that is not live tells how it stands."""
    return f"{index}-{state}" + (f"-{token}" if token and state is State.FILLING else "")

"""Generations of indices: which there are, how each stands, and how one takes the place of another.

    (nothing) ──create──▶ filling ──show──▶ live ──show──▶ kept ──show──▶ live
                             └──────────────drop─────────────┴──▶ dropped ──▶ (nothing)

How an index stands is told by its aliases alone. Each arrow is one `_aliases` request that must find the alias of the
state which it starts from, so of two processes that want to change an index one fails and nothing is half done. No lock
and no clock is needed, and an index that somebody has just shown cannot be deleted by one who took it for abandoned.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

from elasticsearch import BadRequestError, Elasticsearch, NotFoundError

from pipeline.core.errors import Overtaken, ServiceRefused, ServiceUnavailable
from pipeline.search import templates
from pipeline.search.errors import SERVICE, translated
from pipeline.search.install import live_index, our_indices, schema_of
from pipeline.search.names import Names, State, own_alias
from pipeline.search.templates import FAMILIES, PAGES, Layout

#: How long one request waits for copies of shards; it is then asked again.
SHARDS_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Generation:
    """The indices of one number, as they were when it was looked."""

    number: int
    indices: Mapping[str, State | None]
    """By name how each stands; None where nothing tells."""
    schemas: Mapping[str, int | None]
    """By name, the schema version that each was made with."""
    previous: int | None
    """Number of the generation that was live when this one was begun."""
    beat: int | None
    """How often whoever fills it has said that it lives."""
    token: str = ""
    """Of whoever fills it."""

    def has(self, state: State) -> bool:
        """Whether one of its indices stands so."""
        return state in self.indices.values()

    def is_whole(self, state: State) -> bool:
        """Whether there is an index of each family, and all of them stand so."""
        return len(self.indices) == len(FAMILIES) and set(self.indices.values()) == {state}


class Generations:
    """The generations of one installation.

    Every method raises `ServiceUnavailable` where the cluster is away and `ServiceRefused` where it says no. A call
    whose answer was lost may be made again.
    """

    def __init__(self, client: Elasticsearch, layout: Layout) -> None:
        self._client = client
        self._layout = layout
        self._names = Names(layout.prefix)

    def all(self) -> list[Generation]:
        """Return the generations there are, oldest first."""
        with translated():
            found = our_indices(self._client, self._layout)
        live = self._live(found)
        numbers = sorted({number for name in found if (number := self._names.number_of(name)) is not None})
        return [
            self._generation(
                number, {name: index for name, index in found.items() if self._names.number_of(name) == number}, live
            )
            for number in numbers
        ]

    def live(self) -> dict[str, str]:
        """Return the name of the live index of each family that has one."""
        with translated():
            return self._live(our_indices(self._client, self._layout))

    def names(self, number: int) -> tuple[str, ...]:
        """Return the names of the indices of a generation."""
        return tuple(sorted(self._names.index(family, number) for family in FAMILIES))

    def schema_of(self, index: str) -> int:
        """Return the schema version that an index of this name must have."""
        return templates.schema_version(self._names.family_of(index))

    def create(self, made_by: str) -> Generation:
        """Make a generation to be filled: no refresh, no copies, seen by nobody.

        Raises:
            ServiceRefused: the templates are no longer those of this version.
        """
        with translated():
            found = our_indices(self._client, self._layout)
            live = self._live(found)
            token = secrets.token_hex(4)
            number = max((self._names.number_of(name) or 0 for name in found), default=0) + 1
            while not self._create_index(self._names.index(PAGES, number), token):  # who makes it has the number
                number += 1
            others = [self._names.index(family, number) for family in FAMILIES if family != PAGES]
            with ThreadPoolExecutor(len(others)) as threads:  # the server takes what comes together in one step
                list(threads.map(self._create_index, others, repeat(token)))
        previous = self._names.number_of(live.get(PAGES, ""))
        made = replace(next(generation for generation in self.all() if generation.number == number), previous=previous)
        self._require_todays(made)
        self.beat(made, 0, made_by)
        return made

    def beat(self, generation: Generation, beat: int, made_by: str) -> None:
        """Note that whoever fills a generation lives, and which one was live when it was begun."""
        facts = {"previous": generation.previous, "made_by": made_by, "beat": beat}
        with translated():
            self._client.indices.put_mapping(
                index=own_alias(self._names.index(PAGES, generation.number), State.FILLING, generation.token),
                meta={"schema_version": templates.schema_version(PAGES)} | facts,
            )

    def _require_todays(self, generation: Generation) -> None:
        """Drop a new generation that another version of Pagesight has made templates for meanwhile."""
        for name, schema in generation.schemas.items():
            if schema != self.schema_of(name):
                self.drop(generation)
                raise ServiceRefused(
                    SERVICE,
                    f"the templates were changed meanwhile: {name} was made with the schema version {schema}",
                    remedy="Stop what runs of other versions of Pagesight, then run the same command again.",
                )

    def finish(self, generation: Generation) -> bool:
        """Give a filled generation its refreshes and its copies; return whether all copies that can be are there.

        To be called again until it returns true. Then everything written is visible to searches of it.
        """
        names = list(generation.indices)
        settings = {"refresh_interval": None, "number_of_replicas": self._layout.replicas}
        with translated():
            self._client.indices.put_settings(index=names, settings={"index": settings})
            health = self._client.options(ignore_status=408).cluster.health(
                index=names, wait_for_no_initializing_shards=True, timeout=f"{SHARDS_SECONDS:.0f}s"
            )
            if health["timed_out"]:
                return False
            self._client.indices.refresh(index=names)
        return True

    def show(self, generation: Generation, state: State, live: Mapping[str, str]) -> None:
        """Put a generation, which stands so, in the place of the live indices, and keep those: all at one stroke.

        Raises:
            Overtaken: it does not stand so any more, or others are live than these.
        """
        actions: list[dict[str, Any]] = []
        for family in FAMILIES:
            index = self._names.index(family, generation.number)
            actions += [_removed(index, own_alias(index, state, generation.token))]
            for alias, how in templates.aliases(family).items():
                name = self._layout.prefix + alias
                if family in live:
                    actions.append(_removed(live[family], name))
                actions.append({"add": {"index": index, "alias": name, **how}})
            if family in live:
                actions.append({"add": {"index": live[family], "alias": own_alias(live[family], State.KEPT)}})
        try:
            self._change(actions)
        except Overtaken:
            if set(self.live().values()) != set(generation.indices):  # else the answer to our own call was lost
                raise

    def drop(self, generation: Generation) -> list[str]:
        """Delete the indices of a generation that are being filled, kept or dropped already; return their names.

        Raises:
            Overtaken: one of them stands otherwise by now, and none was deleted.
        """
        doomed = {name: state for name, state in generation.indices.items() if state not in {None, State.LIVE}}
        actions: list[dict[str, Any]] = []
        for name, state in doomed.items():
            if state not in {State.DROPPED, None}:
                actions.append(_removed(name, own_alias(name, state, generation.token)))
                actions.append({"add": {"index": name, "alias": own_alias(name, State.DROPPED)}})
        try:
            if actions:
                self._change(actions)
        except Overtaken:
            there = next((other for other in self.all() if other.number == generation.number), None)
            if there is not None and set(there.indices.values()) != {
                State.DROPPED
            }:  # else the answer to our own call was lost
                raise
        if doomed:
            with translated():
                self._client.indices.delete(index=list(doomed), ignore_unavailable=True)
        return sorted(doomed)

    def _live(self, found: Mapping[str, Any]) -> dict[str, str]:
        live = {family: live_index(found, self._layout, family) for family in FAMILIES}
        return {family: name for family, name in live.items() if name is not None}

    def _generation(self, number: int, found: Mapping[str, Any], live: Mapping[str, str]) -> Generation:
        meta = found.get(self._names.index(PAGES, number), {"mappings": {}})["mappings"].get("_meta", {})
        return Generation(
            number=number,
            indices={
                name: State.LIVE if name in live.values() else _state(name, found[name]) for name in sorted(found)
            },
            schemas={name: schema_of(index) for name, index in found.items()},
            previous=meta.get("previous"),
            beat=meta.get("beat"),
            token=_token(found),
        )

    def _create_index(self, name: str, token: str) -> bool:
        """Make an index that is filled by us; return False where there is one of that name."""
        try:
            self._client.indices.create(
                index=name,
                aliases={own_alias(name, State.FILLING, token): {}},
                settings={"index": {"refresh_interval": "-1", "number_of_replicas": 0}},
            )
        except BadRequestError as error:
            if "resource_already_exists_exception" in str(error):
                return False
            raise
        return True

    def _change(self, actions: list[dict[str, Any]]) -> None:
        try:
            with translated():
                answer = self._client.indices.update_aliases(actions=actions)
        except ServiceRefused as error:
            if isinstance(error.__cause__, NotFoundError):
                raise _overtaken(str(error)) from error
            raise
        if not answer["acknowledged"]:
            raise ServiceUnavailable(SERVICE, "not every node of the cluster has taken the change of aliases yet")


def _state(name: str, index: Mapping[str, Any]) -> State | None:
    return next((state for state in State if _alias_of(name, state, index) is not None), None)


def _alias_of(name: str, state: State, index: Mapping[str, Any]) -> str | None:
    return next((alias for alias in index["aliases"] if alias.startswith(own_alias(name, state))), None)


def _token(found: Mapping[str, Any]) -> str:
    """Return the token of whoever fills these indices, or nothing."""
    aliases = (_alias_of(name, State.FILLING, index) for name, index in found.items())
    return next((alias.rpartition("-filling")[2].lstrip("-") for alias in aliases if alias is not None), "")


def _removed(index: str, alias: str) -> dict[str, Any]:
    """Without `must_exist` a swap that lost a race would leave both indices behind one alias (tried on 9.5.0)."""
    return {"remove": {"index": index, "alias": alias, "must_exist": True}}


def _overtaken(words: str) -> Overtaken:
    return Overtaken(
        SERVICE,
        f"another process was quicker, and the indices are no longer as they were: {words}",
        remedy="What is live is whole. Where the indices are to be made anew still, run the same command again.",
    )

"""Generations of indices: list, create and delete them, and make one live in place of another.

    (nothing) ──create──▶ filling ──show──▶ live ──show──▶ kept ──show──▶ live
                             └──────────────drop─────────────┴──▶ dropped ──▶ (nothing)

The state of an index is recorded only by its aliases. Each change from one state to another is one atomic `_aliases`
request, which fails unless it finds the alias of the former state (optimistic concurrency). If two processes change the
same index, one of them fails. So neither a lock nor a clock is needed: a process cannot delete an index that another
one has just made live.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

from pipeline.core.errors import Overtaken, ServiceRefused, ServiceUnavailable
from pipeline.search import templates
from pipeline.search.client import BadRequestError, Elasticsearch, NotFoundError
from pipeline.search.errors import translated
from pipeline.search.install import live_index, made_otherwise, our_indices, schema_of
from pipeline.search.names import SERVICE, Names, State, own_alias
from pipeline.search.templates import FAMILIES, PAGES, Layout

#: Maximum time for which one request waits for copies of shards. The caller repeats the request.
SHARDS_SECONDS = 10.0


#: Settings of an index that is being filled: no refreshes and no copies.
FILLING_SETTINGS = {"refresh_interval": "-1", "auto_expand_replicas": "false", "number_of_replicas": "0"}


@dataclass(frozen=True, slots=True)
class Generation:
    """The indices of one number, as last read from the cluster."""

    number: int
    indices: Mapping[str, State | None]
    """State by index name; None if no alias records it."""
    schemas: Mapping[str, int | None]
    """Schema version by index name."""
    previous: int | None
    """Number of the generation that was live when this one was created."""
    beat: int | None
    """Heartbeat counter of the process that fills this generation."""
    token: str = ""
    """Token of the process that fills this generation."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings by index name that `finish` puts back: those of the templates, which `create` has changed."""

    def has(self, state: State) -> bool:
        """Whether at least one of its indices has this state."""
        return state in self.indices.values()

    def is_whole(self, state: State) -> bool:
        """Whether it has an index of each family, all with this state."""
        return len(self.indices) == len(FAMILIES) and set(self.indices.values()) == {state}


class Generations:
    """The generations of one installation.

    Every method raises `ServiceUnavailable` if the cluster is unavailable, and `ServiceRefused` if it refuses. If the
    answer to a call was lost, the call can be repeated.
    """

    def __init__(self, client: Elasticsearch, layout: Layout) -> None:
        self._client = client
        self._layout = layout
        self._names = Names(layout.prefix)

    def all(self) -> list[Generation]:
        """Return every generation, oldest first."""
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
        """Return the names of the live indices, by family."""
        with translated():
            return self._live(our_indices(self._client, self._layout))

    def archive_id(self) -> str | None:
        """Return the id of the archive that the live indices are made from, None where they do not know it."""
        found = self._live_pages()
        return None if found is None else _meta(found[1]).get("archive")

    def name_archive(self, identifier: str) -> None:
        """Note in the live indices which archive they are made from; without live indices nothing is done.

        Raises:
            ServiceRefused: the API key may not change the mapping.
        """
        found = self._live_pages()
        if found is not None:
            name, index = found
            with translated():
                self._client.indices.put_mapping(index=name, meta=_meta(index) | {"archive": identifier})

    def names(self, number: int) -> tuple[str, ...]:
        """Return the names of the indices of the generation with this number."""
        return tuple(sorted(self._names.index(family, number) for family in FAMILIES))

    def schema_of(self, index: str) -> int:
        """Return the schema version that this version of Pagesight requires of an index."""
        return templates.schema_version(self._names.family_of(index))

    def create(self, made_by: str) -> Generation:
        """Create a generation to be filled. It is hidden from searches, and has neither refreshes nor copies.

        Args:
            made_by: host and process id, recorded for people.

        Raises:
            ServiceRefused: the templates are of another version of Pagesight, or another application's template
                matches.
        """
        with translated():
            found = our_indices(self._client, self._layout)
            live = self._live(found)
            token = secrets.token_hex(4)
            number = max((self._names.number_of(name) or 0 for name in found), default=0) + 1
            while not self._create_index(self._names.index(PAGES, number), token):  # another process took the number
                number += 1
            others = [self._names.index(family, number) for family in FAMILIES if family != PAGES]
            with ThreadPoolExecutor(len(others)) as threads:  # the server handles concurrent creations in one step
                list(threads.map(self._create_index, others, repeat(token)))
        previous = self._names.number_of(live.get(PAGES, ""))
        made = replace(next(generation for generation in self.all() if generation.number == number), previous=previous)
        self._require_current_schemas(made)
        made = replace(made, settings=self._prepare_to_fill(made))
        self.beat(made, 0, made_by)
        return made

    def beat(self, generation: Generation, beat: int, made_by: str) -> None:
        """Write the heartbeat counter of the process that fills a generation, with the facts about the generation."""
        facts = {"previous": generation.previous, "made_by": made_by, "beat": beat}
        with translated():
            self._client.indices.put_mapping(
                index=own_alias(self._names.index(PAGES, generation.number), State.FILLING, generation.token),
                meta={"schema_version": templates.schema_version(PAGES)} | facts,
            )

    def _require_current_schemas(self, generation: Generation) -> None:
        """Drop a new generation, and raise an error, if its templates are outdated or another application's."""
        for name, schema in generation.schemas.items():
            if schema != self.schema_of(name):
                self.drop(generation)
                raise made_otherwise(name, schema, self.schema_of(name))

    def _prepare_to_fill(self, generation: Generation) -> dict[str, dict[str, Any]]:
        """Turn off refreshes and copies of new indices; return their settings before that."""
        names = list(generation.indices)
        with translated():
            answer = self._client.indices.get_settings(index=names)
            self._client.indices.put_settings(index=names, settings={"index": FILLING_SETTINGS})
        found = {name: answer[name]["settings"]["index"] for name in names}
        return {name: {key: index.get(key) for key in FILLING_SETTINGS} for name, index in found.items()}

    def finish(self, generation: Generation) -> bool:
        """Put back the settings of a filled generation. Return whether all copies that can be assigned run.

        Call it until it returns true. After that, searches of the generation see every record.
        """
        names = list(generation.indices)
        with translated():
            for name, settings in generation.settings.items():
                self._client.indices.put_settings(index=name, settings={"index": settings})
            health = self._client.options(ignore_status=408).cluster.health(
                index=names, wait_for_no_initializing_shards=True, timeout=f"{SHARDS_SECONDS:.0f}s"
            )
            if health["timed_out"]:
                return False
            self._client.indices.refresh(index=names)
        return True

    def show(self, generation: Generation, state: State, live: Mapping[str, str]) -> None:
        """Make a generation live in place of the live indices, which become kept ones, in one atomic request.

        Args:
            state: the expected state of the generation.
            live: the expected live indices, by family.

        Raises:
            Overtaken: the generation has another state by now, or other indices are live.
        """
        try:
            self._change([action for family in FAMILIES for action in self._swap(family, generation, state, live)])
        except Overtaken:
            # If the generation is live, our earlier request succeeded and its answer was lost.
            if set(self.live().values()) != set(generation.indices):
                raise

    def _swap(
        self, family: str, generation: Generation, state: State, live: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        """Yield the actions that make a generation's index of a family live, and the live one a kept one."""
        index = self._names.index(family, generation.number)
        yield _removed(index, own_alias(index, state, generation.token))
        for alias, how in templates.aliases(family).items():
            name = self._layout.prefix + alias
            if family in live:
                yield _removed(live[family], name)
            yield {"add": {"index": index, "alias": name, **how}}
        if family in live:
            yield {"add": {"index": live[family], "alias": own_alias(live[family], State.KEPT)}}

    def drop(self, generation: Generation) -> list[str]:
        """Delete the indices of a generation that are filling, kept or dropped; return their names.

        Raises:
            Overtaken: one of the indices has another state by now. In this case no index was deleted.
        """
        doomed = {name: state for name, state in generation.indices.items() if state not in {None, State.LIVE}}
        actions = [
            action
            for name, state in doomed.items()
            if state not in {State.DROPPED, None}
            for action in (
                _removed(name, own_alias(name, state, generation.token)),
                {"add": {"index": name, "alias": own_alias(name, State.DROPPED)}},
            )
        ]
        try:
            if actions:
                self._change(actions)
        except Overtaken:
            there = next((other for other in self.all() if other.number == generation.number), None)
            if there is not None and set(there.indices.values()) != {State.DROPPED}:
                raise
            # Our own earlier request succeeded, and its answer was lost.
        if doomed:
            with translated():
                self._client.indices.delete(index=list(doomed), ignore_unavailable=True)
        return sorted(doomed)

    def _live_pages(self) -> tuple[str, Mapping[str, Any]] | None:
        """Return name and metadata of the live index of pages."""
        with translated():
            found = our_indices(self._client, self._layout)
        name = live_index(found, self._layout, PAGES)
        return None if name is None else (name, found[name])

    def _live(self, found: Mapping[str, Any]) -> dict[str, str]:
        live = {family: live_index(found, self._layout, family) for family in FAMILIES}
        return {family: name for family, name in live.items() if name is not None}

    def _generation(self, number: int, found: Mapping[str, Any], live: Mapping[str, str]) -> Generation:
        meta = _meta(found.get(self._names.index(PAGES, number), {"mappings": {}}))
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
        """Create an index with the state `filling`; return False if an index with this name exists."""
        try:
            self._client.indices.create(
                index=name,
                aliases={own_alias(name, State.FILLING, token): {}},
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


def _meta(index: Mapping[str, Any]) -> dict[str, Any]:
    return dict(index["mappings"].get("_meta", {}))


def _state(name: str, index: Mapping[str, Any]) -> State | None:
    return next((state for state in State if _alias_of(name, state, index) is not None), None)


def _alias_of(name: str, state: State, index: Mapping[str, Any]) -> str | None:
    return next((alias for alias in index["aliases"] if alias.startswith(own_alias(name, state))), None)


def _token(found: Mapping[str, Any]) -> str:
    """Return the token in the alias of an index that is being filled, or an empty string."""
    aliases = (_alias_of(name, State.FILLING, index) for name, index in found.items())
    return next((alias.rpartition("-filling")[2].lstrip("-") for alias in aliases if alias is not None), "")


def _removed(index: str, alias: str) -> dict[str, Any]:
    """Return the action that removes an alias, and fails if the alias is missing.

    Without `must_exist`, a swap that lost a race would leave both indices behind one alias (tried on 9.5.0).
    """
    return {"remove": {"index": index, "alias": alias, "must_exist": True}}


def _overtaken(words: str) -> Overtaken:
    return Overtaken(
        SERVICE,
        f"another process changed the indices first: {words}",
        remedy="The live indices are complete. If the indices must still be rebuilt, run the same command again.",
    )

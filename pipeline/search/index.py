"""`Index`: the one door to an Elasticsearch cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from elastic_transport.client_utils import DEFAULT
from elasticsearch import Elasticsearch

from pipeline.core.errors import ServiceUnavailable, SettingsError
from pipeline.core.models import AnswerKind
from pipeline.core.retry import CancelToken
from pipeline.search.errors import SERVICE, not_installed, reason, translated
from pipeline.search.generations import Generation, Generations
from pipeline.search.install import (
    add_answers,
    differences,
    install,
    is_installed,
    languages_of,
    our_indices,
    prepare,
)
from pipeline.search.names import Names, State
from pipeline.search.queries import Queries
from pipeline.search.security import ApiKey, create_key, install_roles, left_alone, role_differences
from pipeline.search.serializer import QuickJsonSerializer
from pipeline.search.templates import PAGES_WRITE, Layout
from pipeline.search.write import CHUNK_RECORDS, Write, Written, write

#: Searches and administration answer in well under a second; a cluster that needs longer is as good as away.
REQUEST_TIMEOUT_SECONDS = 30.0
#: A question about health must not hang where everything else may wait.
HEALTH_TIMEOUT_SECONDS = 5.0


class Index:
    """A cluster, as Pagesight uses it. Threads share one; close it in the end.

    The client does not retry: callers go through `pipeline.core.retry`, and `write` does so itself. Every method raises
    `ServiceUnavailable` where the cluster is away and `ServiceRefused` where it says no.
    """

    queries: Queries
    """Everything that is asked of the indices."""
    generations: Generations
    """The live indices, those that are being filled and those that are kept."""

    def __init__(
        self, url: str, *, api_key: str | None = None, ca_certs: Path | None = None, layout: Layout | None = None
    ) -> None:
        """Connect to a cluster; no request is made yet.

        Args:
            url: with scheme, host and port; it may hold a user name and a password.
            api_key: an encoded API key.
            ca_certs: the CA bundle (PEM) that signed the cluster's certificate.
            layout: what our indices are called, and how they are made.

        Raises:
            SettingsError: the URL cannot be used.
        """
        self._layout = layout or Layout()
        self._names = Names(self._layout.prefix)
        self._pages: PagesIndex | None = None
        self._answers: set[tuple[str, AnswerKind]] = set()
        """Fields under `answers` that the live mapping is known to have."""
        try:
            self._client = Elasticsearch(
                url,
                api_key=api_key,
                ca_certs=str(ca_certs) if ca_certs else DEFAULT,
                request_timeout=REQUEST_TIMEOUT_SECONDS,
                max_retries=0,
                retry_on_timeout=False,
                serializers={QuickJsonSerializer.mimetype: QuickJsonSerializer()},
            )
        except ValueError as error:
            raise SettingsError(
                f"the Elasticsearch URL cannot be used: {error}",
                remedy="Write scheme, host and port, such as https://search.example.org:9200.",
            ) from None
        self.queries = Queries(self._client, self._names)
        self.generations = Generations(self._client, self._layout)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def health(self) -> str:
        """Return the cluster's health: `green`, `yellow` or `red`."""
        with translated():
            return str(self._client.options(request_timeout=HEALTH_TIMEOUT_SECONDS).cluster.health()["status"])

    def install(self) -> tuple[str, ...]:
        """Make templates, indices, aliases and language fields that are missing; return what was changed, in words."""
        changes = install(self._client, self._layout)
        self.look_again()
        return changes

    def differences(self) -> tuple[str, ...]:
        """Return what `install` would change, in words; nothing is changed."""
        return differences(self._client, self._layout)

    def prepare(self) -> tuple[str, ...]:
        """Make templates as they are today, and indices that are missing; those that are live may be of any schema."""
        changes = prepare(self._client, self._layout)
        self.look_again()
        return changes

    def ensure(self) -> tuple[str, ...]:
        """Install what a command needs to write, where it is not there yet; return what was changed, in words.

        Where it is, this only looks: a key that may not make indices suffices.
        """
        if is_installed(self._client, self._layout):
            return ()
        return self.install()

    def install_roles(self) -> tuple[str, ...]:
        """Make the roles that are missing or differ, where there is security; return what was changed, in words."""
        return tuple(install_roles(self._client, self._layout.prefix))

    def role_differences(self) -> tuple[str, ...]:
        """Return what `install_roles` would change, in words."""
        return tuple(role_differences(self._client, self._layout.prefix))

    def create_key(self, role: str, name: str, expires: str | None = None) -> ApiKey:
        """Make an API key that may do what a role of ours allows; see `pipeline.search.security.create_key`."""
        return create_key(self._client, role, name, self._layout.prefix, expires)

    def roles_left_alone(self) -> str | None:
        """Return why roles are left alone on this server, or None where they are looked after."""
        return left_alone(self._client)

    def of(self, generation: Generation, state: State) -> Index:
        """Return the way to the indices of a generation that stands so. The connections are shared: close only one."""
        other = copy(self)
        other._names = Names(self._layout.prefix, generation.number, state, generation.token)
        other.queries = Queries(self._client, other._names)
        other.look_again()
        return other

    @property
    def pages_index(self) -> PagesIndex:
        """What records of pages must know of the index that they are for. The server is asked once."""
        known = self._pages
        if known is None:
            with translated():
                answer = self._client.indices.get(index=self._names.alias(PAGES_WRITE), features=["mappings"])
            ((name, index),) = answer.body.items()
            self._pages = known = PagesIndex(name, frozenset(languages_of(index)))
        return known

    @property
    def languages(self) -> frozenset[str]:
        """Codes of the languages that have analysed copies, under `i18n`."""
        return self.pages_index.languages

    def look_again(self) -> None:
        """Forget what is known of the mapping: the alias may lead to another index."""
        self._pages = None
        self._answers = set()

    def require_answers(self, kinds: Mapping[str, AnswerKind]) -> None:
        """Have the mapping know the fields of these questions under `answers`; the server is asked once for each.

        Raises:
            SettingsError: one of them has another type there.
        """
        missing = {name: kind for name, kind in kinds.items() if (name, kind) not in self._answers}
        if missing:
            add_answers(self._client, self._names.alias(PAGES_WRITE), missing)
            self._answers |= missing.items()

    def write(self, writes: Iterable[Write], cancel: CancelToken) -> Written:
        """Write records, waiting while the cluster is away: `pipeline.search.write.write`."""
        return write(self._client, writes, self._names.alias, cancel)

    def versions(self, alias: str, ids: Sequence[str]) -> dict[str, int]:
        """Return the version of each of these records that is there, at once, without a refresh."""
        found: dict[str, int] = {}
        for start in range(0, len(ids), CHUNK_RECORDS):
            chunk = list(ids[start : start + CHUNK_RECORDS])
            with translated():
                answer = self._client.mget(index=self._names.alias(alias), ids=chunk, source=False)
            found |= {record["_id"]: record["_version"] for record in _found(answer["docs"])}
        return found

    def records(self, alias: str, ids: Sequence[str]) -> dict[str, tuple[int, Mapping[str, Any]]]:
        """Return version and content of each of these records that is there, at once, without a refresh."""
        with translated():
            answer = self._client.mget(index=self._names.alias(alias), ids=list(ids)) if ids else {"docs": ()}
        return {record["_id"]: (record["_version"], record["_source"]) for record in _found(answer["docs"])}

    def count(self, alias: str) -> int:
        """Return how many records searches see under an alias."""
        with translated():
            return int(self._client.count(index=self._names.alias(alias))["count"])

    def refresh(self, alias: str) -> None:
        """Make everything written under this alias visible to searches."""
        with translated():
            self._client.indices.refresh(index=self._names.alias(alias))

    def drop(self) -> None:
        """Delete every index of ours, live or not. The archive can fill new ones."""
        with translated():
            found = our_indices(self._client, self._layout)
            if found:
                self._client.indices.delete(index=list(found), ignore_unavailable=True)
        self.look_again()


@dataclass(frozen=True, slots=True)
class PagesIndex:
    """An index of pages."""

    name: str
    languages: frozenset[str]
    """Codes of the languages that have analysed copies, under `i18n`."""


def _found(records: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for record in records:
        if error := record.get("error"):
            raise _unreadable(reason(error))
        if record["found"]:
            yield record


def _unreadable(words: str) -> Exception:
    """`mget` answers 200 even where there is no index, and says so record by record."""
    if "index_not_found" in words:
        return not_installed(words)
    return ServiceUnavailable(SERVICE, f"a record cannot be read now: {words}")

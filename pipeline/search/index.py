"""`Index`: access to an Elasticsearch cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.core.errors import PagesightError, SettingsError
from pipeline.core.models import AnswerKind
from pipeline.core.retry import CancelToken
from pipeline.search.bulk import write
from pipeline.search.client import DEFAULT, Elasticsearch
from pipeline.search.diagnosis import diagnose, not_installed, reason
from pipeline.search.errors import translated
from pipeline.search.generations import Generation, Generations
from pipeline.search.install import (
    Precedence,
    SearchLanguages,
    VectorFields,
    add_answers,
    differences,
    install,
    is_installed,
    languages_of,
    our_indices,
    prepare,
)
from pipeline.search.listings import Listings
from pipeline.search.names import Names, State
from pipeline.search.queries import Queries
from pipeline.search.security import Security
from pipeline.search.serializer import QuickJsonSerializer
from pipeline.search.templates import PAGES_WRITE, Layout
from pipeline.search.writes import CHUNK_RECORDS, Write, Written

#: Searches and administration answer in well under a second. A cluster that needs longer counts as away.
REQUEST_TIMEOUT_SECONDS = 30.0
#: A health check must not hang, even where every other request may wait.
HEALTH_TIMEOUT_SECONDS = 5.0


class Index:
    """Pagesight's indices in a cluster. Threads may share an instance; close it at the end.

    The client does not retry. Callers use `pipeline.core.retry`; `write` does so itself. Every method raises
    `ServiceUnavailable` if the cluster is away and `ServiceRefused` if it refuses.
    """

    queries: Queries
    """Searches and lookups."""
    listings: Listings
    """Collections and documents."""
    vectors: VectorFields
    """The fields of vectors in the index that page records are written to."""
    generations: Generations
    """Live indices, indices that are being filled, and former indices that are kept."""
    security: Security
    """Roles and API keys."""
    precedence: Precedence
    """Check of templates of other applications."""
    search_languages: SearchLanguages
    """Languages in which the live index finds the forms of a word."""

    def __init__(
        self, url: str, *, api_key: str | None = None, ca_certs: Path | None = None, layout: Layout | None = None
    ) -> None:
        """Create the client. No request is made yet.

        Args:
            url: with scheme, host and port, and optionally user name and password.
            api_key: an encoded API key.
            ca_certs: the CA bundle (PEM) that signed the cluster's certificate.
            layout: prefix of the names of our indices, and their shards.

        Raises:
            SettingsError: the URL cannot be used.
        """
        self._layout = layout or Layout()
        self._names = Names(self._layout.prefix)
        self._pages: PagesIndex | None = None
        self._answers: set[tuple[str, AnswerKind]] = set()
        """Fields under `answers` that the live mapping has, as far as is known."""
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
        self.listings = Listings(self._client, self._names)
        self.vectors = VectorFields(self._client, self._names)
        self.generations = Generations(self._client, self._layout)
        self.security = Security(self._client, self._layout.prefix)
        self.precedence = Precedence(self._client, self._layout)
        self.search_languages = SearchLanguages(self._client, self._layout)

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
        """Create missing templates, indices and aliases; return a description of each change."""
        changes = install(self._client, self._layout)
        self.look_again()
        return changes

    def differences(self) -> tuple[str, ...]:
        """Return the changes that `install` would make, in the same words."""
        return differences(self._client, self._layout)

    def prepare(self) -> tuple[str, ...]:
        """Update the templates and create missing indices; live indices may have any schema."""
        changes = prepare(self._client, self._layout)
        self.look_again()
        return changes

    def ensure(self) -> tuple[str, ...]:
        """Install the indices if one is missing; return a description of each change.

        If nothing is missing, only read requests are made, so a key without the right to create indices suffices.
        """
        if is_installed(self._client, self._layout):
            return ()
        return self.install()

    def of(self, generation: Generation, state: State) -> Index:
        """Return access to a generation in this state. Both instances share their connections: close only one."""
        other = copy(self)
        other._names = Names(self._layout.prefix, generation.number, state, generation.token)
        other.queries = Queries(self._client, other._names)
        other.look_again()
        return other

    @property
    def pages_index(self) -> PagesIndex:
        """The index that page records are written to. The server is queried once."""
        known = self._pages
        if known is None:
            with translated():
                answer = self._client.indices.get(index=self._names.alias(PAGES_WRITE), features=["mappings"])
            ((name, index),) = answer.body.items()
            self._pages = known = PagesIndex(name, frozenset(languages_of(index)))
        return known

    @property
    def languages(self) -> frozenset[str]:
        """Codes of the languages with analysed copies under `i18n`."""
        return self.pages_index.languages

    def look_again(self) -> None:
        """Discard the cached mapping: the alias may lead to another index by now."""
        self._pages = None
        self._answers = set()
        self.vectors = VectorFields(self._client, self._names)

    def require_answers(self, kinds: Mapping[str, AnswerKind]) -> None:
        """Add the fields of these questions under `answers` to the mapping. Each field is checked once.

        Raises:
            SettingsError: one of the fields has another type in the mapping.
        """
        missing = {name: kind for name, kind in kinds.items() if (name, kind) not in self._answers}
        if missing:
            add_answers(self._client, self._names.alias(PAGES_WRITE), missing)
            self._answers |= missing.items()

    def write(self, writes: Iterable[Write], cancel: CancelToken) -> Written:
        """Write records, and wait while the cluster is away: see `pipeline.search.bulk.write`."""
        return write(self._client, writes, self._names.alias, cancel)

    def versions(self, alias: str, ids: Sequence[str]) -> dict[str, int]:
        """Return the version of each existing record by id. Reads are real-time: no refresh is needed."""
        found: dict[str, int] = {}
        for start in range(0, len(ids), CHUNK_RECORDS):
            chunk = list(ids[start : start + CHUNK_RECORDS])
            with translated():
                answer = self._client.mget(index=self._names.alias(alias), ids=chunk, source=False)
            found |= {record["_id"]: record["_version"] for record in _found(answer["docs"])}
        return found

    def records(self, alias: str, ids: Sequence[str]) -> dict[str, tuple[int, Mapping[str, Any]]]:
        """Return version and content of each existing record by id. Reads are real-time: no refresh is needed."""
        with translated():
            answer = self._client.mget(index=self._names.alias(alias), ids=list(ids)) if ids else {"docs": ()}
        return {record["_id"]: (record["_version"], record["_source"]) for record in _found(answer["docs"])}

    def count(self, alias: str) -> int:
        """Return the number of records that searches see under an alias."""
        with translated():
            return int(self._client.count(index=self._names.alias(alias))["count"])

    def refresh(self, alias: str) -> None:
        """Make every written record under this alias visible to searches."""
        with translated():
            self._client.indices.refresh(index=self._names.alias(alias))

    def drop(self) -> None:
        """Delete every index of this installation, live or not. `reindex` fills new ones from the archive."""
        with translated():
            found = our_indices(self._client, self._layout)
            if found:
                self._client.indices.delete(index=list(found), ignore_unavailable=True)
        self.look_again()


@dataclass(frozen=True, slots=True)
class PagesIndex:
    """The index that page records are written to."""

    name: str
    languages: frozenset[str]
    """Codes of the languages with analysed copies under `i18n`."""


def _found(records: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for record in records:
        if error := record.get("error"):
            raise _unreadable(error)
        if record["found"]:
            yield record


def _unreadable(error: object) -> PagesightError:
    """Return the error for a record that `mget` could not read. It answers 200, and gives no status for a record."""
    found = diagnose(HTTPStatus.SERVICE_UNAVAILABLE, error)
    words = reason(error)
    return (not_installed(words) if "index_not_found" in words else found).error()

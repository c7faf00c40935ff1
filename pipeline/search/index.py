"""`Index`: the one door to an Elasticsearch cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from elastic_transport.client_utils import DEFAULT
from elasticsearch import Elasticsearch

from pipeline.errors import ServiceUnavailable, SettingsError
from pipeline.models import AnswerKind
from pipeline.retry import Patience
from pipeline.search import templates
from pipeline.search.errors import SERVICE, not_installed, reason, translated
from pipeline.search.install import add_answers, install, mapped_languages
from pipeline.search.queries import Queries
from pipeline.search.write import CHUNK_RECORDS, Write, Written, write

#: Searches and administration answer in well under a second; a cluster that needs longer is as good as away.
REQUEST_TIMEOUT_SECONDS = 30.0
#: A question about health must not hang where everything else may wait.
HEALTH_TIMEOUT_SECONDS = 5.0


class Index:
    """A cluster, as Pagesight uses it. Threads share one; close it in the end.

    The client does not retry: who calls goes through `pipeline.retry`, and `write` does so itself. Every method raises
    `ServiceUnavailable` where the cluster is away and `ServiceRefused` where it says no.
    """

    queries: Queries
    """Everything that is asked of the indices."""

    def __init__(
        self, url: str, *, api_key: str | None = None, ca_certs: Path | None = None, replicas: int = 0
    ) -> None:
        """Connect to a cluster; no request is made yet.

        Args:
            url: with scheme, host and port; it may hold a user name and a password.
            api_key: an encoded API key.
            ca_certs: the CA bundle (PEM) that signed the cluster's certificate.
            replicas: copies of each shard, for indices that `install` makes.

        Raises:
            SettingsError: the URL cannot be used.
        """
        self._replicas = replicas
        self._languages: frozenset[str] | None = None
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
            )
        except ValueError as error:
            raise SettingsError(
                f"the Elasticsearch URL cannot be used: {error}",
                remedy="Write scheme, host and port, such as https://search.example.org:9200.",
            ) from None
        self.queries = Queries(self._client)

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
        changes = install(self._client, self._replicas)
        self._answers = set()  # the index may be a new one
        self._languages = self._mapped_languages()
        return changes

    @property
    def languages(self) -> frozenset[str]:
        """Codes of the languages that have analysed copies, under `i18n`, in the live mapping.

        The server is asked once, by `install` or here; languages are added to a mapping, never taken away.
        """
        if self._languages is None:
            self._languages = self._mapped_languages()
        return self._languages

    def _mapped_languages(self) -> frozenset[str]:
        with translated():
            answer = self._client.indices.get(index=templates.PAGES_WRITE, features=["aliases", "mappings"])
        return frozenset(mapped_languages(answer.body) or ())

    def require_answers(self, kinds: Mapping[str, AnswerKind]) -> None:
        """Have the live mapping know the fields of these questions under `answers`; the server is asked once for each.

        Raises:
            SettingsError: one of them has another type there.
        """
        missing = {name: kind for name, kind in kinds.items() if (name, kind) not in self._answers}
        if missing:
            add_answers(self._client, missing)
            self._answers |= missing.items()

    def write(self, writes: Iterable[Write], patience: Patience) -> Written:
        """Write records, waiting while the cluster is away: `pipeline.search.write.write`."""
        return write(self._client, writes, patience)

    def versions(self, alias: str, ids: Sequence[str]) -> dict[str, int]:
        """Return the version of each of these records that is there, at once, without a refresh."""
        found: dict[str, int] = {}
        for start in range(0, len(ids), CHUNK_RECORDS):
            chunk = list(ids[start : start + CHUNK_RECORDS])
            with translated():
                answer = self._client.mget(index=alias, ids=chunk, source=False)
            for record in answer["docs"]:
                if error := record.get("error"):
                    raise _unreadable(reason(error))
                if record["found"]:
                    found[record["_id"]] = record["_version"]
        return found

    def refresh(self, alias: str) -> None:
        """Make everything written under this alias visible to searches."""
        with translated():
            self._client.indices.refresh(index=alias)

    def drop(self) -> None:
        """Delete every index behind our aliases. The archive can fill new ones."""
        with translated():
            found = self._client.indices.get(
                index=list(templates.FAMILIES), features=["aliases"], ignore_unavailable=True
            )
            if found.body:
                self._client.indices.delete(index=list(found.body), ignore_unavailable=True)


def _unreadable(words: str) -> Exception:
    """`mget` answers 200 even where there is no index, and says so record by record."""
    if "index_not_found" in words:
        return not_installed(words)
    return ServiceUnavailable(SERVICE, f"a record cannot be read now: {words}")

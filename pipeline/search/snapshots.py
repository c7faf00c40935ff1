"""Snapshots of our indices in a repository of the cluster, and their way back.

A snapshot holds every index behind our aliases and nothing else of the cluster. It comes back as a new generation of
indices beside whatever is there, which nobody sees until it is shown.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import Any, TypeVar

from elasticsearch import ApiError, Elasticsearch

from pipeline.core.errors import ServiceRefused, SettingsError, Stopped
from pipeline.core.retry import ELASTICSEARCH_WAITS_SECONDS, CancelToken, Waiting, retry_until_available
from pipeline.search import templates
from pipeline.search.errors import SERVICE, not_installed, reason, translated
from pipeline.search.generations import Generation, Generations
from pipeline.search.names import Names, State, own_alias

T = TypeVar("T")

DEFAULT_REPOSITORY = "pagesight"
#: Where a snapshot says whose it is.
_METADATA = {"application": "pagesight"}
#: A repository that cannot be used is an error 500 of the server, and yet nothing to be waited for.
_TROUBLE = re.compile(r"(repository|snapshot|invalid_snapshot)\w*_exception")
#: Every node writes to a new repository and reads what the others wrote.
_VERIFY_SECONDS = 120.0
_POLL_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
#: How long shards of a restored index may lie idle and unassigned.
_IDLE_SECONDS = 60.0

#: Told how many bytes have been copied, and how many there are as far as is known.
Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of ours."""

    name: str
    state: str
    """`SUCCESS`, or `IN_PROGRESS`, `PARTIAL`, `FAILED`, `INCOMPATIBLE`."""
    indices: tuple[str, ...]
    started_at: datetime
    seconds: float
    failures: tuple[str, ...]
    """Of shards, in the server's words."""

    @property
    def whole(self) -> bool:
        """Whether all of it was written: no other is restored."""
        return self.state == "SUCCESS"


class Snapshots:
    """Our snapshots in one repository.

    Raises, from every method:
        ServiceRefused: there is no such repository or it cannot be used, or the key may not do it.
        ServiceUnavailable, Stopped: the cluster is away, and the patience has ended.
    """

    def __init__(
        self, client: Elasticsearch, generations: Generations, names: Names, repository: str, cancel: CancelToken
    ) -> None:
        self._client = client
        self._generations = generations
        self._names = names
        self._repository = repository
        self._cancel = cancel

    def register(self, location: str) -> bool:
        """Make the repository, a folder that every node sees under this path; return whether it is new.

        One that is there already is verified: every node writes to it.

        Raises:
            SettingsError: it is there and lies elsewhere.
        """
        known = self._location()
        if known is None:
            repository = {"type": "fs", "settings": {"location": location}}
            patient = self._client.options(request_timeout=_VERIFY_SECONDS)
            self._ask(lambda: patient.snapshot.create_repository(name=self._repository, repository=repository))
            return True
        if known != location:
            raise SettingsError(
                f"the repository {self._repository} lies at {known}",
                remedy="Leave --location out, or give another name by --repository.",
            )
        self.verify()
        return False

    def verify(self) -> None:
        """Let every node write to the repository."""
        patient = self._client.options(request_timeout=_VERIFY_SECONDS)
        self._ask(lambda: patient.snapshot.verify_repository(name=self._repository))

    def all(self) -> list[Snapshot]:
        """Return our snapshots, oldest first."""
        answer = self._ask(
            lambda: self._client.snapshot.get(repository=self._repository, snapshot="*", ignore_unavailable=True)
        )
        found = [entry for entry in answer["snapshots"] if self._is_ours(entry)]
        return sorted(map(_snapshot, found), key=lambda snapshot: snapshot.started_at)

    def take(self, advance: Advance) -> Snapshot:
        """Take a snapshot of the indices behind our aliases and return it once it has ended.

        It goes on in the cluster if this process ends.

        Raises:
            ServiceRefused: besides, not all shards could be written.
        """
        live = self._ask(self._generations.live)
        if not live:
            raise not_installed("no index is live")
        name = f"{self._names.prefix}pagesight-{datetime.now(UTC):%Y%m%dt%H%M%S}-{secrets.token_hex(3)}"
        self._ask(
            lambda: self._client.snapshot.create(
                repository=self._repository,
                snapshot=name,
                indices=sorted(live.values()),
                include_global_state=False,
                feature_states=["none"],
                partial=False,
                metadata=_METADATA,
                wait_for_completion=False,
            )
        )
        for _ in self._polls():
            snapshot = self._find(name)
            if snapshot.state != "IN_PROGRESS":
                break
            self._tell(name, advance)
        return self._require_whole(snapshot)

    def restore(self, name: str, advance: Advance) -> Generation:
        """Restore a snapshot into new indices that nobody sees, and return them: a generation that is being filled.

        If this process ends before, they are seen by nobody.

        Raises:
            SettingsError: there is no such snapshot.
            ServiceRefused: besides, it is not whole, is of another version of Pagesight, or cannot be read.
        """
        snapshot = self._require_whole(self._find(name))
        number = 1 + max((generation.number for generation in self._ask(self._generations.all)), default=0)
        self._ask(
            lambda: self._client.snapshot.restore(
                repository=self._repository,
                snapshot=name,
                indices=list(snapshot.indices),
                include_global_state=False,
                feature_states=["none"],
                include_aliases=False,
                partial=False,
                rename_pattern=r"-v\d+$",
                rename_replacement=f"-v{number}",
                wait_for_completion=False,
            )
        )
        restored = self._generations.names(number)
        try:
            self._await(restored, advance)
            return self._marked(number)
        except (ServiceRefused, Stopped):
            self._ask(lambda: self._client.indices.delete(index=list(restored), ignore_unavailable=True))
            raise

    # -- one request each

    def _ask(self, call: Callable[[], T]) -> T:
        def translated_call() -> T:
            with _translated(self._repository):
                return call()

        return retry_until_available(translated_call, self._cancel, ELASTICSEARCH_WAITS_SECONDS)

    def _polls(self) -> Iterator[None]:
        """Yield again and again, ever more seldom.

        Raises:
            Stopped: the patience has ended.
        """
        for seconds in chain(_POLL_SECONDS, repeat(_POLL_SECONDS[-1])):
            yield
            self._cancel.wait(seconds, Waiting(SERVICE, "the end of a snapshot", time.time()))

    def _tell(self, name: str, advance: Advance) -> None:
        answer = self._ask(lambda: self._client.snapshot.status(repository=self._repository, snapshot=name))
        stats = answer["snapshots"][0]["stats"]
        done = stats.get("processed", {"size_in_bytes": 0})  # it is left out once all is done
        advance(done["size_in_bytes"], stats["incremental"]["size_in_bytes"])

    def _location(self) -> str | None:
        found = self._ask(self._repositories).get(self._repository)
        return None if found is None else str(found["settings"].get("location", f"no folder ({found['type']})"))

    def _repositories(self) -> dict[str, Any]:
        lenient = self._client.options(ignore_status=404)  # the answer where there is none of this name
        return dict(lenient.snapshot.get_repository(name=self._repository).body)

    def _is_ours(self, entry: Mapping[str, Any]) -> bool:
        return (entry.get("metadata") or {}).get("application") == "pagesight" and all(
            self._names.number_of(index) is not None for index in entry["indices"]
        )

    def _find(self, name: str) -> Snapshot:
        found = {snapshot.name: snapshot for snapshot in self.all()}
        if name not in found:
            raise SettingsError(
                f"there is no snapshot {name!r} of ours in the repository {self._repository}",
                remedy=f"`pagesight backup --list --repository {self._repository}` names them.",
            )
        return found[name]

    def _await(self, indices: tuple[str, ...], advance: Advance) -> None:
        """Wait until every primary shard is there.

        Raises:
            ServiceRefused: one of them cannot be brought back.
        """
        idle_since: float | None = None
        for _ in self._polls():
            recoveries = self._ask(lambda: self._client.indices.recovery(index=list(indices))).body
            sizes = [shard["index"]["size"] for index in recoveries.values() for shard in index["shards"]]
            advance(
                sum(size["recovered_in_bytes"] for size in sizes),
                sum(size["total_in_bytes"] - size["reused_in_bytes"] for size in sizes),
            )
            health = self._ask(lambda: self._client.cluster.health(index=list(indices)))
            if health["status"] != "red":
                return
            at_work = health["initializing_shards"] or health["number_of_in_flight_fetch"]
            idle_since = None if at_work else idle_since or time.monotonic()
            if idle_since is not None and time.monotonic() - idle_since > _IDLE_SECONDS:
                raise ServiceRefused(
                    SERVICE,
                    f"the snapshot cannot be read: {health['unassigned_shards']} shards did not come back",
                    remedy="Ask `GET _cluster/allocation/explain` why, or restore another snapshot.",
                )

    def _marked(self, number: int) -> Generation:
        """Return the indices of this number, marked as being filled: as such they can be shown.

        Raises:
            ServiceRefused: they are of another version of Pagesight.
        """
        generation = next(found for found in self._ask(self._generations.all) if found.number == number)
        for index, found in generation.schemas.items():
            ours = templates.schema_version(self._names.family_of(index))
            if found != ours:
                raise ServiceRefused(
                    SERVICE,
                    f"the snapshot is of the schema version {found}; this version of Pagesight writes {ours}",
                    remedy="Run `pagesight reindex`: the archive holds everything.",
                )
        marks = [{"add": {"index": index, "alias": own_alias(index, State.FILLING)}} for index in generation.indices]
        self._ask(lambda: self._client.indices.update_aliases(actions=marks))
        return generation

    @staticmethod
    def _require_whole(snapshot: Snapshot) -> Snapshot:
        if not snapshot.whole:
            words = "; ".join(snapshot.failures) or "see the log of the cluster"
            raise ServiceRefused(
                SERVICE,
                f"the snapshot {snapshot.name} is not whole ({snapshot.state}): {words}",
                remedy="Mend what the words say, then take a new one: this one is never restored.",
            )
        return snapshot


def _snapshot(entry: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        name=entry["snapshot"],
        state=entry["state"],
        indices=tuple(sorted(entry["indices"])),
        started_at=datetime.fromtimestamp(entry["start_time_in_millis"] / 1000, UTC),
        seconds=max(0, entry["duration_in_millis"]) / 1000,
        failures=tuple(f"{failure['index']}: {failure['reason']}" for failure in entry.get("failures", ())),
    )


@contextmanager
def _translated(repository: str) -> Iterator[None]:
    with translated():
        try:
            yield
        except ApiError as error:
            cause = error.body.get("error", {}) if isinstance(error.body, Mapping) else {}
            if not isinstance(cause, Mapping) or not _TROUBLE.match(str(cause.get("type"))):
                raise
            raise ServiceRefused(SERVICE, reason(cause), remedy=_remedy(str(cause), repository)) from error


def _remedy(cause: str, repository: str) -> str:
    if "repository_missing" in cause:
        return f"Make it once: `pagesight backup --repository {repository} --location FOLDER`."
    if "path.repo" in cause:
        return (
            "Name a folder below one that every node's `path.repo` allows; the local node allows its own `snapshots`."
        )
    return "See that every node may read and write the repository's folder."

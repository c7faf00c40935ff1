"""The life of a batch in the archive: its beginning, the lease on it, and the end of a killed one."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from pipeline.archive import Archive
from pipeline.core.errors import ArchiveDamaged, SettingsError
from pipeline.core.leases import FileLeases, Lease
from pipeline.core.models import SLUG, UNBOUNDED, Allowance, Batch, Collection, FilePatterns, Lane
from pipeline.sources import is_local, named_root
from pipeline.vision.profile import DEFAULT_PROFILE, Profile, kept_form

DEFAULT_COLLECTION = "default"
_LEASE = "batch-"


def collection_name(name: str) -> str:
    """Return a collection's name unchanged.

    Raises:
        SettingsError: it is not a slug, so ids, folders and URLs cannot contain it.
    """
    if not re.fullmatch(SLUG, name):
        raise SettingsError(
            f"{name!r} cannot be a collection's name",
            remedy="Use up to 63 lower-case letters, digits, - and _, beginning with a letter or digit.",
        )
    return name


def _batch_id(now: datetime) -> str:
    """Return an id that sorts by time: seconds, then 24 bits of microseconds with a random last digit."""
    return f"{now:%Y%m%dT%H%M%S}-{16 * now.microsecond + secrets.randbelow(16):06x}"


def begin_batch(
    archive: Archive,
    collection: str,
    language: str | None,
    default_language: str,
    sources: Iterable[str],
    *,
    profile: Profile | None = None,
    lane: Lane | None = None,
    roots: Iterable[str] = (),
    patterns: FilePatterns | None = None,
    again: bool = False,
    downgrade: bool = False,
    epoch: str | None = None,
    budget: Allowance = UNBOUNDED,
    name: Callable[[Batch], None] = lambda _batch: None,
) -> Batch:
    """Archive the beginning of a batch, and its collection if it is new or gets another language or profile.

    Language and profile are the ones named, else the collection's own, else the default. The caller has checked the
    name with `collection_name` and the tags with `normalise_tag`. A queued batch has a lane. `name` archives the
    sources that the batch names itself; it is called before the batch is.
    """
    kept = _collection(archive, collection, language, default_language, profile)
    now, named = datetime.now(UTC), tuple(roots)
    batch = Batch(
        id=_batch_id(now),
        collection=kept.name,
        language=kept.language,
        profile=kept.profile,
        own_profile=kept.own_profile,
        sources=tuple(sources),
        deletions_seen=archive.deletions[kept.name].newest_revision(),
        revision=1,
        state="working",
        started_at=now,
        lane=lane,
        roots=named,
        folders=tuple(named_root(url) for url in named if is_local(url)),
        patterns=patterns,
        again=again,
        downgrade=downgrade,
        epoch=epoch,
        budget=budget,
    )
    name(batch)
    if lane is not None:
        archive.open_batch(batch.id)
    archive.batches[batch.id].create(batch)
    return batch


def hold_batch(leases: FileLeases, batch: Batch) -> Lease:
    """Take the lease on a batch: while it is held, a live process runs the batch."""
    lease = leases.take(f"{_LEASE}{batch.id}")
    assert lease is not None  # the id is new
    return lease


def close_killed(archive: Archive, leases: FileLeases) -> list[Batch]:
    """Archive the end of the batches of this machine whose process was killed, and return them."""
    closed = []
    for key in leases.abandoned():
        batch = archive.batches[key.removeprefix(_LEASE)].newest() if key.startswith(_LEASE) else None
        if batch is not None and batch.state == "working":
            closed.append(batch.model_copy(update={"revision": batch.revision + 1, "state": "killed"}))
            archive.batches[closed[-1].id].create(closed[-1])
    return closed


def _collection(
    archive: Archive, name: str, language: str | None, default_language: str, profile: Profile | None
) -> Collection:
    asked: dict[str, object] = {}
    if language is not None:
        asked["language"] = language
    if profile is not None:
        asked |= {"profile": profile.name, "own_profile": kept_form(profile)}

    def successor(newest: Collection | None) -> Collection | None:
        if newest is None:
            damaged = archive.collections[name].newest_revision()
            if damaged and not {"language", "profile"} <= asked.keys():
                raise ArchiveDamaged(
                    f"collections/{name}/{damaged}.json",
                    "language and profile of the collection are unknown",
                    remedy="Name both with `--language` and `--profile`, or restore that file from a backup.",
                )
            new = Collection(name=name, language=default_language, profile=DEFAULT_PROFILE, revision=1)
            return new.model_copy(update=asked)
        changed = newest.model_copy(update=asked)
        return None if changed == newest else changed.model_copy(update={"revision": newest.revision + 1})

    return archive.collections[name].append(successor)

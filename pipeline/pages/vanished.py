"""Vanished files: the paths below a root that a walk did not find, and where nothing is any longer.

A walk that ended forgets these paths. Their documents stay searchable, without the path. The rules:

- A walk that found no file at all forgets nothing: an unmounted disk looks like an empty folder.
- The walk is only a hint. The file system or the bucket has to say of each single path that nothing is there.
- A batch with patterns forgets nothing that these leave out, as rsync deletes nothing that is excluded.
- A path is not forgotten while the disk that had its file is not mounted: the source names the mount point.
- The index names the candidates. The archive stores sources by the hash of their URL, so it would have to read every
  source of the collection to find those below a root; the index answers with one query.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import blake2b

from pipeline.archive import Archive, source_id
from pipeline.core.iterables import batched
from pipeline.core.models import FilePatterns, Source
from pipeline.pages.page_services import PageServices
from pipeline.pages.paths import remove_path
from pipeline.pages.revisions import forget_source
from pipeline.pages.roots import with_root
from pipeline.projection.projector import CHUNK
from pipeline.sources import PathFilter, SourceFiles, is_unmounted

_BUCKETS = 256


class FoundUrls:
    """The URLs that a walk found. A million need 8 MB: 64 bits of a hash are kept of each, in sorted arrays.

    Two URLs with the same 64 bits (1 in 10^7 for a million URLs) would leave one vanished path for the next walk.
    """

    def __init__(self) -> None:
        self._buckets = [array("Q") for _ in range(_BUCKETS)]
        self._sorted = True

    def add(self, url: str) -> None:
        """Add a URL."""
        key = _key(url)
        self._buckets[key % _BUCKETS].append(key)
        self._sorted = False

    def __contains__(self, url: object) -> bool:
        if not self._sorted:
            self._buckets = [array("Q", sorted(bucket)) for bucket in self._buckets]
            self._sorted = True
        key = _key(str(url))
        bucket = self._buckets[key % _BUCKETS]
        number = bisect_left(bucket, key)
        return number < len(bucket) and bucket[number] == key


def forget_vanished(
    root: str, found: FoundUrls, collection: str, services: PageServices, patterns: FilePatterns | None
) -> int:
    """Forget the vanished files at or below a root URL, and return their number. Repeating it changes nothing.

    Args:
        root: its walk has ended and found a file.
        found: all URLs that the walks of the batch found; they are not looked at again.
        collection: the sources' collection.
        services: bound to the batch.
        patterns: of the batch; what they leave out was not looked for, and is not forgotten.

    Raises:
        ServiceRefused: a service refuses.
        Stopped: the cancel token ended while a service was away.
    """
    projector, archive = services.projector, services.archive
    candidates = filter(PathFilter(patterns).keeps, projector.source_urls_below(root, collection, found))
    forgotten = 0
    for some in batched(vanished_sources(archive, services.files, collection, candidates), CHUNK):
        for source in some:
            if source.document is not None:
                remove_path(projector, collection, source.document.id, source.path)
        projector.sources([forget_source(archive, source) for source in some])
        forgotten += len(some)
    return forgotten


def vanished_sources(archive: Archive, files: SourceFiles, collection: str, urls: Iterable[str]) -> Iterator[Source]:
    """Yield the sources at these URLs that the archive knows and whose file is gone: renamed, moved or removed."""
    for url in urls:
        source = archive.sources(collection)[source_id(url)].newest()
        if source is not None and (source.document or source.error) and has_vanished(source, archive, files):
            yield source


def has_vanished(source: Source, archive: Archive, files: SourceFiles) -> bool:
    """Whether the file of a source is gone. A file whose disk is not mounted may still exist."""
    return not is_unmounted(source.mount) and files.is_gone(source.url, with_root(source, archive).root)


def _key(url: str) -> int:
    return int.from_bytes(blake2b(url.encode(), digest_size=8).digest())

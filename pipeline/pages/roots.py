"""Roots: the folder beneath which a known file is opened.

Each source has its root. Sources in archives of earlier versions have none. For them it is the folder that their batch
named, with the links that lead to it now. Without such a folder, no link may be on the path of the file's folder.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.archive import Archive
from pipeline.core.models import Batch, Root, Source
from pipeline.sources import argument_url, is_below, is_local, named_root


def root_of(url: str, source: Source | None, batch: str, archive: Archive) -> Root | None:
    """Return the root of a file, None for objects and where nothing names one.

    Args:
        url: the file.
        source: what the archive knows about it.
        batch: id of the batch that processes it.
        archive: has the batches.
    """
    if not is_local(url):
        return None
    if source is not None and source.root is not None:
        return source.root
    for name in dict.fromkeys((batch, source.batch if source else batch)):
        known = archive.batches[name].newest()
        if known is not None and (root := _named_by(known, url)) is not None:
            return root
    return None


def with_root(source: Source, archive: Archive) -> Source:
    """Return a source with its root."""
    return source.model_copy(update={"root": root_of(source.url, source, source.batch, archive)})


def folder_of(batch: Batch, root: str) -> Root | None:
    """Return the folder beneath which the files of a batch's root are opened."""
    if not is_local(root):
        return None
    return _named_by(batch, root) or named_root(root)


def _named_by(batch: Batch, url: str) -> Root | None:
    """Return the innermost folder that a batch names and that contains a file."""
    around = [root for root in batch.folders or _named(batch) if is_below(url, root.url)]
    return max(around, key=lambda root: len(root.url), default=None)


def _named(batch: Batch) -> Iterator[Root]:
    """Yield the folders that a batch of an earlier version names; its sources may also be words."""
    for name in batch.roots or batch.sources:
        if is_local(name) or name.startswith("/"):
            yield named_root(argument_url(name))

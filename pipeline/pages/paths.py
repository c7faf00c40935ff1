"""The paths of a document: where one is added or removed, its pages are projected again, without a model call."""

from __future__ import annotations

from pipeline.archive import Archive
from pipeline.core.models import Reading, Source
from pipeline.pages import revisions
from pipeline.projection.projector import Projector


def with_path(archive: Archive, reading: Reading, source: Source) -> Reading:
    """Return the newest reading of a page, with the path of this source among its document's paths."""
    if source.path in reading.document.path:
        return reading
    changed = revisions.add_path(archive, reading, source)
    return changed if isinstance(changed, Reading) else reading


def remove_path(projector: Projector, collection: str, document: str, path: str) -> None:
    """Remove a path from the pages of a document, in the archive and in the index."""
    archive = projector.archive
    readings = [reading for reading in archive.readings(collection, document).newest() if isinstance(reading, Reading)]
    changed = [revisions.remove_path(archive, reading, path) for reading in readings]
    projector.pages(changed)
    if changed:
        projector.documents(collection, [document])

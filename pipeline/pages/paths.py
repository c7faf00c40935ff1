"""The places of a document: when one comes or goes, its pages are projected anew, without a call."""

from __future__ import annotations

from pipeline.archive import Archive
from pipeline.core.models import Reading, Source
from pipeline.pages.revisions import add_place, remove_path
from pipeline.projection.projector import Projector


def with_place(archive: Archive, reading: Reading, source: Source) -> Reading:
    """Return the newest reading of a page whose document lies at this place too."""
    if source.path in reading.document.path:
        return reading
    changed = add_place(archive, reading, source)
    return changed if isinstance(changed, Reading) else reading


def leave(projector: Projector, collection: str, document: str, path: str) -> None:
    """Take a place from the pages of a document that lies there no more."""
    readings = projector.archive.readings(collection, document).newest()
    changed = [remove_path(projector.archive, reading, path) for reading in readings if isinstance(reading, Reading)]
    projector.pages(changed)
    if changed:
        projector.documents(collection, [document])

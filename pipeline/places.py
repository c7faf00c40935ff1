"""The places of a document: when one comes or goes, its pages are projected anew, without a call."""

from __future__ import annotations

from pipeline.archive import Archive
from pipeline.models import Reading
from pipeline.projection import Projector
from pipeline.revisions import add_path, remove_path


def with_path(archive: Archive, reading: Reading, path: str) -> Reading:
    """Return the newest reading of a page whose document lies at this place too."""
    if path in reading.document.path:
        return reading
    changed = add_path(archive, reading, path)
    return changed if isinstance(changed, Reading) else reading


def leave(projector: Projector, collection: str, document: str, path: str) -> None:
    """Take a place from the pages of a document that lies there no more."""
    readings = projector.archive.readings(collection, document)
    changed = [remove_path(projector.archive, reading, path) for reading in readings if isinstance(reading, Reading)]
    projector.pages(changed)
    if changed:
        projector.documents(collection, [document])

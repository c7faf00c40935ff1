"""The archive: the durable truth, of which Elasticsearch is a projection."""

from pipeline.archive.archive import Archive, image_stem, render_revision_of, run_id, source_id
from pipeline.archive.store import Store
from pipeline.archive.walks import WalkRecords

__all__ = ["Archive", "Store", "WalkRecords", "image_stem", "render_revision_of", "run_id", "source_id"]

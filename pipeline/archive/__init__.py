"""The archive: the durable truth, of which Elasticsearch is a projection."""

from pipeline.archive.archive import Archive, image_stem, source_id
from pipeline.archive.store import Store

__all__ = ["Archive", "Store", "image_stem", "source_id"]

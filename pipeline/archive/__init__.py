"""The archive: the durable truth, of which Elasticsearch is a projection."""

from pipeline.archive.archive import Archive, source_id
from pipeline.archive.store import Store

__all__ = ["Archive", "Store", "source_id"]

"""The archive: the durable truth, of which Elasticsearch is a projection."""

from pipeline.archive.archive import (
    Archive,
    answer_name,
    image_stem,
    is_image_key,
    reading_name,
    render_revision_of,
    source_id,
)
from pipeline.archive.batch_journal import BatchJournal
from pipeline.archive.store import Store

__all__ = [
    "Archive",
    "BatchJournal",
    "Store",
    "answer_name",
    "image_stem",
    "is_image_key",
    "reading_name",
    "render_revision_of",
    "source_id",
]

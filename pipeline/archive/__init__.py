"""The archive: the durable truth. Elasticsearch is a projection of it."""

from pipeline.archive.archive import Archive, source_id
from pipeline.archive.batch_journal import BatchJournal
from pipeline.archive.chain import Chain, Chains, Records
from pipeline.archive.content import (
    answer_name,
    image_stem,
    is_image_key,
    is_whole_image,
    page_of_image,
    render_revision_of,
)
from pipeline.archive.identity import KnownArchives
from pipeline.archive.store import Store

__all__ = [
    "Archive",
    "BatchJournal",
    "Chain",
    "Chains",
    "KnownArchives",
    "Records",
    "Store",
    "answer_name",
    "image_stem",
    "is_image_key",
    "is_whole_image",
    "page_of_image",
    "render_revision_of",
    "source_id",
]

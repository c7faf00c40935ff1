"""Whether indices hold exactly what the archive says, record by record."""

from __future__ import annotations

from pipeline.core.iterables import batched
from pipeline.core.models import Reading
from pipeline.projection.projector import Projector
from pipeline.projection.records import document_record_id, page_id, page_record, source_record_id
from pipeline.search import DOCUMENTS, PAGES, SOURCES


def assert_holds_the_archive(projector: Projector) -> None:
    """Every newest reading has its record, word for word; nothing else has one."""
    archive, index = projector.archive, projector.index
    index.look_again()
    projector.refresh()
    pages: dict[str, Reading] = {}
    versions: dict[str, dict[str, int]] = {DOCUMENTS: {}, SOURCES: {}}
    for collection in archive.collections.names():
        for document in archive.documents(collection):
            newest = list(archive.readings(collection, document).newest())
            live = [reading for reading in newest if isinstance(reading, Reading)]
            pages |= {page_id(collection, document, reading.page_number): reading for reading in live}
            if live:
                total = sum(reading.revision for reading in newest)
                versions[DOCUMENTS][document_record_id(collection, document)] = total
        for identifier in archive.sources(collection).names():
            source = archive.sources(collection)[identifier].newest()
            assert source is not None
            if source.document or source.error:
                versions[SOURCES][source_record_id(source)] = source.revision
    _assert_pages(projector, pages)
    for alias, wanted in versions.items():
        assert set(index.queries.record_ids(alias)) == set(wanted)
        assert index.versions(alias, list(wanted)) == wanted


def _assert_pages(projector: Projector, wanted: dict[str, Reading]) -> None:
    index = projector.index
    assert set(index.queries.record_ids(PAGES)) == set(wanted)
    for keys in batched(wanted, 500):
        found = index.records(PAGES, keys)
        for key in keys:
            reading = wanted[key]
            version, record = found[key]
            assert version == reading.revision
            expected = page_record(reading, index.languages, projector.signer, reading.archived_at)
            assert {**record, "indexed_at": None} == {**expected, "indexed_at": None}

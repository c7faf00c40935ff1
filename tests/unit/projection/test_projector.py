"""A record that cannot be made costs itself alone."""

from pathlib import Path

from pipeline.archive import Archive, Store
from pipeline.search import PAGES, SOURCES
from support.memory_index import MemoryIndex
from support.readings import full_reading, full_source


def test_a_page_record_that_cannot_be_made_is_refused_and_the_others_are_written(tmp_path: Path) -> None:
    index = MemoryIndex()
    pages = [full_reading().model_copy(update={"page_number": number}) for number in (1, 2, 3)]
    pages[1] = pages[1].model_copy(update={"trust": "not a trust"})

    refused = index.projector(Archive(Store(str(tmp_path)))).put_pages(list(pages))

    ((key, failure),) = refused.items()
    assert failure.type == "record_refused"
    assert "the record cannot be made: AttributeError" in failure.message
    records = index.records(PAGES)
    assert records[key]["error"]["type"] == "record_refused"
    assert sorted(record["page"]["number"] for record in records.values()) == [1, 2, 3]
    assert sum("trust" in record for record in records.values()) == 2


def test_a_source_record_that_cannot_be_made_is_refused_and_the_others_are_written(tmp_path: Path) -> None:
    index = MemoryIndex()
    good, bad = (full_source(failed=False).model_copy(update={"url": f"file:///in/{name}.pdf"}) for name in ("a", "b"))

    index.projector(Archive(Store(str(tmp_path)))).sources([bad.model_copy(update={"state": "not a state"}), good])

    errors = {record["url"]: record.get("error", {}).get("type") for record in index.records(SOURCES).values()}
    assert errors == {"file:///in/a.pdf": None, "file:///in/b.pdf": "record_refused"}

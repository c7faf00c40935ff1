"""Records against the mappings in `mappings/`, both ways: no field without a mapping, no mapping without a field."""

import json
from collections import Counter
from typing import Any

import pytest

from pipeline.core.models import DocumentStatus, Lane, PageStatus, Reading
from pipeline.core.url_signing import Signer
from pipeline.projection.records import (
    DocumentTally,
    batch_record,
    document_status,
    page_id,
    page_record,
    refused_record,
    run_record,
    source_record,
)
from support.mappings import leaves, mapped
from support.readings import FAILURE, NOW, full_batch, full_reading, full_run, full_source

LANGUAGES = {"de", "en"}


def test_a_page_record_has_just_the_fields_that_are_mapped() -> None:
    fields = set(leaves(page_record(full_reading(), LANGUAGES, Signer(), NOW)))

    assert {name for name in fields if not name.startswith(("i18n.", "answers."))} == mapped("pages")
    assert {name for name in fields if name.startswith("i18n.")} == {
        "i18n.text.de",
        "i18n.title.de",
        "i18n.description.en",
        "i18n.caption.en",
        "i18n.translation.en",
    }


def test_answers_to_questions_of_ones_own_keep_their_types() -> None:
    assert page_record(full_reading(), LANGUAGES, Signer(), NOW)["answers"] == {
        "document_type": "invoice",
        "has_signature": False,
        "invoice_total": 0.0,
        "parties": ["Harbour & Sons", "Orchard"],
        "remarks": "Paid.",
    }


def test_a_reading_of_before_profiles_had_conditions_can_be_read() -> None:
    new = ("caption", "translation", "values")
    before = Reading.model_validate_json(full_reading().model_dump_json(exclude=set(new)))

    assert before == full_reading().model_copy(update={"caption": None, "translation": None, "values": {}})
    assert not {"caption", "translation", "answers"} & set(page_record(before, LANGUAGES, Signer(), NOW))


def test_a_reading_comes_back_from_the_archive_with_its_types() -> None:
    again = Reading.model_validate_json(full_reading().model_dump_json())

    assert again == full_reading()
    assert [type(answer.value) for answer in again.values.values()] == [str, bool, float, tuple, str]


def test_a_source_record_has_just_the_fields_that_are_mapped() -> None:
    sources = (
        full_source(failed=failed).model_copy(update={"url": "file:///in/b.zip#a.pdf"}) for failed in (True, False)
    )
    fields = {name for source in sources for name in leaves(source_record(source, NOW))}

    assert fields == mapped("sources")


def document_record(*readings: Reading) -> dict[str, Any]:
    tally = DocumentTally()
    for reading in readings:
        tally.add(reading)
    record = tally.record(NOW)
    assert record is not None
    return record


def test_a_document_record_has_just_the_fields_that_are_mapped() -> None:
    assert set(leaves(document_record(full_reading()))) == mapped("documents")


def test_a_batch_record_has_just_the_fields_that_are_mapped() -> None:
    batches = (full_batch(), full_batch().model_copy(update={"lane": Lane.NORMAL}))
    assert {leaf for batch in batches for leaf in leaves(batch_record(batch, NOW))} == mapped("batches")


def test_a_run_record_has_just_the_fields_that_are_mapped() -> None:
    assert set(leaves(run_record(full_run(), NOW))) == mapped("runs")


def test_the_record_that_stands_in_for_a_refused_one_has_no_field_of_the_page_itself() -> None:
    record = refused_record(full_reading(), FAILURE, Signer(), NOW)

    assert record["status"] == "failed"
    assert record["error"]["message"] == "no answer"
    assert not {"text", "description", "layer_text", "exif", "image"} & set(record)


def test_what_is_not_known_is_left_out_but_an_empty_text_is_known() -> None:
    reading = full_reading().model_copy(update={"text": "", "description": None, "exif": {}, "error": None})
    record = page_record(reading, LANGUAGES, Signer(), NOW)

    assert record["text"] == ""
    assert not {"description", "exif", "error"} & set(record)
    assert "text" not in record["i18n"]


def test_a_language_that_the_index_does_not_analyse_stays_in_the_neutral_fields() -> None:
    record = page_record(full_reading().model_copy(update={"text_language": "th"}), LANGUAGES, Signer(), NOW)

    assert record["text"] == "Die Häuser am Kai"
    assert set(record["i18n"]) == {"description", "caption", "translation"}


def test_a_page_of_two_languages_names_both_and_is_analysed_in_both() -> None:
    reading = full_reading().model_copy(update={"text_languages": ("de", "en", "th")})
    record = page_record(reading, LANGUAGES, Signer(), NOW)

    assert record["language"]["text"] == ["de", "en", "th"]
    assert record["i18n"]["text"] == {"de": "Die Häuser am Kai", "en": "Die Häuser am Kai"}
    assert record["document"]["language"] == "de"


def test_a_regional_language_is_analysed_as_its_base() -> None:
    reading = full_reading().model_copy(update={"description_language": "en-GB"})

    assert page_record(reading, LANGUAGES, Signer(), NOW)["i18n"]["description"] == {"en": "A bar chart."}


def test_records_are_json() -> None:
    json.dumps(page_record(full_reading(), LANGUAGES, Signer(), NOW))


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({PageStatus.DESCRIBED: 2, PageStatus.BLANK: 1}, DocumentStatus.COMPLETE),
        ({PageStatus.DESCRIBED: 2, PageStatus.FAILED: 1}, DocumentStatus.PARTIAL),
        ({PageStatus.FAILED: 3}, DocumentStatus.FAILED),
        ({PageStatus.DESCRIBED: 2}, DocumentStatus.WORKING),
        ({}, DocumentStatus.WORKING),
    ],
)
def test_a_documents_status_follows_from_its_pages(counts: dict[PageStatus, int], status: DocumentStatus) -> None:
    assert document_status(Counter(counts), pages=3) is status


def test_a_document_counts_its_pages() -> None:
    described = full_reading()
    failed: Reading = described.model_copy(update={"status": PageStatus.FAILED, "page_number": 3})
    record = document_record(described, failed)

    assert record["pages"] == {"described": 1, "text_only": 0, "blank": 0, "failed": 1, "total": 3}
    assert record["status"] == "working"


def test_page_ids_sort_as_pages_do() -> None:
    ids = [page_id("works", "d", number) for number in (1, 2, 10, 999, 12_000)]

    assert ids == sorted(ids)


def test_copies_for_a_language_have_composed_accents() -> None:
    reading = full_reading().model_copy(update={"description": "Mu\u0308ller", "description_language": "de"})
    record = page_record(reading, LANGUAGES, Signer(), NOW)
    assert (record["description"], record["i18n"]["description"]) == ("Mu\u0308ller", {"de": "M\u00fcller"})

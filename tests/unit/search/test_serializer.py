"""The JSON that goes to Elasticsearch and comes from it."""

import pytest
from elastic_transport import SerializationError
from elasticsearch.serializer import JsonSerializer

from pipeline.core.url_signing import Signer
from pipeline.projection.records import page_record
from pipeline.search.serializer import QuickJsonSerializer
from support.readings import NOW, full_reading


def test_records_are_written_and_read_as_by_the_clients_own() -> None:
    record = page_record(full_reading(), {"de", "en"}, Signer(), NOW)
    written = QuickJsonSerializer().dumps(record)

    assert JsonSerializer().loads(written) == record
    assert QuickJsonSerializer().loads(JsonSerializer().dumps(record)) == record


def test_half_a_character_goes_as_the_client_sends_it() -> None:
    asked = {"query": "caf\udce9"}  # what a terminal hands on of another encoding

    assert QuickJsonSerializer().dumps(asked) == JsonSerializer().dumps(asked)


def test_an_answer_that_is_no_json_is_an_error_of_the_clients() -> None:
    with pytest.raises(SerializationError):
        QuickJsonSerializer().loads(b"<html>")

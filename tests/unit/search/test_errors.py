"""Every error of the Elasticsearch libraries becomes one of ours."""

from __future__ import annotations

import elastic_transport
import elasticsearch
import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig

from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable, SettingsError
from pipeline.search.errors import translate
from pipeline.search.index import Index

LIBRARIES = (elastic_transport, elasticsearch)
ERRORS = {
    kind
    for library in LIBRARIES
    for kind in vars(library).values()
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, Warning)
}


def api_error(kind: type, status: int, body: object = None, **headers: str) -> Exception:
    node = NodeConfig("http", "localhost", 9200)
    return kind("words", ApiResponseMeta(status, "1.1", HttpHeaders(headers), 0.1, node), body)


def example(kind: type) -> Exception:
    if issubclass(kind, elastic_transport.ApiError):
        return api_error(kind, 400)
    return kind("words")


@pytest.mark.parametrize("kind", sorted(ERRORS, key=str))
def test_every_error_that_the_libraries_export_is_translated(kind):
    assert isinstance(translate(example(kind)), PagesightError)


def test_the_libraries_export_the_errors_that_are_thought_of():
    assert {elasticsearch.NotFoundError, elastic_transport.ConnectionTimeout} <= ERRORS


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_answer_that_passes_is_waited_for(status):
    error = translate(api_error(elasticsearch.ApiError, status, **{"retry-after": "7"}))
    assert isinstance(error, ServiceUnavailable)
    assert error.retry_after_seconds == 7


@pytest.mark.parametrize("value", ["", "soon", "Tue, 24 Nov 2026 06:00:00 GMT"])
def test_a_retry_after_that_is_no_number_is_not_guessed(value):
    error = translate(api_error(elasticsearch.ApiError, 429, **{"retry-after": value}))
    assert error.retry_after_seconds is None


@pytest.mark.parametrize(
    ("kind", "status", "remedy"),
    [
        (elasticsearch.AuthenticationException, 401, "user and password into PAGESIGHT_ELASTICSEARCH_URL"),
        (elasticsearch.AuthorizationException, 403, "PAGESIGHT_ELASTICSEARCH_API_KEY"),
        (elasticsearch.UnsupportedProductError, 200, "Elasticsearch 9"),
        (elasticsearch.BadRequestError, 400, "Elasticsearch 9"),
    ],
)
def test_an_answer_that_stays_is_refused_with_a_remedy(kind, status, remedy):
    error = translate(api_error(kind, status))
    assert isinstance(error, ServiceRefused)
    assert remedy in error.remedy


def test_a_missing_index_says_what_to_run():
    cause = {"type": "index_not_found_exception", "reason": "no such index [pages]"}
    error = translate(api_error(elasticsearch.NotFoundError, 404, {"error": cause}))
    assert "no such index [pages]" in str(error)
    assert "pagesight setup" in error.remedy


def test_the_servers_words_are_kept_in_one_line():
    cause = {"type": "a", "reason": "first\nline", "caused_by": {"type": "b", "reason": "because"}}
    assert "a: first line: because" in str(translate(api_error(elasticsearch.BadRequestError, 400, {"error": cause})))


def test_only_a_timeout_makes_the_request_itself_suspect():
    assert translate(elastic_transport.ConnectionTimeout("slow")).suspect_request
    assert not translate(elastic_transport.ConnectionError("away")).suspect_request


def test_an_untrusted_certificate_is_not_waited_for():
    error = translate(elastic_transport.TlsError("self-signed"))
    assert isinstance(error, ServiceRefused)
    assert "PAGESIGHT_ELASTICSEARCH_CA_CERTS" in error.remedy


@pytest.mark.parametrize("url", ["localhost", "localhost:9200", "http://localhost", "http://localhost:port", ""])
def test_a_url_that_is_none_is_a_setting_to_mend(url):
    with pytest.raises(SettingsError) as caught:
        Index(url)
    assert "https://" in caught.value.remedy

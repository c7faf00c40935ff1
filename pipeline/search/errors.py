"""Translates every error of elasticsearch-py and elastic-transport into one of `pipeline.core.errors`.

An error that may pass becomes `ServiceUnavailable`, any other one `ServiceRefused`. `pipeline.search.diagnosis` decides
which it is where the server answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable
from pipeline.search.client import ApiError, TransportError, elastic_transport, elasticsearch
from pipeline.search.diagnosis import SERVER_REMEDY, diagnose
from pipeline.search.names import SERVICE
from pipeline.search.query_limits import too_large

AWAY_REMEDY = (
    "Check that the cluster runs and that PAGESIGHT_ELASTICSEARCH_URL names it; "
    "`pagesight elasticsearch start` starts a local one."
)
TLS_REMEDY = "Set PAGESIGHT_ELASTICSEARCH_CA_CERTS to the bundle (PEM) that signed the cluster's certificate."


@contextmanager
def translated() -> Iterator[None]:
    """Raise errors of the libraries as errors of `pipeline.core.errors`."""
    try:
        yield
    except (ApiError, TransportError) as error:
        raise translate(error) from error


def translate(error: ApiError | TransportError) -> PagesightError:
    """Return our error for an error of the libraries.

    Raises:
        KeyError: the class is not in the table; a test compares the table with the libraries.
    """
    return TRANSLATIONS[type(error)](error)


def _by_status(error: Any) -> PagesightError:
    body = error.body
    if (too_long := too_large(body)) is not None:  # with status 400 or 500, by where it is noticed
        return too_long
    found = body.get("error", body) if isinstance(body, Mapping) else str(error.message)
    return diagnose(error.meta.status, found).error(_retry_after(error))


def _retry_after(error: Any) -> float | None:
    value = str(error.meta.headers.get("retry-after") or "")
    return float(value) if value.isdecimal() else None


def _away(error: Any) -> PagesightError:
    return ServiceUnavailable(SERVICE, f"Elasticsearch cannot be reached: {error}", remedy=AWAY_REMEDY)


def _timed_out(error: Any) -> PagesightError:
    words = f"Elasticsearch does not answer: {error}"
    return ServiceUnavailable(SERVICE, words, suspect_request=True, remedy=AWAY_REMEDY)


def _untrusted(error: Any) -> PagesightError:
    return ServiceRefused(SERVICE, f"the connection is not trusted: {error.message}", remedy=TLS_REMEDY)


def _not_elasticsearch(error: Any) -> PagesightError:
    return ServiceRefused(SERVICE, f"the server does not answer like Elasticsearch 9: {error}", remedy=SERVER_REMEDY)


TRANSLATIONS: dict[type[Exception], Callable[[Any], PagesightError]] = {
    elastic_transport.ApiError: _by_status,
    elasticsearch.ApiError: _by_status,
    elasticsearch.AuthenticationException: _by_status,
    elasticsearch.AuthorizationException: _by_status,
    elasticsearch.BadRequestError: _by_status,
    elasticsearch.ConflictError: _by_status,
    elasticsearch.NotFoundError: _by_status,
    elasticsearch.UnsupportedProductError: _not_elasticsearch,
    elastic_transport.TransportError: _away,
    elastic_transport.SniffingError: _away,
    elastic_transport.ConnectionError: _away,
    elastic_transport.ConnectionTimeout: _timed_out,
    elastic_transport.TlsError: _untrusted,
    elastic_transport.SerializationError: _not_elasticsearch,
}

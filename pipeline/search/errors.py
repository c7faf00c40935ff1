"""Translates every error of elasticsearch-py and elastic-transport into one of `pipeline.core.errors`.

An error that may pass becomes `ServiceUnavailable`, any other one `ServiceRefused`. `pipeline.search.bulk` handles
errors of single records within a bulk answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable
from pipeline.search.client import ApiError, TransportError, elastic_transport, elasticsearch
from pipeline.search.names import SERVICE
from pipeline.search.query_limits import too_large

#: HTTP statuses that may pass: backpressure (429), a proxy without a server behind it (502, 504), shards that are not
#: ready or a disk past its flood stage (503), a failure of the server itself (500).
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})

NOT_INSTALLED_REMEDY = "Run `pagesight setup`; if an archive exists already, `pagesight reindex`."
SIGN_IN_REMEDY = (
    "Set PAGESIGHT_ELASTICSEARCH_API_KEY to a valid key, or put user and password into PAGESIGHT_ELASTICSEARCH_URL."
)
KEY_REMEDY = (
    "Set PAGESIGHT_ELASTICSEARCH_API_KEY to a key of a role that may do it: `pagesight setup` and new questions need "
    "the reindexer's. docs/security.md lists all roles."
)
SERVER_REMEDY = "Pagesight needs Elasticsearch 9; look at what PAGESIGHT_ELASTICSEARCH_URL points to."
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


def reason(error: object) -> str:
    """Return the server's message on one line, from the `error` member of an answer or of a bulk item."""
    if not isinstance(error, Mapping):
        return str(error)
    cause = error.get("caused_by") or {}
    words = [f"{error.get('type')}: {error.get('reason')}", str(cause.get("reason", ""))]
    return " ".join(": ".join(word for word in words if word).split())


def not_installed(words: str) -> ServiceRefused:
    """Return the refusal for an alias that does not exist."""
    return ServiceRefused(SERVICE, f"nothing is installed yet ({words})", remedy=NOT_INSTALLED_REMEDY)


def forbidden(words: str) -> ServiceRefused:
    """Return the refusal for a missing privilege or for a block that a person has set on an index."""
    return ServiceRefused(SERVICE, f"Elasticsearch does not allow it: {words}", remedy=KEY_REMEDY)


def _by_status(error: Any) -> PagesightError:
    status = error.meta.status
    body = error.body
    words = reason(body.get("error", body)) if isinstance(body, Mapping) else str(error.message)
    if (too_long := too_large(body)) is not None:  # with status 400 or 500, by where it is noticed
        return too_long
    if status in PASSING_STATUSES:
        return ServiceUnavailable(
            SERVICE, f"Elasticsearch answers {status}: {words}", retry_after_seconds=_retry_after(error)
        )
    if status == 401:
        return ServiceRefused(
            SERVICE, f"Elasticsearch refuses to sign in this user or key: {words}", remedy=SIGN_IN_REMEDY
        )
    if status == 403:
        return forbidden(words)
    if status == 404 and "index_not_found" in words:
        return not_installed(words)
    return ServiceRefused(SERVICE, f"Elasticsearch answers {status}: {words}", remedy=SERVER_REMEDY)


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

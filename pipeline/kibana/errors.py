"""Translates Kibana's error answers, and errors of httpx2, into errors of `pipeline.core.errors`.

no connection, 429, 5xx                    ServiceUnavailable
401, 403, 404, any other status, TLS,
an answer that is not Kibana's             ServiceRefused, with the setting to change
"""

from __future__ import annotations

import json
import ssl
from typing import Any

import httpx2

from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable

SERVICE = "kibana"
WORDS_MAX_CHARACTERS = 400

AWAY_REMEDY = "Check that Kibana runs and that PAGESIGHT_KIBANA_URL names it."
URL_REMEDY = "Set PAGESIGHT_KIBANA_URL to Kibana's own URL, with the base path where it has one, and without a space."
KEY_REMEDY = "Set PAGESIGHT_KIBANA_API_KEY, or put user name and password into PAGESIGHT_KIBANA_URL."
PRIVILEGE_REMEDY = (
    "Give the key or user all privileges for Discover, Dashboard, Visualize Library, Data View Management, Saved "
    "Objects Management, Tag Management and Stack Rules in this space, and the role kibana_admin for making a space. "
    "docs/kibana.md has a role."
)
TLS_REMEDY = "Set PAGESIGHT_ELASTICSEARCH_CA_CERTS to the bundle (PEM) that signed Kibana's certificate too."
OLD_REMEDY = "Pagesight's objects need Kibana 9: upgrade Kibana."
LARGE_REMEDY = "Raise savedObjects.maxImportPayloadBytes in kibana.yml, or the limit of the proxy before Kibana."
OTHER_REMEDY = "Read Kibana's message above, and its log."
ENCRYPTION_REMEDY = (
    "Set xpack.encryptedSavedObjects.encryptionKey (32 characters or more) in kibana.yml, restart Kibana, and run the "
    "same command again. All other objects are installed."
)
IMPORT_REMEDY = "Delete the named objects in Kibana's Saved Objects and run the same command again."

_REMEDIES = {401: KEY_REMEDY, 403: PRIVILEGE_REMEDY, 404: URL_REMEDY, 413: LARGE_REMEDY, 422: OLD_REMEDY}
#: Statuses that may pass.
_PASSING = frozenset({408, 425, 429})


def from_transport(error: httpx2.RequestError | httpx2.InvalidURL, host: str) -> PagesightError:
    """Return our error for an exception of httpx2."""
    if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        return ServiceRefused(SERVICE, f"the URL of Kibana cannot be used: {_clean(str(error))}", remedy=URL_REMEDY)
    if isinstance(error, httpx2.DecodingError | httpx2.TooManyRedirects):
        return not_kibana(host)
    if tls := _tls_words(error):
        return ServiceRefused(SERVICE, f"Kibana at {host}: TLS fails: {tls}", remedy=TLS_REMEDY)
    slow = isinstance(error, httpx2.TimeoutException)
    words = "does not answer in time" if slow else f"cannot be reached: {_clean(str(error)) or type(error).__name__}"
    return ServiceUnavailable(SERVICE, f"Kibana at {host} {words}", remedy=AWAY_REMEDY)


def from_status(answer: httpx2.Response, host: str) -> PagesightError:
    """Return our error for an answer other than 2xx."""
    status = answer.status_code
    words = _clean(str(_message(answer) or answer.reason_phrase))
    said = f"Kibana at {host} answers {status}: {words}"
    if status >= 500 or status in _PASSING:
        return ServiceUnavailable(SERVICE, said, remedy=AWAY_REMEDY)
    if status < 400:
        return ServiceRefused(SERVICE, said, remedy=URL_REMEDY)
    return ServiceRefused(SERVICE, said, remedy=_REMEDIES.get(status, OTHER_REMEDY))


def not_kibana(host: str) -> ServiceRefused:
    """Return the error for an answer that Kibana would not give."""
    return ServiceRefused(SERVICE, f"the server at {host} does not answer like Kibana", remedy=URL_REMEDY)


def from_import(errors: list[dict[str, Any]]) -> ServiceRefused:
    """Return the error for an import that Kibana answered with 200 and a list of errors."""
    first = "; ".join(_import_words(error) for error in errors[:3])
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return ServiceRefused(SERVICE, f"Kibana did not import every object: {_clean(first + more)}", remedy=IMPORT_REMEDY)


def no_encryption_key() -> ServiceRefused:
    """Return the error for a Kibana that would lose the API keys of alert rules at a restart."""
    words = "Kibana has no permanent encryption key, which alert rules need"
    return ServiceRefused(SERVICE, words, remedy=ENCRYPTION_REMEDY)


def _import_words(error: dict[str, Any]) -> str:
    why = error.get("error", {})
    kind = why.get("type", "unknown")
    detail = ""
    if kind == "missing_references":
        detail = ", ".join(f"{missing['type']} {missing['id']}" for missing in why.get("references", ()))
    elif kind == "unknown":
        detail = str(why.get("message", ""))
    return f"{error.get('type')} {error.get('id')}: {kind}" + (f" ({detail})" if detail else "")


def _message(answer: httpx2.Response) -> object:
    try:
        body = json.loads(answer.content)
    except ValueError:
        return ""
    return body.get("message", "") if isinstance(body, dict) else ""


def _clean(words: str) -> str:
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
    return line if len(line) <= WORDS_MAX_CHARACTERS else line[: WORDS_MAX_CHARACTERS - 1] + "…"


def _tls_words(error: BaseException | None) -> str:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        if isinstance(error, ssl.SSLError):
            return error.reason or "handshake failed"
        error = error.__cause__ or error.__context__
    return ""

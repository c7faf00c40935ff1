"""Access control: by the key in a URL, by a token, or, without secret and token, by requests from this machine."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.core.http_server import names_this_machine
from pipeline.core.url_signing import Signer, UrlPrefix
from pipeline.web.rights import EVERYTHING, Rights

COOKIE = "pagesight"
#: Lifetime of the cookie. After it the browser needs the token again.
COOKIE_SECONDS = 30 * 24 * 3600
#: Values of `Sec-Fetch-Site` of requests that no other site causes: our own pages, and what a person types.
_OWN_SITE = frozenset({"same-origin", "none"})


@dataclass(frozen=True, slots=True)
class Access:
    """A key opens its URL, the token opens every URL. Without secret and token, only this machine has access."""

    signer: Signer
    token: SecretStr | None = None

    @property
    def is_open(self) -> bool:
        """Whether neither secret nor token is set."""
        return self.signer.secret is None and self.token is None

    def allows(self, request: Request, prefix: UrlPrefix, path: str) -> bool:
        """Return whether a request may see a path below `prefix`. The path need not exist."""
        by_key = self.signer.accepts(prefix, path, request.query_params.get("key", ""))
        return by_key or self.rights(request) is not None

    def rights(self, request: Request) -> Rights | None:
        """Return the rights of a request to everything that has no URL key; None without a valid token."""
        if self.is_open:
            return (
                EVERYTHING
                if names_this_machine(request.headers.get("host", "")) and not _is_embedded(request)
                else None
            )
        return EVERYTHING if self._has_token(request) else None

    def _has_token(self, request: Request) -> bool:
        if self.token is None:
            return False
        scheme, _, word = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(word.strip(), self.token.get_secret_value()):
            return True
        return _equal(request.cookies.get(COOKIE, ""), _cookie(self.token))

    def sign_in(self, request: Request) -> Response | None:
        """Return a redirect that replaces the token in a URL by a cookie; None if the URL has no valid token."""
        given = request.query_params.get("token")
        if given is None or self.token is None or not _equal(given, self.token.get_secret_value()):
            return None
        rest = [(name, value) for name, value in parse_qsl(request.url.query) if name != "token"]
        # A path that begins with two slashes would be read as another host.
        location = quote("/" + request.url.path.lstrip("/")) + (f"?{urlencode(rest)}" if rest else "")
        response = RedirectResponse(location, status_code=303)
        response.set_cookie(
            COOKIE,
            _cookie(self.token),
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="lax",  # sent with links from Kibana at another address, not with forms or images there
            secure=request.url.scheme == "https",
        )
        return response


def _is_embedded(request: Request) -> bool:
    """Whether another site causes a request without leaving its own page, as by an image. Its links are allowed.

    Browsers send these headers since 2023; other programs do not.
    """
    headers = request.headers
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return headers.get("sec-fetch-site", "none") not in _OWN_SITE and not is_link


def _cookie(token: SecretStr) -> str:
    """Return the value of the cookie: derived from the token, and invalid once the token changes."""
    return Signer(token).key("cookie")


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())

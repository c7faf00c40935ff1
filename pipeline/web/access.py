"""Access control: by the key in a URL, by a token, or, without secret and tokens, by requests from this machine."""

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
from pipeline.web.tokens import TokenReader

COOKIE = "pagesight"
#: Lifetime of the cookie. After it the browser needs the token again.
COOKIE_SECONDS = 30 * 24 * 3600
#: Values of `Sec-Fetch-Site` of requests that no other site causes: our own pages, and what a person types.
_OWN_SITE = frozenset({"same-origin", "none"})


@dataclass(frozen=True, slots=True)
class Access:
    """A key opens its URL, a token what its rights allow. Without secret and tokens, only this machine has access."""

    signer: Signer
    token: SecretStr | None = None
    """The operator's token, which has every right."""
    made: TokenReader | None = None
    """Tokens that `pagesight token` made; None where there cannot be any."""

    @property
    def is_open(self) -> bool:
        """Whether there is neither a secret nor a token."""
        return self.signer.secret is None and self.token is None and not (self.made and self.made.any())

    def has_key(self, request: Request, prefix: UrlPrefix, path: str) -> bool:
        """Return whether a request has the key of a path below `prefix`. The path need not exist."""
        return self.signer.accepts(prefix, path, request.query_params.get("key", ""))

    def rights(self, request: Request) -> Rights | None:
        """Return the rights of a request, whatever its key opens besides; None without a valid token."""
        if self.is_open:
            allowed = names_this_machine(request.headers.get("host", "")) and not _is_embedded(request)
            return EVERYTHING if allowed else None
        scheme, _, word = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._rights_of(word.strip())
        cookie = request.cookies.get(COOKIE, "")
        if self.token is not None and _equal(cookie, _cookie(self.token)):
            return EVERYTHING
        return self._made(cookie)

    def _rights_of(self, text: str) -> Rights | None:
        if self.token is not None and _equal(text, self.token.get_secret_value()):
            return EVERYTHING
        return self._made(text)

    def _made(self, text: str) -> Rights | None:
        token = self.made.find(text) if self.made is not None and text else None
        if token is None:
            return None
        return Rights(token.scope, None if token.collections is None else frozenset(token.collections))

    def sign_in(self, request: Request) -> Response | None:
        """Return a redirect that replaces the token in a URL by a cookie; None if the URL has no valid token."""
        given = request.query_params.get("token")
        if given is None or self._rights_of(given) is None:
            return None
        is_ours = self.token is not None and _equal(given, self.token.get_secret_value())
        rest = [(name, value) for name, value in parse_qsl(request.url.query) if name != "token"]
        # A path that begins with two slashes would be read as another host.
        location = quote("/" + request.url.path.lstrip("/")) + (f"?{urlencode(rest)}" if rest else "")
        response = RedirectResponse(location, status_code=303)
        response.set_cookie(
            COOKIE,
            _cookie(self.token) if is_ours and self.token else given,
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

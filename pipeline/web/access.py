"""Who may see what: by a URL's own key, by a token, or, where there is neither secret nor token, from this machine."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.core.url_signing import Signer, UrlPrefix

COOKIE = "pagesight"
#: After so long a browser has to be given the token again.
COOKIE_SECONDS = 30 * 24 * 3600
#: A page of another site whose name leads to this machine would be of our own origin: the name has to be ours.
_THIS_MACHINE = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Access:
    """The rule: a URL's own key opens it, the token opens everything, and without both this machine sees everything."""

    signer: Signer
    token: SecretStr | None = None

    @property
    def is_open(self) -> bool:
        """Whether everything is shown to whoever reaches it."""
        return self.signer.secret is None and self.token is None

    def allows(self, request: Request, place: UrlPrefix, path: str) -> bool:
        """Tell whether a request may see what lies at a path below `place`, whether there is anything or not."""
        if self.is_open:
            return _THIS_MACHINE.fullmatch(request.headers.get("host", "")) is not None
        return self.signer.accepts(place, path, request.query_params.get("key", "")) or self._has_token(request)

    def _has_token(self, request: Request) -> bool:
        if self.token is None:
            return False
        scheme, _, word = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(word.strip(), self.token.get_secret_value()):
            return True
        return _equal(request.cookies.get(COOKIE, ""), _cookie(self.token))

    def sign_in(self, request: Request) -> Response | None:
        """Turn a token in a URL into a cookie and lead to the same URL without it; None where there is none."""
        given = request.query_params.get("token")
        if given is None or self.token is None or not _equal(given, self.token.get_secret_value()):
            return None
        rest = [(name, value) for name, value in parse_qsl(request.url.query) if name != "token"]
        # Two slashes at the beginning would be the name of another host.
        location = quote("/" + request.url.path.lstrip("/")) + (f"?{urlencode(rest)}" if rest else "")
        response = RedirectResponse(location, status_code=303)
        response.set_cookie(
            COOKIE,
            _cookie(self.token),
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="lax",  # a link from Kibana at another address may bring it, a form or a picture there may not
            secure=request.url.scheme == "https",
        )
        return response


def _cookie(token: SecretStr) -> str:
    """What a browser keeps: not the token itself, and worth nothing once that has changed."""
    return Signer(token).key("cookie")


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())

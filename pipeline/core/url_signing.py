"""Keys of URLs: a URL with its key may be opened by anyone. Pure functions of a secret and a path."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr

#: Bytes of a key, of the 32 that HMAC-SHA-256 returns: 144 bits, 24 characters without padding.
KEY_BYTES = 18


class UrlPrefix(StrEnum):
    """The first segment of the URLs of `pagesight serve`."""

    IMAGES = "page-images"
    PAGES = "view"


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes and checks the keys of URLs. Without a secret, URLs have no keys."""

    secret: SecretStr | None = None

    def signed(self, prefix: UrlPrefix, path: str) -> str:
        """Return a path below `prefix` for a URL, with its key if there is a secret."""
        return f"{path}?key={self.key(f'{prefix.value}/{path}')}" if self.secret is not None else path

    def accepts(self, prefix: UrlPrefix, path: str, key: str) -> bool:
        """Whether this is the key of a path below `prefix`, in constant time; false without a secret."""
        return self.secret is not None and hmac.compare_digest(
            key.encode(), self.key(f"{prefix.value}/{path}").encode()
        )

    def key(self, words: str) -> str:
        """Return the key of a text, in base64url. There must be a secret."""
        assert self.secret is not None
        digest = hmac.digest(self.secret.get_secret_value().encode(), words.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest[:KEY_BYTES]).decode()


def page_path(collection: str, document: str, page_number: int) -> str:
    """Return the path of a page below `UrlPrefix.PAGES`."""
    return f"{collection}/{document}/{page_number}"


def page_url(collection: str, document: str, page_number: int, signer: Signer, base_url: str = "") -> str:
    """Return the viewer's URL for a page, with its key if there is a secret. Without a base URL it has no host."""
    path = signer.signed(UrlPrefix.PAGES, page_path(collection, document, page_number))
    return f"{base_url.rstrip('/')}/{UrlPrefix.PAGES.value}/{path}"

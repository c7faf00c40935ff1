"""Keys of URLs: who has a URL with its key may see what it leads to. Pure functions of a secret and a path."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr

#: Bytes of a key, of the 32 that HMAC-SHA-256 makes: 144 bits, 24 characters without padding.
KEY_BYTES = 18


class UrlPrefix(StrEnum):
    """What `pagesight serve` shows, by the first segment of its URLs."""

    IMAGES = "page-images"
    PAGES = "view"


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes and checks the keys of URLs. Without a secret no URL has a key."""

    secret: SecretStr | None = None

    def signed(self, place: UrlPrefix, path: str) -> str:
        """Return a path below `place` as URLs carry it: with its key, where there is a secret."""
        return f"{path}?key={self.key(f'{place.value}/{path}')}" if self.secret is not None else path

    def accepts(self, place: UrlPrefix, path: str, key: str) -> bool:
        """Tell whether this is the key of a path below `place`; never without a secret. Takes as long for any key."""
        return self.secret is not None and hmac.compare_digest(key.encode(), self.key(f"{place.value}/{path}").encode())

    def key(self, words: str) -> str:
        """Return the key of any words, base64url; there must be a secret."""
        assert self.secret is not None
        digest = hmac.digest(self.secret.get_secret_value().encode(), words.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest[:KEY_BYTES]).decode()


def page_path(collection: str, document: str, page_number: int) -> str:
    """Return where a page is shown, below `Place.PAGES`."""
    return f"{collection}/{document}/{page_number}"

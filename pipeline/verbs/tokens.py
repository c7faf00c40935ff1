"""Tokens for `pagesight serve`: made, listed, revoked, and checked. The archive keeps their hashes only."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.archive import Archive
from pipeline.core.errors import NotFound, SettingsError
from pipeline.core.models import AccessToken, Scope

#: Marks tokens of Pagesight, so that scanners for leaked secrets can find them.
PREFIX = "pagesight"
_TOKEN = re.compile(rf"{PREFIX}_([0-9a-f]{{16}})_[A-Za-z0-9_-]{{43}}")
_LIFETIME = re.compile(r"([1-9][0-9]{0,4})([hd])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class CreatedToken:
    """A new token."""

    text: str
    """The secret itself. It cannot be shown again."""
    token: AccessToken


def parse_lifetime(text: str) -> timedelta:
    """Return a lifetime that is written as `12h` or `90d`.

    Raises:
        SettingsError: it is written differently.
    """
    found = _LIFETIME.fullmatch(text)
    if found is None:
        raise SettingsError(f"{text!r} is not a lifetime", remedy="Write hours or days, such as 12h or 90d.")
    return int(found[1]) * _UNITS[found[2]]


def create_token(
    archive: Archive,
    name: str,
    scope: Scope,
    collections: frozenset[str] | None,
    now: datetime,
    lifetime: timedelta | None = None,
) -> CreatedToken:
    """Archive a new token and return it.

    Args:
        archive: where its hash is stored.
        name: for people.
        scope: level of its rights.
        collections: the only collections that it may see; they need not exist yet. None for every collection.
        now: time of its creation.
        lifetime: None for a token that never expires.
    """
    id = secrets.token_hex(8)
    text = f"{PREFIX}_{id}_{secrets.token_urlsafe(32)}"
    token = AccessToken(
        revision=1,
        id=id,
        name=name,
        scope=scope,
        collections=None if collections is None else tuple(sorted(collections)),
        digest=_digest(text),
        created_at=now,
        expires_at=None if lifetime is None else now + lifetime,
    )
    archive.tokens[id].create(token)
    return CreatedToken(text, token)


def list_tokens(archive: Archive) -> Iterator[AccessToken]:
    """Yield every readable token, revoked and expired ones included, by id."""
    for id in archive.tokens.names():
        token = archive.tokens[id].newest()
        if token is not None:
            yield token


def revoke_token(archive: Archive, named: str, now: datetime) -> AccessToken:
    """Revoke the token with this id or name; a revoked token stays as it is.

    Raises:
        NotFound: there is none.
        SettingsError: several tokens have this name.
    """
    found = [token for token in list_tokens(archive) if named in (token.id, token.name)]
    if not found:
        raise NotFound(f"there is no token {named!r}", remedy="`pagesight token list` lists the tokens.")
    if len(found) > 1:
        ids = ", ".join(token.id for token in found)
        raise SettingsError(f"several tokens have the name {named!r}", remedy=f"Give the id: {ids}.")

    def revoked(newest: AccessToken | None) -> AccessToken | None:
        token = newest or found[0]
        changes = {"revision": token.revision + 1, "revoked_at": now}
        return None if token.revoked_at else token.model_copy(update=changes)

    return archive.tokens[found[0].id].append(revoked)


def valid_token(archive: Archive, text: str, now: datetime) -> AccessToken | None:
    """Return the token with this text; None if it is unknown, revoked, expired or its record is damaged."""
    named = _TOKEN.fullmatch(text)
    token = archive.tokens[named[1]].newest() if named else None
    if token is None or not hmac.compare_digest(token.digest, _digest(text)):
        return None
    return token if is_valid(token, now) else None


def is_valid(token: AccessToken, now: datetime) -> bool:
    """Whether a token is neither revoked nor expired."""
    return token.revoked_at is None and (token.expires_at is None or now < token.expires_at)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

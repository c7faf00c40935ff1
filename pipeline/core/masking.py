"""Masks secrets in texts that people and programs read: errors, logs, settings.

Two ways, since each alone misses some. The values of all settings that are secret are remembered, and masked wherever
they appear. And what a text itself shows to be a secret is masked: user names and passwords in URLs, and values with
names such as `api_key`, `token` or `signature` in queries, headers and JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote

MASK = "**********"
#: Shorter secrets are masked only as whole words: they are part of ordinary words. A hyphen is part of a word, as in
#: the name of a bucket.
SHORT_CHARACTERS = 8

#: What follows the scheme of a URL, as far as it can go.
_URL = re.compile(r"//[^\s\"'<>]++")
_AUTHORITY_END = re.compile(r"[/?#]")
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.%]*+\]|[^:@\[\]]*+)(?::[0-9]*+)?")
#: `name=value`, as in queries, cookies and command lines, and `"name": "value"`, as in JSON.
_PAIR = re.compile(r"([\w.%\[\]-]{1,64}=)([^\s&#\"'<>;]++)")
_MEMBER = re.compile(r"([\"'])([\w.-]{1,64})(\1\s{0,8}:\s{0,8}([\"']))((?:(?!\4)[^\\]|\\.)++)", re.DOTALL)
_HEADER = re.compile(
    r"(\b(?:authorization|cookie|x-api-key|api-key)[\"']?\s{0,8}[:=]\s{0,8}[\"']?(?:(?:basic|bearer|apikey|digest)\s{1,8})?)"
    r"[^\s\"',]++",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\b(?:Bearer|ApiKey)\s{1,8})(?=[^\s0-9]*+[0-9])[\w.+/=~-]{12,}+")
#: The last word of a name of a secret. Plurals count things (`max_tokens`), and `passwords_file` is a path.
_SECRET_NAME = re.compile(
    r"(?:(?<![a-z])(?:key|pass|pwd|sig|auth|jwt|sas)"
    r"|(?:api|access|secret|private|account|shared)_?key|token|secret|passw(?:or)?d|passphrase|signature|authorization"
    r"|credentials?)(?![a-z])"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
#: Punctuation of the sentence around a value.
_SENTENCE_END = ").,:!?]}`"


class _Known:
    """The secrets of this process."""

    def __init__(self) -> None:
        self._values: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secrets: Iterable[str]) -> None:
        values = self._values.union(secrets)
        if values != self._values:
            self._values, self._pattern = values, _pattern(values)

    def clear(self) -> None:
        self._values, self._pattern = frozenset(), None

    def hide(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text


_known = _Known()
#: Mask these secrets from now on, in every spelling that a text may have: quoted, percent-encoded, in JSON.
remember = _known.add
#: Forget all secrets; for tests, which have the settings of several installations in one process.
forget = _known.clear
#: Return a text with the remembered secrets masked, and nothing else.
hide = _known.hide


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text with secrets masked; the text around them stays.

    Args:
        secrets: further secrets besides those remembered.
    """
    pattern = _pattern(secrets)
    text = hide(pattern.sub(MASK, text) if pattern else text)
    text = _URL.sub(_without_user, text)
    text = _MEMBER.sub(_member, text)
    text = _PAIR.sub(_pair, text)
    text = _HEADER.sub(lambda found: found[1] + MASK, text)
    return _BEARER.sub(lambda found: found[1] + MASK, text)


def secrets_of_url(url: str) -> Iterator[str]:
    """Yield the passwords and keys in a URL, as written and decoded, however wrongly they are encoded."""
    user, at, _ = url.partition("://")[2].rpartition("@")
    password = user.partition(":")[2]
    values = [password] if at and password else []
    values += [found[2] for found in _PAIR.finditer(url) if _is_secret(found[1][:-1])]
    for value in values:
        yield value
        yield unquote(value)


def _pattern(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern of secrets, the longest first, since one may be the beginning of another."""
    expressions = {expression for secret in secrets for expression in _expressions(secret)}
    alternatives = "|".join(sorted(expressions, key=len, reverse=True))
    return re.compile(f"(?:{alternatives})") if expressions else None


def _expressions(secret: str) -> Iterator[str]:
    """Yield an expression for each spelling of a secret. Messages on one line have other spaces than the secret."""
    spellings = (secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1])
    for spelling in (*spellings, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        if words := spelling.split():
            expression = r"\s+".join(map(re.escape, words))
            yield expression if len(secret) >= SHORT_CHARACTERS else rf"(?<![\w-]){expression}(?![\w-])"


def _without_user(found: re.Match[str]) -> str:
    rest = found[0][2:]
    end = _AUTHORITY_END.search(rest)
    authority = rest[: end.start()] if end else rest
    at = authority.rfind("@")
    if at < 0 and not _ADDRESS.fullmatch(authority):  # a password with a slash that is not encoded
        at = rest.rfind("@")
    return found[0] if at < 0 else f"//{MASK}{rest[at:]}"


def _pair(found: re.Match[str]) -> str:
    name, value = found.groups()
    return name + _masked_value(value) if _is_secret(name[:-1]) else found[0]


def _masked_value(value: str) -> str:
    """Return the mask, with the punctuation that ends the sentence. A value that names nothing (`…`) stays."""
    bare = value.rstrip(_SENTENCE_END)
    return MASK + value[len(bare) :] if bare.strip("*…") else value


def _member(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{found[3]}{MASK}" if _is_secret(found[2]) else found[0]


def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(_CAMEL.sub("_", unquote(name)).lower().replace("-", "_")) is not None

"""Tokens are valid until they expire, are revoked, or can no longer be read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.archive import Archive, Store
from pipeline.core.errors import NotFound, SettingsError
from pipeline.core.models import Scope
from pipeline.verbs import tokens

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(Store(str(tmp_path)))


def make(archive: Archive, name: str = "reader", lifetime: timedelta | None = None) -> tokens.CreatedToken:
    return tokens.create_token(archive, name, Scope.READ, frozenset({"works"}), NOW, lifetime)


def test_a_token_is_found_by_its_text_and_only_its_hash_is_stored(archive: Archive, tmp_path: Path):
    made = make(archive)
    assert tokens.valid_token(archive, made.text, NOW) == made.token
    assert made.token.collections == ("works",)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert made.text.rpartition("_")[2].encode() not in stored


def test_a_token_with_another_secret_is_unknown(archive: Archive):
    first, second = make(archive), make(archive, "other")
    mixed = f"pagesight_{first.token.id}_{second.text[-43:]}"
    for text in (mixed, first.text + "x", first.text.upper(), "", f"pagesight_../{first.token.id}_{'a' * 43}"):
        assert tokens.valid_token(archive, text, NOW) is None


def test_a_token_ends_with_its_lifetime(archive: Archive):
    made = make(archive, lifetime=tokens.parse_lifetime("12h"))
    assert tokens.valid_token(archive, made.text, NOW + timedelta(hours=11)) is not None
    assert tokens.valid_token(archive, made.text, NOW + timedelta(hours=12)) is None


@pytest.mark.parametrize("text", ["", "12", "0d", "-1d", "1w", "999999d", "1.5h"])
def test_a_lifetime_is_written_in_hours_or_days(text: str):
    with pytest.raises(SettingsError, match="is not a lifetime"):
        tokens.parse_lifetime(text)


def test_a_revoked_token_is_invalid_also_where_its_revocation_is_damaged(archive: Archive, tmp_path: Path):
    made = make(archive)
    revoked = tokens.revoke_token(archive, "reader", NOW)
    assert tokens.revoke_token(archive, made.token.id, NOW + timedelta(1)) == revoked
    assert tokens.valid_token(archive, made.text, NOW) is None
    (tmp_path / "tokens" / made.token.id / "2.json").write_bytes(b"{")
    assert tokens.valid_token(Archive(Store(str(tmp_path))), made.text, NOW) is None


def test_a_token_is_revoked_by_a_name_that_one_token_has(archive: Archive):
    make(archive)
    make(archive)
    with pytest.raises(SettingsError, match="several tokens"):
        tokens.revoke_token(archive, "reader", NOW)
    with pytest.raises(NotFound, match="there is no token 'nobody'"):
        tokens.revoke_token(archive, "nobody", NOW)

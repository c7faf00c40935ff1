"""The corpus' encrypted PDFs: open with their password, `encrypted` without one and with a wrong one."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.core.errors import EncryptedFile
from pipeline.core.formats import MediaType
from pipeline.rendering.host.pool import SandboxPool
from support.corpus import CORPUS, manifest
from support.rendering import LIMITS


def pages(pool: SandboxPool, entry: dict[str, Any], *passwords: str) -> int | str:
    """Return how many pages a file opens with, or what is said."""
    with (CORPUS / entry["file"]).open("rb") as file:
        try:
            with pool.open(file, MediaType.PDF, passwords=lambda: passwords) as document:
                return document.pages
        except EncryptedFile as error:
            return str(error)


def test_each_encrypted_pdf_opens_with_its_password_alone() -> None:
    encrypted = [entry for entry in manifest() if entry["format"] == "pdf" and entry["expected"] == "encrypted"]
    known = [entry for entry in encrypted if "password" in entry]
    assert len(known) >= 8
    pool = SandboxPool(1, LIMITS)
    try:
        for entry in encrypted:
            assert pages(pool, entry) == "the PDF needs a password, and none was given"
            assert pages(pool, entry, "wrong", "fälsch") == "the PDF needs a password, and none of the 2 given"
        for entry in known:
            assert pages(pool, entry, "wrong", entry["password"]) == entry["pages"], entry["file"]
    finally:
        pool.close()


@pytest.mark.parametrize("password", ["SªSL\xadprep", "SaSLprep"])
def test_a_password_may_be_given_as_it_is_or_prepared(password: str) -> None:
    (entry,) = [entry for entry in manifest() if entry["file"] == "pdf/saslprep-r6.pdf"]
    pool = SandboxPool(1, LIMITS)
    try:
        assert pages(pool, entry, password) == 1
    finally:
        pool.close()

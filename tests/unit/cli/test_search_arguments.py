"""How `pagesight search` tells words from options."""

from __future__ import annotations

import pytest

from pipeline.cli.lazy import load_command


@pytest.mark.parametrize(
    ("args", "query", "size", "language"),
    [
        (["harbour", "-ledger"], "harbour  -ledger", 10, None),
        (["-ledger", "harbour", "-n", "3"], " -ledger harbour", 3, None),
        (["harbour", "-n20", "-l", "de"], "harbour", 20, "de"),
        (["harbour", "-new"], "harbour  -new", 10, None),
        (["harbour", "-2024", "-lokschuppen"], "harbour  -2024  -lokschuppen", 10, None),
        (["harbour", "-blast furnace"], "harbour  -blast furnace", 10, None),
        (["--", "-n"], "-n", 10, None),
    ],
)
def test_a_word_after_a_minus_is_excluded(args: list[str], query: str, size: int, language: str | None) -> None:
    found = load_command("search").make_context("search", args).params

    assert (" ".join(found["words"]), found["size"], found["language"]) == (query, size, language)

"""A few damaged files of each format, the same ones each time; `make soak` tries very many."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest

from pipeline.core.formats import Route
from support.fuzzing import Fuzzer, seed_files

#: Conversions take a second each, the others milliseconds.
MUTANTS = {Route.PDF: 30, Route.IMAGE: 12, Route.CONTAINER: 12, Route.CONVERTED: 0}
SEED = 5


def test_damaged_files_end_in_pages_or_in_a_named_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [kind for kind in seed_files() if MUTANTS[kind.route]]
    assert {kind.route for kind in kinds} == {Route.PDF, Route.IMAGE, Route.CONTAINER}
    empty = tmp_path / "temporary"
    empty.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(empty))
    fuzzer = Fuzzer(page_seconds=10, keep=tmp_path / "kept")
    fuzzed = [
        fuzzer.fuzz(kind, random.Random(SEED), lambda done, kind=kind: done < MUTANTS[kind.route]) for kind in kinds
    ]
    assert {str(one.kind): one.broken for one in fuzzed if one.broken} == {}
    # Damage was done, and not everything was destroyed.
    assert all(one.outcomes.total() > one.outcomes["ok"] for one in fuzzed)
    assert sum(one.outcomes["ok"] for one in fuzzed) > 20

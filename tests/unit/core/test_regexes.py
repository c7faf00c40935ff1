"""No input makes a regular expression of a trusted process take longer than in proportion to its length."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: Exponential, cubic, and quadratic in three ways: one repeat under `search`, two that overlap, one begun many times.
BAD = [r"(?:\s+#[^\n]*)*\d", r"(a|aa)+$", r"\s+$", r"[a-z]+://", r"^\w*\d*\w*!", r"<b[^>]*>"]
GOOD = [r"[a-z]{1,20}://", r"^\s*+#", r"\d+", "a|b", r"(?<![a-z])[a-z]++:"]


def _tried(*patterns: str) -> dict[str, list[str]]:
    command = [sys.executable, "-m", "support.trusted_patterns", *patterns]
    path = f"{ROOT}:{ROOT / 'tests'}"
    ended = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": path, "PATH": ""}, timeout=900)
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


def test_no_pattern_of_a_trusted_process_backtracks_without_bound() -> None:
    found = _tried()
    assert found["slow"] == []
    modules = {pattern.partition(":")[0] for pattern in found["tried"]}
    assert {"pipeline.core.signatures", "pipeline.vision.quality.refusals", "workers.redis.connection"} <= modules


@pytest.mark.parametrize("pattern", BAD)
def test_a_pattern_that_backtracks_is_found(pattern: str) -> None:
    assert len(_tried(pattern)["slow"]) == 1


def test_patterns_that_do_not_are_not() -> None:
    assert _tried(*GOOD)["slow"] == []
